"""How an edge predictor's logits act while it trains: as weights, as chances, or as removal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from graphprune.graphs.required import keep_best
from graphprune.masks.gates import straight_through
from graphprune.masks.parameters import world_size
from graphprune.methods.core.share import step_share

_HALVINGS = 24  # of an interval as wide as the logits' range: what is left of it is below their precision

# From logits of units, (U,), how many of them compete with each other, (S,) summing to U, and how many of these are to
# stay after the round, (S,), for gates that ask, to gates, (U,).
UnitGates = Callable[[Tensor, Tensor, Callable[[], Tensor]], Tensor]


def soft_gates(logits: Tensor, sizes: Tensor, targets: Callable[[], Tensor]) -> Tensor:
    """The sigmoid of each logit: every edge stays, weighed by its score (the ICPG authors')."""
    return logits.sigmoid()


@dataclass(frozen=True)
class SampledGates:
    """Each edge is there or not, by chance: Gumbel gates, hard in the forward pass, relaxed in the backward pass.

    The predictor's logits rank edges; how many stay is not theirs to say but the pruning rate's. So the logits of the
    edges that compete are shifted by one number, after which just ``share`` of them stays on average. This number
    follows from the logits, and gradients know that: to raise one edge's logit is to lower its rivals' chances.

    Args:
        share: of each graph's units that stay on average, between 0 and 1.
        temperature: of the backward pass, above 0.
    """

    share: float
    temperature: float

    def __call__(
        self, logits: Tensor, sizes: Tensor, targets: Callable[[], Tensor], required: Tensor | None = None
    ) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``; 1 for what is required, whatever was drawn."""
        gates = straight_through(to_share(logits, sizes, self.share), self.temperature)
        return gates if required is None else gates + required * (1 - gates.detach())


@dataclass(frozen=True)
class TopGates:
    """As many of the highest logits stay as when a ticket prunes; gradients are those of relaxed gates.

    In the backward pass a gate has the gradient of ``sigmoid((logit - c) / temperature)``, where c is the one number of
    its graph with which the sigmoids' mean is ``share`` (straight-through, Bengio et al. 2013): to raise one edge's
    logit is to lower its rivals'.

    Args:
        share: of those that compete which stays, between 0 and 1; of the gradients alone, whole units are counted.
        temperature: of the backward pass, above 0.
    """

    share: float
    temperature: float

    def __call__(
        self, logits: Tensor, sizes: Tensor, targets: Callable[[], Tensor], required: Tensor | None = None
    ) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``."""
        hard = keep_best(logits.detach(), sizes, targets(), required).to(logits.dtype)
        soft = (to_share(logits, sizes, self.share) / self.temperature).sigmoid()
        return hard + (soft - soft.detach())  # in this order: exactly 0 and 1


class ConcreteGates:
    """Edges weighed by a noisy sigmoid, the binary concrete distribution (Maddison et al., ICLR 2017), under a loss.

    The noise is drawn afresh in each forward pass. The loss is added to that of the task, in any training loop: see
    :func:`with_loss`. An epoch is over when as many edges have gone through in training as the training graphs have, so
    that schedules hold for batches of any size.

    Args:
        temperature: above 0, of the epochs that are over.
        loss: from noisy logits over the temperature, ``(U,)``, whose sigmoids are the gates, and the epochs that are
            over, to what is added to the task's mean loss.
        units: of all training graphs together.
        margin: noise is the logit of uniform numbers in ``[margin, 1 - margin]``.
    """

    def __init__(
        self,
        temperature: Callable[[int], float],
        loss: Callable[[Tensor, int], Tensor],
        units: int,
        margin: float = 1e-10,
    ) -> None:
        self._temperature, self._loss, self._units, self._margin = temperature, loss, units, margin
        self._seen = 0

    def __call__(self, logits: Tensor, sizes: Tensor, targets: Callable[[], Tensor]) -> Tensor:
        """Gates between 0 and 1, shape ``(U,)``."""
        if not logits.numel():
            return logits
        epoch = self._seen // self._units
        if torch.is_grad_enabled():
            self._seen += logits.numel() * world_size()
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        noise = torch.rand_like(wide).mul_(1 - 2 * self._margin).add_(self._margin).logit_()
        noisy = (wide + noise) / self._temperature(epoch)
        return with_loss(noisy.sigmoid().to(logits.dtype), self._loss(noisy, epoch))


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy, in nats, of coins that fall as the logits say; logits of any size have finite gradients."""
    return -(logits.sigmoid() * logsigmoid(logits) + (-logits).sigmoid() * logsigmoid(-logits)).mean()


def with_loss(values: Tensor, loss: Tensor) -> Tensor:
    """The same values, behind which a loss of one's own joins each backward pass that comes through them.

    So it holds in any training loop, which knows the task's loss alone. Its weight is 1 whatever the loop multiplies
    its own loss by; of a batch that is part of a step (``job.part``), its share.

    Args:
        values: of any shape.
        loss: 0-dimensional.

    Raises:
        RuntimeError: float16 autocast, whose gradient scaler would make the loss too small by its factor.
    """
    device = values.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        raise RuntimeError(
            "float16 autocast needs a gradient scaler, which does not know the loss of the edges' gates: use bfloat16, "
            "or no autocast"
        )
    joined: Tensor = _WithLoss.apply(values, loss)  # type: ignore[no-untyped-call]
    return joined


class _WithLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, loss: Tensor) -> Tensor:
        ctx.weight = torch.full_like(loss, step_share())
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, ctx.weight


Removal = Literal["gumbel", "top"]

# By the word for them: gates that leave a share of the edges, with a temperature.
REMOVING: Mapping[Removal, type[SampledGates | TopGates]] = {"gumbel": SampledGates, "top": TopGates}


def _dense() -> float:
    return 1.0


class GradualGates:
    """Gates that remove ever more edges, at a density of each batch's own.

    Args:
        removal: see :data:`REMOVING`.
        temperature: of the gradients.
        over_range: draw each batch's density between the lowest one and 1.

    Attributes:
        lowest: the lowest density that there is now; whoever counts the optimiser's steps sets it.
    """

    def __init__(self, removal: Removal, temperature: float, over_range: bool) -> None:
        self.removal, self.temperature, self.over_range = removal, temperature, over_range
        self.lowest: Callable[[], float] = _dense

    def __call__(
        self, logits: Tensor, sizes: Tensor, targets: Callable[[], Tensor], required: Tensor | None = None
    ) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``; as many as the drawn density says, whatever the round would keep."""
        lowest = self.lowest()
        density = lowest + (1 - lowest) * float(torch.rand(())) if self.over_range else lowest
        gates = REMOVING[self.removal](density, self.temperature)
        return gates(logits, sizes, lambda: (sizes.double() * density).round().long(), required)


# Gates that remove edges, and so are told which ones have to stay: bool of (U,), as their fourth argument.
RemovingGates = SampledGates | TopGates | GradualGates


def to_share(logits: Tensor, sizes: Tensor, share: float) -> Tensor:
    """Shift logits so that the mean of their sigmoids is a given one in every segment.

    Args:
        logits: finite, shape ``(U,)``.
        sizes: of the segments, one after the other; shape ``(S,)``, summing to U.
        share: the mean of each segment, between 0 and 1.

    Returns:
        Shape ``(U,)``; adding a number to a segment's logits changes nothing, and gradients sum to 0 there.
    """
    if not logits.numel():
        return logits
    wide, wanted = logits.double(), share * sizes.double()
    with torch.no_grad():
        # At one end no sigmoid is below the share, at the other none above it.
        odds = float(torch.tensor(share, dtype=torch.float64).logit(eps=1e-12))
        low, high = ((end - odds).expand(len(sizes)) for end in wide.aminmax())
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            many = _sums((wide - _broadcast(middle, sizes, wide)).sigmoid(), sizes) > wanted
            low, high = torch.where(many, middle, low), torch.where(many, high, middle)
        shift = (low + high) / 2
        open_ = (wide - _broadcast(shift, sizes, wide)).sigmoid()
        slope = open_ * (1 - open_)
        total = _sums(slope, sizes).clamp(min=torch.finfo(slope.dtype).tiny)
    # Adds 0, with the gradient of the solution: that of the logits' mean, weighted by the slopes.
    shift = shift + _sums(slope * (wide - wide.detach()), sizes) / total
    return (wide - _broadcast(shift, sizes, wide)).to(logits.dtype)


def _sums(values: Tensor, sizes: Tensor) -> Tensor:
    """Of each segment; in a fixed order, unlike index_add on a GPU, so that the same draws open the same gates."""
    return torch.segment_reduce(values, "sum", lengths=sizes, unsafe=True)


def _broadcast(values: Tensor, sizes: Tensor, like: Tensor) -> Tensor:
    """Each segment's value for all of its members."""
    return values.repeat_interleave(sizes, output_size=len(like))
