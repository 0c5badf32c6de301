"""One trained mask value for each edge of the training graphs, kept flat and updated where a batch has touched it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from graphprune.graphs.pairs import EDGE_UNIT, at_arcs
from graphprune.masks.parameters import world_size


class EdgeStore(nn.Module):
    """The edge masks of UGS for a data set of many graphs: a flat vector, trained by Adam, lazily.

    Only the edges of the graphs in a batch are touched by a step: each value goes through the very steps of Adam that
    it would go through if its graph were alone, with moments and bias corrections of its own. A dense optimiser would
    move absent edges by momentum and L1 alone.

    Takes 16 bytes a unit (value, two moments, number of steps), and a copy of the values in every state dict.

    Args:
        start: initial values, shape ``(U,)``; units that are gone are 0, and stay so.
        l1: weight of the L1 penalty; its subgradient is added to the gradient.
        betas: of Adam.
        eps: of Adam.
    """

    value: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(
        self, start: Tensor, l1: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__()
        self.l1, self.betas, self.eps = l1, betas, eps
        self.register_buffer("value", start.clone())
        for name in ("mean", "square"):
            self.register_buffer(name, torch.zeros_like(start), persistent=False)
        self.register_buffer("steps", torch.zeros_like(start, dtype=torch.int32), persistent=False)
        self._pending: list[tuple[Tensor, Tensor]] = []

    def forward(self, numbers: Tensor) -> Tensor:
        """Gates, the absolute values, of arcs with these unit numbers, shape ``(E,)``; 1 at self-loops (-1)."""
        if not (self.training and torch.is_grad_enabled()):
            return at_arcs(self.value.abs(), numbers, 1.0)
        proper = numbers >= 0
        units, within = numbers[proper].unique(return_inverse=True)
        rows = self.value[units].requires_grad_()
        self._pending.append((units, rows))
        place = numbers.new_full(numbers.shape, -1)
        place[proper] = within
        return at_arcs(rows.abs(), place, 1.0)

    @torch.no_grad()
    def step(self, lr: float, weight_decay: float = 0.0) -> None:
        """One step of Adam for the values that gradients have reached since the last one.

        In a distributed run every rank steps with the gradients of all ranks. Where one of them is not finite, all are
        dropped and no value moves.

        Args:
            lr: learning rate.
            weight_decay: added to the gradient as a multiple of the value, as in Adam.
        """
        touched = [(units, rows.grad) for units, rows in self._pending if rows.grad is not None]
        self._pending.clear()
        units = torch.cat([units for units, _ in touched]) if touched else self.steps.new_zeros(0, dtype=torch.int64)
        grads = torch.cat([grad for _, grad in touched]) if touched else self.value.new_zeros(0)
        units, grads = _of_all_ranks(units, grads)
        if not bool(grads.isfinite().all()):  # a step that a gradient scaler has the optimiser skip
            return
        units, place = units.unique(return_inverse=True)
        value = self.value[units]
        grad = torch.zeros_like(value).index_add(0, place, grads) + self.l1 * value.sign() + weight_decay * value
        one, two = self.betas
        mean = self.mean[units].lerp(grad, 1 - one)
        square = self.square[units].lerp(grad * grad, 1 - two)
        count = self.steps[units] + 1
        self.mean[units], self.square[units], self.steps[units] = mean, square, count
        size = mean / (1 - one**count) / ((square / (1 - two**count)).sqrt() + self.eps)
        self.value[units] = torch.where(value == 0, value, value - lr * size)

    @property
    def trained(self) -> bool:
        """Whether any value has been through a step."""
        return bool((self.steps > 0).any())


class StoredScores(nn.Module):
    """Scores the edges that a store knows by given values.

    Args:
        values: a score for each unit, shape ``(U,)``.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)

    def forward(self, data: Any) -> Tensor:
        """Shape ``(E,)``; 0 at self-loops."""
        assert isinstance(self.values, Tensor)
        return at_arcs(self.values, data[EDGE_UNIT], 0.0)


def _of_all_ranks(units: Tensor, grads: Tensor) -> tuple[Tensor, Tensor]:
    """The units and gradients of all ranks; gradients as of the mean over all ranks' losses."""
    world = world_size()
    if world == 1:
        return units, grads
    sizes = [units.new_zeros(1) for _ in range(world)]
    dist.all_gather(sizes, units.new_tensor([units.numel()]))
    most = max(int(size) for size in sizes)
    gathered = []
    for values in (units, grads / world):
        padded = torch.cat([values, values.new_zeros(most - values.numel())])
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        gathered.append(torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)]))
    return gathered[0], gathered[1]
