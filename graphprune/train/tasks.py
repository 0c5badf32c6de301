"""What a task asks of a training: its loss, a model's predictions and their metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch

from graphprune.data.base import HIDDEN, LabelledData, Samples, Task
from graphprune.data.images import ImageBatch

S = TypeVar("S", bound=Samples)
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
        out: logits or values of B graphs, nodes or images, shape ``(B, C)`` for multiclass, else ``(B, T)``.
        y: labels, ``(B,)`` int64 for multiclass (-100 at nodes of another split), else ``(B, T)`` with NaN where a
            label is missing.
        label_smoothing: share of a class label that is spread evenly over all classes; multiclass only.

    Returns:
        The sum of the losses and the number of labels (int64), both 0-dimensional; 0 and 0 where none is known.

    Raises:
        ValueError: shapes that do not fit, or smoothed labels of another task.
    """
    expected = (len(y), *out.shape[1:2]) if task == "multiclass" else tuple(y.shape)
    if out.dim() != 2 or tuple(out.shape) != expected:
        shape = "(B, classes)" if task == "multiclass" else f"{expected}, one column a task"
        raise ValueError(f"the model returned shape {tuple(out.shape)} for {len(y)} labels, expected {shape}")
    if task == "multiclass":
        terms = functional.cross_entropy(out, y, reduction="none", label_smoothing=label_smoothing)
        return terms.sum(), (y != HIDDEN).sum()
    if label_smoothing:
        raise ValueError(f"label_smoothing={label_smoothing} is for classes, this is a {task} task")
    known = ~y.isnan()
    terms = _TERMS[task](out, y.nan_to_num(0.0).to(out.dtype))
    return torch.where(known, terms, 0.0).sum(), known.sum()


def outputs(model: nn.Module, batch: Batch | ImageBatch) -> Tensor:
    """What a model makes of a batch: networks over images are given ``x``, those over graphs the whole batch."""
    return model(batch.x if isinstance(batch, ImageBatch) else batch)  # type: ignore[no-any-return]


@torch.no_grad()
def predict(model: nn.Module, samples: Samples, batch_size: int = 512) -> Tensor:
    """The model's outputs for every graph, node or image, in ``eval()`` mode and on the model's device.

    Args:
        model: ``model(batch)`` of graphs or ``model(x)`` of images gives shape ``(B, outputs)``; its modes are given
            back to it.
        samples: graphs or images of one split.
        batch_size: graphs or images a batch; bounds the memory, and changes a result by rounding only.

    Returns:
        Shape ``(G, outputs)``, or ``(N, outputs)`` for nodes, on the CPU.
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), samples.device)
    model.eval()
    try:
        return torch.cat([outputs(model, batch.to(device)) for batch in samples.loader(batch_size)]).cpu()
    finally:
        for module, training in modes:
            module.training = training


def evaluate(
    model: nn.Module, samples: S, data: LabelledData[S], *, split: str = "given", batch_size: int = 512
) -> float:
    """The data set's metric of a model on some of its graphs or images.

    Args:
        model: see :func:`predict`.
        samples: graphs or images with labels ``y``.
        data: whose task and metric.
        split: named in errors.
        batch_size: graphs or images a batch.

    Returns:
        The metric; NaN if an output is not finite.

    Raises:
        ValueError: the outputs do not fit the task, or the metric is not defined on these labels.
    """
    return data.evaluate(data.labels(samples), predict(model, samples, batch_size), split=split)
