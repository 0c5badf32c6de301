"""The metrics of graph- and node-level tasks: OGB's official Evaluator for OGB sets, torchmetrics for all others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

Metric = Literal["rocauc", "ap", "f1", "accuracy", "rmse"]

NEEDS_OGB = "needs the package ogb: pip install 'graphprune[ogb]'"


def evaluate(metric: Metric, y_true: Tensor, y_pred: Tensor, *, where: str, ogb_name: str = "") -> float:
    """A metric over all graphs or nodes; tasks are averaged and missing (NaN) labels left out, as OGB does.

    Args:
        metric: rocauc, ap, f1 and rmse take ``(n, T)`` labels and predictions (f1 over all labels of all tasks
            together, a logit above 0 says yes); accuracy takes ``(n,)`` labels and ``(n, C)`` predictions, of which the
            largest counts.
        y_true: labels.
        y_pred: raw outputs of a model.
        where: data set and split, named in errors.
        ogb_name: name of the set for OGB's evaluator; empty: torchmetrics.

    Returns:
        The metric; NaN if a prediction is not finite.

    Raises:
        ValueError: no graphs, no labels, or rocauc/ap where no task has labels of both classes.
        ImportError: an OGB set without ogb.
    """
    if y_true.numel() == 0 or bool(y_true.isnan().all()):
        raise ValueError(f"{where}: nothing to evaluate, it has no labels")
    y_true, y_pred = y_true.detach().cpu(), y_pred.detach().cpu().float()
    both = ((y_true == 0).any(0) & (y_true == 1).any(0)).any()
    if metric in ("rocauc", "ap") and not both:
        raise ValueError(
            f"{where}: {metric} is undefined, its {len(y_true)} rows have labels of one class only; "
            "it needs a positive and a negative label in at least one task"
        )
    if not bool(torch.isfinite(y_pred).all()):
        return float("nan")
    if metric == "accuracy":
        y_pred = y_pred.argmax(1)
    return _with_ogb(ogb_name, y_true, y_pred) if ogb_name else _with_torchmetrics(metric, y_true, y_pred)


def _with_ogb(ogb_name: str, y_true: Tensor, y_pred: Tensor) -> float:
    rows = len(y_true)
    pair = {"y_true": y_true.reshape(rows, -1).numpy(), "y_pred": y_pred.reshape(rows, -1).numpy()}
    [value] = ogb_evaluator(ogb_name).eval(pair).values()
    return float(value)


def _with_torchmetrics(metric: Metric, y_true: Tensor, y_pred: Tensor) -> float:
    # Slow to import, and not needed for OGB sets.
    from torchmetrics.functional import mean_squared_error
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_f1_score

    if metric == "accuracy":
        return float((y_true == y_pred).double().mean())
    if metric == "f1":
        known = ~y_true.isnan()
        return float(binary_f1_score((y_pred[known] > 0).long(), y_true[known].long()))
    values = []
    for truth, prediction in zip(y_true.unbind(1), y_pred.unbind(1), strict=True):
        known = ~truth.isnan()
        truth, prediction = truth[known], prediction[known]
        if metric == "rmse":
            if len(truth):
                values.append(mean_squared_error(prediction.double(), truth.double(), squared=False))
        elif bool((truth == 0).any() & (truth == 1).any()):
            pair = _ranks(prediction), truth.long()
            values.append(binary_auroc(*pair) if metric == "rocauc" else binary_average_precision(*pair))
    return float(torch.stack(values).double().mean()) if values else float("nan")


def _ranks(prediction: Tensor) -> Tensor:
    """Order and ties of the predictions, in [0, 1]: torchmetrics' sigmoid would tie large logits."""
    distinct = prediction.unique()
    return torch.searchsorted(distinct, prediction).double() / max(len(distinct) - 1, 1)


@contextmanager
def _no_update_check() -> Iterator[None]:
    """Importing ogb starts a check for updates over the network, unless ``outdated`` cannot be imported."""
    missing = object()
    before: Any = sys.modules.get("outdated", missing)
    sys.modules["outdated"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is missing:
            del sys.modules["outdated"]
        else:
            sys.modules["outdated"] = before


@cache
def ogb_evaluator(name: str) -> Any:
    """OGB's ``Evaluator`` of a graph or node property set, imported without OGB's update check.

    Raises:
        ImportError: ogb is not installed.
    """
    try:
        with _no_update_check():
            from ogb import graphproppred, nodeproppred
    except ImportError as error:
        raise ImportError(f"the metric of {name} {NEEDS_OGB}") from error
    return (nodeproppred if name.startswith("ogbn") else graphproppred).Evaluator(name)
