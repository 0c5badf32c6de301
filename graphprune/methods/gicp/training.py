"""What GICP puts into its one training: gates at falling densities, and weights that go along the same schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks import Cubic, MaskSet, Pruning
from graphprune.masks.attach import stepping
from graphprune.methods.edge_gates import REMOVING
from graphprune.methods.gradual import FGGP
from graphprune.methods.joint import JointNetwork

Removal = Literal["top", "gumbel"]


class Weights(FGGP):
    """Gradual pruning whose epochs count from ``stop`` on, also where no weight goes: edges have a schedule too."""

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run."""
        return _UpToStop(self, self.first(masks), model, optimizer)


class _UpToStop(Pruning):
    @property
    def finished(self) -> bool:
        return self.step >= self._rule.stop and super().finished


class GradualGates:
    """Gates that remove ever more edges, at a density of each batch's own.

    Args:
        schedule: of the lowest density, over optimiser steps.
        removal: see :data:`~graphprune.methods.edge_gates.REMOVING`.
        temperature: of the gradients.
        over_range: draw each batch's density between the lowest one and 1.

    Attributes:
        step: optimiser steps taken.
    """

    def __init__(self, schedule: Cubic, removal: Removal, temperature: float, over_range: bool) -> None:
        self.schedule, self.removal, self.temperature, self.over_range = schedule, removal, temperature, over_range
        self.step = 0

    def __call__(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``."""
        lowest = self.schedule.density(self.step)
        density = lowest + (1 - lowest) * float(torch.rand(())) if self.over_range else lowest
        if density == 1:
            return torch.ones_like(logits)
        return REMOVING[self.removal](density, self.temperature)(logits, sizes)


class GradualNetwork(JointNetwork):
    """Network and predictor as one module whose gates follow the optimiser's steps."""

    def follow(self, optimizer: Optimizer) -> None:
        """Count its steps from here on."""
        stepping(optimizer).register_step_post_hook(self._stepped)

    def _stepped(self, *_: Any) -> None:
        gates = self._unit_gates
        assert isinstance(gates, GradualGates)
        gates.step += 1
