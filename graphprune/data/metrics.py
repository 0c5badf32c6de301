"""The metrics, in one table: what each is called, which way is better, and what computes it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor

from graphprune.data.sequences import f1_lists, subtoken_f1
from graphprune.registry import Registry

Task = Literal["multiclass", "binary", "regression", "sequence"]

NEEDS_OGB = "needs the package ogb: pip install 'graphprune[ogb]'"


@dataclass(frozen=True)
class MetricInfo:
    """A metric of one kind of task.

    Args:
        name: in data sets, options and results.
        label: in reports.
        task: kind of labels that it takes.
        compute: from labels and a model's raw outputs, finite and float32, on the CPU: ``(n,)`` classes and ``(n, C)``
            for multiclass, the numbers of words ``(n, L)`` and ``(n, positions, C)`` for sequence (see
            :mod:`graphprune.data.sequences`), else ``(n, T)`` and ``(n, T)`` with NaN where a label is missing (but not
            everywhere).
        higher_is_better: whether a larger value is the better one.
        both_classes: it is undefined, and an error, unless one of the tasks has labels of both classes.
        ogb: OGB's name of it; OGB's official Evaluator then computes it for sets of OGB.
    """

    name: str
    label: str
    task: Task
    compute: Callable[[Tensor, Tensor], float]
    higher_is_better: bool = True
    both_classes: bool = False
    ogb: str | None = None


def _accuracy(y_true: Tensor, y_pred: Tensor) -> float:
    """The largest output counts."""
    return float((y_true == y_pred.argmax(1)).double().mean())


def _balanced(y_true: Tensor, y_pred: Tensor) -> float:
    """Accuracy within each class that there is, averaged over these."""
    right, sizes = (y_true == y_pred.argmax(1)).double(), y_true.bincount()
    return float((torch.bincount(y_true, right, minlength=len(sizes)) / sizes)[sizes > 0].mean())


def _f1(y_true: Tensor, y_pred: Tensor) -> float:
    """Over all labels of all tasks together; a logit above 0 says yes."""
    from torchmetrics.functional.classification import binary_f1_score  # slow to import, and not needed for OGB sets

    known = ~y_true.isnan()
    return float(binary_f1_score((y_pred[known] > 0).long(), y_true[known].long()))


def _rocauc(truth: Tensor, prediction: Tensor) -> Tensor:
    from torchmetrics.functional.classification import binary_auroc

    return binary_auroc(_ranks(prediction), truth.long())


def _ap(truth: Tensor, prediction: Tensor) -> Tensor:
    from torchmetrics.functional.classification import binary_average_precision

    return binary_average_precision(_ranks(prediction), truth.long())


def _rmse(truth: Tensor, prediction: Tensor) -> Tensor:
    return (prediction.double() - truth.double()).square().mean().sqrt()


def _mae(truth: Tensor, prediction: Tensor) -> Tensor:
    return (prediction.double() - truth.double()).abs().mean()


def _mean(of_task: Callable[[Tensor, Tensor], Tensor], classes: int, y_true: Tensor, y_pred: Tensor) -> float:
    """The mean over tasks, as OGB takes it: without missing labels, and tasks that have fewer classes than these."""
    values = []
    for truth, prediction in zip(y_true.unbind(1), y_pred.unbind(1), strict=True):
        known = ~truth.isnan()
        if len(truth[known].unique()) >= classes:
            values.append(of_task(truth[known], prediction[known]))
    return float(torch.stack(values).double().mean())


def _ranks(prediction: Tensor) -> Tensor:
    """Order and ties of the predictions, in [0, 1]: torchmetrics' sigmoid would tie large logits."""
    distinct = prediction.unique()
    return torch.searchsorted(distinct, prediction).double() / max(len(distinct) - 1, 1)


# The first metric of a task is its default.
_OWN = (
    MetricInfo("accuracy", "accuracy", "multiclass", _accuracy, ogb="acc"),
    MetricInfo("balanced-accuracy", "balanced accuracy", "multiclass", _balanced),
    MetricInfo("rocauc", "ROC-AUC", "binary", partial(_mean, _rocauc, 2), both_classes=True, ogb="rocauc"),
    MetricInfo("ap", "average precision", "binary", partial(_mean, _ap, 2), both_classes=True, ogb="ap"),
    MetricInfo("f1", "micro-F1", "binary", _f1),
    MetricInfo("rmse", "RMSE", "regression", partial(_mean, _rmse, 1), higher_is_better=False, ogb="rmse"),
    MetricInfo("subtoken-f1", "sub-token F1", "sequence", subtoken_f1, ogb="F1"),
    MetricInfo("mae", "MAE", "regression", partial(_mean, _mae, 1), higher_is_better=False),
)

# Plug-ins are such objects, too.
METRICS = Registry(
    "graphprune.metrics",
    {metric.name: metric for metric in _OWN},
    lambda name, thing: isinstance(thing, MetricInfo) and thing.name == name,
    "a MetricInfo with name = {name!r}",
)


def default_metric(task: str) -> str:
    """The metric of a task where none is asked for.

    Raises:
        ValueError: no such task.
    """
    for metric in _OWN:
        if metric.task == task:
            return metric.name
    raise ValueError(f"task must be one of {', '.join(dict.fromkeys(metric.task for metric in _OWN))}, got {task!r}")


def check_metric(name: str, task: str) -> None:
    """Raise ValueError unless this is a task and a metric of it; ImportError for a plug-in that is broken."""
    default_metric(task)
    if name not in METRICS or METRICS[name].task != task:
        known = [metric.name for metric in METRICS.working().values() if metric.task == task]
        raise ValueError(f"metric of a {task} task must be {' or '.join(known)}, got {name!r}")


def evaluate(metric: str, y_true: Tensor, y_pred: Tensor, *, where: str, ogb_name: str = "") -> float:
    """A metric over all graphs or nodes; tasks are averaged and missing (NaN) labels left out, as OGB does.

    Args:
        metric: a name in :data:`METRICS`.
        y_true: labels, ``(n,)`` for multiclass, else ``(n, T)``; see :class:`MetricInfo`.
        y_pred: raw outputs of a model, ``(n, C)`` or ``(n, T)``, or ``(n, positions, C)``.
        where: data set and split, named in errors.
        ogb_name: name of the set for OGB's evaluator, which computes its own metric; empty: a set of no OGB.

    Returns:
        The metric; NaN if a prediction is not finite.

    Raises:
        ValueError: no graphs, no labels, or rocauc/ap where no task has labels of both classes.
        ImportError: an OGB set without ogb.
    """
    info = METRICS[metric]
    if y_true.numel() == 0 or bool(y_true.isnan().all()):
        raise ValueError(f"{where}: nothing to evaluate, it has no labels")
    y_true, y_pred = y_true.detach().cpu(), y_pred.detach().cpu().float()
    if info.both_classes and not bool(((y_true == 0).any(0) & (y_true == 1).any(0)).any()):
        raise ValueError(
            f"{where}: {metric} is undefined, its {len(y_true)} rows have labels of one class only; "
            "it needs a positive and a negative label in at least one task"
        )
    if not bool(torch.isfinite(y_pred).all()):
        return float("nan")
    if ogb_name and info.ogb == ogb_evaluator(ogb_name).eval_metric:
        rows, answers = len(y_true), y_pred.argmax(1) if info.task == "multiclass" else y_pred
        given: dict[str, Any] = {
            "y_true": y_true.reshape(rows, -1).numpy(),
            "y_pred": answers.reshape(rows, -1).numpy(),
        }
        if info.task == "sequence":
            given = dict(zip(("seq_ref", "seq_pred"), f1_lists(y_true, y_pred), strict=True))
        return float(ogb_evaluator(ogb_name).eval(given)[info.ogb])
    return float(info.compute(y_true, y_pred))


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
