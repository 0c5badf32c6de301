"""Batch norms folded into the linear maps beside them: the same function in evaluation, with fewer passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in evaluation."""
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


@torch.no_grad()
def fold_before(norm: nn.Module, linear: nn.Linear) -> None:
    """Make ``linear`` compute ``linear(norm(x))``."""
    scale, shift = _affine(norm)
    bias = linear.weight @ shift
    linear.bias = nn.Parameter(bias if linear.bias is None else bias + linear.bias)
    linear.weight = nn.Parameter(linear.weight * scale)


@torch.no_grad()
def fold_after(linear: nn.Module, norm: nn.Module) -> None:
    """Make ``linear`` compute ``norm(linear(x))``."""
    assert isinstance(linear, nn.Linear)
    scale, shift = _affine(norm)
    linear.bias = nn.Parameter(linear.bias * scale + shift)
    linear.weight = nn.Parameter(linear.weight * scale[:, None])
