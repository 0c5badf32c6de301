"""What GICP puts into its one training: gates at falling densities, and weights that go along the same schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks import Cubic, MaskSet, Pruning
from graphprune.methods.core.edge_gates import REMOVING
from graphprune.methods.gradual import FGGP

Removal = Literal["top", "gumbel"]


class GradualGates:
    """Gates that remove ever more edges, at a density of each batch's own.

    Args:
        schedule: of the lowest density, over optimiser steps.
        removal: see :data:`~graphprune.methods.core.edge_gates.REMOVING`.
        temperature: of the gradients.
        over_range: draw each batch's density between the lowest one and 1.

    Attributes:
        run: the pruning of the weights, which counts the optimiser's steps; None: before the first.
    """

    def __init__(self, schedule: Cubic, removal: Removal, temperature: float, over_range: bool) -> None:
        self.schedule, self.removal, self.temperature, self.over_range = schedule, removal, temperature, over_range
        self.run: Pruning | None = None

    def __call__(self, logits: Tensor, sizes: Tensor, targets: Callable[[], Tensor]) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``; as many as the drawn density says, whatever the stage would keep."""
        lowest = self.schedule.density(self.run.step if self.run else 0)
        density = lowest + (1 - lowest) * float(torch.rand(())) if self.over_range else lowest
        gates = REMOVING[self.removal](density, self.temperature)
        return gates(logits, sizes, lambda: (sizes.double() * density).round().long())


@attrs.frozen(kw_only=True)
class Weights(FGGP):
    """Gradual pruning whose epochs count from ``stop`` on, also where no weight goes: edges have a schedule too."""

    gates: GradualGates

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run, which the gates follow."""
        self.gates.run = _UpToStop(self, self.first(masks), model, optimizer)
        return self.gates.run


class _UpToStop(Pruning):
    @property
    def finished(self) -> bool:
        return self.step >= self._rule.stop and super().finished

    def _unfinished(self) -> str:
        return (
            f"the training ended behind optimiser step {self.step:,}, but densities fall until "
            f"stop={self._rule.stop:,}: lower stop or train longer"
        )
