"""Gumbel-softmax gates: hard samples in the forward pass, the gradient of soft ones in the backward pass."""

from __future__ import annotations

from typing import Any, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graphprune.masks.gates.base import Empty
from graphprune.masks.gates.logits import LogitGates, UnitOptions
from graphprune.masks.gates.temperature import Temperature


class GumbelGates(LogitGates):
    """Hard random gates with straight-through gradients (Jang et al., ICLR 2017), one logit a unit.

    In training a gate is ``1[logit + noise > 0]``, with fresh logistic noise in each forward pass, and its gradient
    that of ``sigmoid((logit + noise) / temperature)``. This equals a Gumbel-softmax over the two logits "keep" and
    "drop" of which ``logit`` is the difference. In evaluation a gate is ``1[logit > 0]``: the masks of `harden`.

        gates = GumbelGates(net, density=0.01, control=DensityControl(steps=8000))
        optimizer = Adam([{"params": net.parameters()}, {"params": gates.parameters(), "lr": 2e-2}])
        with gates.attach(net):
            for x, y in batches:
                loss = cross_entropy(net(x), y) + gates.penalty()
                ...
        gates.harden().apply_(net)

    The penalty's value is the expected share of open gates, its gradient that of ``sigmoid(logit / temperature)``. So
    loss and penalty pull a gate with strengths that fade alike as it gets decided, and a gate that is worth less than
    its price closes, however decided it was. With the exact gradient of the expectation, which fades first, what was
    decided early stays: on MNIST at 0.15 % of the weights of LeNet-300-100 this costs 3 % accuracy.

    Give the gates no weight decay: it would pull them to where they decide nothing.

    Args:
        model, select, unit, density, penalty_weight, control, empty: see `Gates`.
        temperature: of the backward pass, above 0; small ones give gradients to undecided gates only.
        start: probability with which a unit is let through at first, but for noise that breaks ties.

    Raises:
        ValueError: see `Gates`; a temperature of 0 or less; a ``start`` that is no probability.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        temperature: float | Temperature = 3.0,
        start: float = 0.5,
        empty: Empty = "raise",
        **options: Unpack[UnitOptions],
    ) -> None:
        super().__init__(model, start=start, **options)
        if empty not in get_args(Empty):
            raise ValueError(f"empty must be one of {get_args(Empty)}, got {empty!r}")
        self.empty = empty
        self.temperature = Temperature.of(temperature)

    def drawn(self, name: str) -> Tensor:
        """Logits with noise."""
        return _noisy(self.logit(name))

    def trained(self, name: str, weight: Tensor, drawn: Tensor) -> Tensor:
        """The weight where a sampled gate is open, else 0."""
        gated: Tensor = _GatedWeight.apply(  # type: ignore[no-untyped-call]
            weight, self._expanded(name, drawn, weight), self.temperature.at(self.step)
        )
        return gated

    def settled(self, name: str, weight: Tensor) -> Tensor:
        """The weight where the gate is rather open than closed, else 0."""
        return torch.where(self._expanded(name, self._open(self._first(name)), weight), weight, 0)

    def expected(self, name: str) -> Tensor:
        """``(units,)``: the probabilities of open gates, with the gradient of relaxed ones."""
        temperature = self.temperature.at(self.step)
        expected: Tensor = _Expected.apply(self.logit(name), temperature)  # type: ignore[no-untyped-call]
        return expected


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """Sampled gates, 0 or 1, that pass gradients as the relaxed ones would.

    Args:
        logits: floating point, any shape; the log odds of 1. In half precision they are sampled in single.
        temperature: of the backward pass, above 0.

    Returns:
        ``1[logits + noise > 0]`` with logistic noise, in the logits' dtype; a gate is 1 with probability
        ``sigmoid(logits)``. Its gradient is that of ``sigmoid((logits + noise) / temperature)``.

    Raises:
        ValueError: a temperature of 0 or less.
    """
    temperature = Temperature.of(temperature).start
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    gate: Tensor = _Step.apply(_noisy(wide), temperature)  # type: ignore[no-untyped-call]
    return gate.to(logits.dtype)


def _noisy(logits: Tensor) -> Tensor:
    """Logits plus logistic noise, which is the difference of two Gumbel noises."""
    # A uniform number of exactly 0 becomes -inf: a closed gate without a gradient.
    return torch.rand_like(logits).logit_().add_(logits)


def _slope(noisy: Tensor, temperature: float) -> Tensor:
    """Derivative of ``sigmoid(noisy / temperature)``."""
    soft = (noisy / temperature).sigmoid_()
    return soft.addcmul_(soft, soft, value=-1.0).div_(temperature)


def _where_open(noisy: Tensor, value: Tensor) -> Tensor:
    """``torch.where(noisy > 0, value, 0)``, by the operation behind relu's gradient: 20 times as fast on a CPU."""
    out: Tensor = torch.ops.aten.threshold_backward(value, noisy.to(value.dtype), 0)
    return out


class _Step(torch.autograd.Function):
    """``1[noisy > 0]``."""

    @staticmethod
    def forward(ctx: Any, noisy: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(noisy)
        ctx.temperature = temperature
        return (noisy > 0).to(noisy.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (noisy,) = ctx.saved_tensors
        return _slope(noisy, ctx.temperature).mul_(grad), None


class _Expected(torch.autograd.Function):
    """``sigmoid(logits)``, and in the backward pass the slope of ``sigmoid(logits / temperature)``."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.temperature = temperature
        return torch.sigmoid(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (logits,) = ctx.saved_tensors
        return _slope(logits, ctx.temperature).mul_(grad), None


class _GatedWeight(torch.autograd.Function):
    """``weight * 1[noisy > 0]`` in one go; chosen, not multiplied: what is closed is 0 even if not finite."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, noisy: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(weight, noisy)
        ctx.temperature = temperature
        return _where_open(noisy, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, noisy = ctx.saved_tensors
        to_weight = _where_open(noisy, grad) if ctx.needs_input_grad[0] else None
        # In the logits' precision: the product of gradient and weight may overflow in half.
        to_noisy = _slope(noisy, ctx.temperature).mul_(grad).mul_(weight) if ctx.needs_input_grad[1] else None
        return to_weight, to_noisy, None
