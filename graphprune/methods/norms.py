"""Batch norms of a network that other graphs or images go through than it was trained with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Iterable[Any]) -> None:
    """Count the statistics of all batch norms anew, as the mean over these batches; all else is in ``eval()`` mode."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    for batch in batches if norms else ():
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
