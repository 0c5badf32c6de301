"""Batch norms of a network that other graphs or images go through than it was trained with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from graphprune.data.base import Samples


def alike(samples: Samples, most: int) -> list[Tensor]:
    """Numbers of all samples in as few parts of at most ``most`` as will do.

    Each part is spread over the whole, whatever its order, and they differ by one sample at most: as means over parts
    are taken, they are to be alike.
    """
    parts = math.ceil(len(samples) / most)
    return [torch.arange(part, len(samples), parts) for part in range(parts)]


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Iterable[Any]) -> None:
    """Count the statistics of all batch norms anew, as the mean over these batches; all else is in ``eval()`` mode.

    Raises:
        ValueError: there is no batch.
    """
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    modes = [(module, module.training) for module in model.modules()]
    momenta, count = [norm.momentum for norm in norms], 0
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
            norm.train()
        for batch in batches if norms else ():
            model(batch)
            count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    if norms and not count:
        raise ValueError("batch norms cannot be counted anew without a batch")
