"""The loss of a network on labelled examples, where a method takes derivatives itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from graphprune.data.sequences import by_position
from graphprune.masks.networks import logits_of

Loss = Callable[[nn.Module, Any], Tensor]
"""The mean loss of a model on a batch: ``loss(model, batch)``, 0-dimensional."""


def mean_loss(
    model: nn.Module, batch: Any, real: Callable[[Tensor, Tensor], Tensor] = functional.binary_cross_entropy_with_logits
) -> Tensor:
    """Cross entropy for whole-numbered labels, another loss for real ones; the mean over the labels that are known.

    Args:
        model: ``model(x)`` is given the first of a pair ``(x, y)``, ``model(batch)`` a batch of graphs.
        batch: labels are ``(B,)`` integers (-100: unknown), ``(B, T)`` integers of sequences, or ``(B, T)`` floats
            (NaN: unknown).
        real: mean loss of outputs and labels of the same shape.
    """
    out = logits_of(model, model(batch[0] if is_pair(batch) else batch))
    labels = labels_of(batch)
    if not labels.is_floating_point():
        return functional.cross_entropy(*(by_position(out, labels) if labels.dim() == 2 else (out, labels)))
    known = ~labels.isnan()
    return real(out[known], labels[known].to(out.dtype))


def loss_for(task: str) -> Loss:
    """The mean loss of a data set's task."""
    return partial(mean_loss, real=functional.mse_loss) if task == "regression" else mean_loss


def is_pair(batch: Any) -> bool:
    """Whether a batch is a pair ``(x, y)``, and not graphs."""
    return isinstance(batch, (tuple, list)) and len(batch) == 2


def labels_of(batch: Any) -> Tensor:
    """The labels of a batch; raises TypeError where it has none."""
    labels = batch[1] if is_pair(batch) else getattr(batch, "y", None)
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"a batch must be a pair (x, y) of tensors, or graphs with labels y, got {type(batch).__name__}"
        )
    return labels
