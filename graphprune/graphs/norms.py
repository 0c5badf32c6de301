"""Batch norm over rows that count more than once, or only in part, and norms that join a linear map."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

T = TypeVar("T")


class RowNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` whose rows may have weights; its state is that of torch's.

    A weight says how often a row is there: the norm of distinct rows with their counts is that of all rows, and a row
    with a weight of 0, as an arc that is gated off, has no say.
    """

    def forward(self, input: Tensor, weight: Tensor | None = None) -> Tensor:
        """Rows, normalised, ``(R, F)``.

        Where the weights sum to 1 or less, which has no variance, the running statistics are taken, as in evaluation;
        so are they where there is a single row without weights.

        Args:
            input: shape ``(R, F)``.
            weight: 0 or more, shape ``(R,)``; None: every row counts once.
        """
        few = self.training and (input.size(0) < 2 if weight is None else float(weight.detach().sum()) <= 1)
        if few and self.running_mean is not None and self.running_var is not None:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        if weight is None or not (self.training or self.running_mean is None):
            return super().forward(input)
        weight = weight.to(torch.promote_types(input.dtype, torch.float32))
        given = (input, weight, self.weight, self.bias, self.eps)
        out, mean, variance = _WeightedNorm.apply(*given)  # type: ignore[no-untyped-call]
        if self.training and self.running_mean is not None and self.running_var is not None:
            self._follow(mean, variance, weight.detach().sum())
        return out  # type: ignore[no-any-return]

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """The running statistics after a batch, as torch moves them: with the variance of a sample.

        It is one of two rows at least: gates that add up to little more than 1 would else make as much as one likes of
        a small variance.
        """
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        rows = total.clamp(min=2)
        self.running_var.lerp_((variance * (rows / (rows - 1))).to(self.running_var.dtype), share)


def _in_full(function: Callable[..., T]) -> Callable[..., T]:
    """Let autocast leave what a norm computes in single precision, as it leaves torch's norms."""

    @wraps(function)
    def computed(ctx: Any, x: Tensor, *rest: Any) -> T:
        if not (torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)):
            return function(ctx, x, *rest)
        with torch.autocast(x.device.type, enabled=False):
            return function(ctx, x, *rest)

    return computed


class _WeightedNorm(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * scale + shift``; mean and variance are weighted, weights have gradients."""

    @staticmethod
    @_in_full
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, scale: Tensor | None, shift: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.eps, ctx.total = eps, weight.sum()
        share = weight / ctx.total
        normal, inverse, mean, variance = _normal(x, share, eps)
        ctx.save_for_backward(normal, inverse, share, scale, x, weight, shift)
        ctx.mark_non_differentiable(mean, variance)
        return _scaled(normal, scale, shift).to(x.dtype, copy=scale is None), mean, variance

    @staticmethod
    @_in_full
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        normal, inverse, share, scale, *given = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            return _differentiable(ctx, grad, scale, *given)
        wide = grad.to(normal.dtype)
        to_shift, to_scale = wide.sum(0), (wide * normal).sum(0)
        grad_x = grad_weight = None
        factor = torch.ones_like(inverse) if scale is None else scale
        if ctx.needs_input_grad[0]:
            grad_x = torch.addcmul(wide, share[:, None], to_shift + normal * to_scale, value=-1)
            grad_x = grad_x.mul_(factor * inverse).to(grad.dtype)
        if ctx.needs_input_grad[1]:  # of the mean, and of half the variance
            squares = normal.square().sub_(1 - ctx.eps * inverse.square()).mv(factor * to_scale)
            grad_weight = normal.mv(factor * to_shift).add_(squares, alpha=0.5).div_(-ctx.total)
        return (
            grad_x,
            grad_weight,
            to_scale if scale is not None and ctx.needs_input_grad[2] else None,
            to_shift if ctx.needs_input_grad[3] else None,
            None,
        )


def _normal(x: Tensor, share: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows by their mean and variance, ``(R, F)``; the inverse of the deviation, mean and variance, ``(F,)`` each."""
    wide = x.to(share.dtype)
    mean = share @ wide
    centred = wide - mean
    variance = share @ centred.square()
    inverse = (variance + eps).rsqrt()
    return centred * inverse, inverse, mean, variance


def _scaled(normal: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    return normal if scale is None else normal * scale if shift is None else torch.addcmul(shift, normal, scale)


def _differentiable(
    ctx: Any, grad: Tensor, scale: Tensor | None, x: Tensor, weight: Tensor, shift: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients of a weighted norm as torch finds them, which can be differentiated again."""
    out = _scaled(_normal(x, weight / weight.sum(), ctx.eps)[0], scale, shift)
    given = (x, weight, scale, shift)
    needed = [
        tensor for tensor, needs in zip(given, ctx.needs_input_grad, strict=False) if needs and tensor is not None
    ]
    found = iter(torch.autograd.grad(out.to(grad.dtype), needed, grad, create_graph=True))
    return *(next(found) if needs else None for needs in ctx.needs_input_grad[:4]), None


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
