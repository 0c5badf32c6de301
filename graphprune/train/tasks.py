"""What a task asks of a training: its loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from graphprune.data.base import IGNORE_INDEX
from graphprune.data.metrics import Task
from graphprune.data.sequences import by_position

Terms = Callable[[Tensor, Tensor], Tensor]

# One loss a label; the labels of a regression are taken as they are.
_TERMS: dict[Task, Terms] = {
    "binary": lambda out, y: functional.binary_cross_entropy_with_logits(out, y, reduction="none"),
    "regression": lambda out, y: functional.mse_loss(out, y, reduction="none"),
}


def task_loss(task: Task, out: Tensor, y: Tensor, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Cross entropy (multiclass), binary cross entropy or squared error, summed over the labels that are known.

    Sum and number come apart so that the mean over several processes is the mean over all labels.

    Args:
        task: kind of labels.
        out: logits or values of B graphs, nodes or images, shape ``(B, C)`` for multiclass, ``(B, T * C)`` for
            sequence, else ``(B, T)``.
        y: labels, ``(B,)`` int64 for multiclass (-100 at nodes of another split), ``(B, T)`` int64 for sequence, else
            ``(B, T)`` with NaN where a label is missing.
        label_smoothing: share of a class label that is spread evenly over all classes; multiclass only.

    Returns:
        The sum of the losses and the number of labels (int64), both 0-dimensional; 0 and 0 where none is known.

    Raises:
        ValueError: shapes that do not fit, or smoothed labels of another task.
    """
    if task == "sequence":
        return task_loss("multiclass", *by_position(out, y), label_smoothing)
    expected = (len(y), *out.shape[1:2]) if task == "multiclass" else tuple(y.shape)
    if out.dim() != 2 or tuple(out.shape) != expected:
        shape = "(B, classes)" if task == "multiclass" else f"{expected}, one column a task"
        raise ValueError(f"the model returned shape {tuple(out.shape)} for {len(y)} labels, expected {shape}")
    if task == "multiclass":
        terms = functional.cross_entropy(out, y, reduction="none", label_smoothing=label_smoothing)
        return terms.sum(), (y != IGNORE_INDEX).sum()
    if label_smoothing:
        raise ValueError(f"label_smoothing={label_smoothing} is for classes, this is a {task} task")
    known = ~y.isnan()
    terms = _TERMS[task](out, y.nan_to_num(0.0).to(out.dtype))
    return torch.where(known, terms, 0.0).sum(), known.sum()
