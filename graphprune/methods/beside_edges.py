"""Weights and channels that go gradually while edges do: the masks of GICP's one training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks import Counts, Coupled, Cubic, MaskSet, Pruning, Unit, Weight, magnitude
from graphprune.methods.core.edge_gates import GradualGates
from graphprune.methods.core.in_training import counted, is_share, kept_in_layers, stop_in
from graphprune.methods.gradual import FGGP


@attrs.frozen(kw_only=True)
class _Among(FGGP):
    """FGGP of what is left by then, which may be less than the schedule says: something else prunes, too."""

    def left(self, step: int, masks: MaskSet) -> Counts:
        """What the schedule says, or all that is there."""
        return counted(min, super().left(step, masks), self.kept(masks))


@attrs.frozen(kw_only=True)
class FGGPBesideEdges(_Among):
    """Gradual pruning of weights, and of channels before, whose epochs count from ``stop`` on, also where none goes.

    Edges have a schedule too.

    Args:
        gates: of the edges.
        edges: the lowest density of these, at ``stop``.
        channels: share of the channels that is left in the end; 1: all of them.
        channel_unit: what these are.
    """

    gates: GradualGates
    edges: float
    channels: float = 1.0
    channel_unit: Coupled | None = None

    @property
    def pruned_unit(self) -> Unit:
        """Single weights, without what only goes with channels."""
        return Weight() if self.channel_unit is None else Weight(self.channel_unit.followers)

    def dense(self, model: nn.Module) -> MaskSet:
        """All weights, and what goes with channels."""
        unit = self.pruned_unit if self.channel_unit is None else self.channel_unit
        return MaskSet.dense(model, self.selector, unit=unit)

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """Channels go first, then weights of those that stay; a channel that has none left is gone as a whole."""
        if self.channel_unit is None:
            return super().update(step, masks, weights, grads)
        masks = super().update(step, self._of_channels.update(step, masks, weights, grads), weights, grads)
        alive = sum(kept_in_layers(masks, self.channel_unit).values())
        return masks.keep(magnitude(weights, {}, masks), alive, unit=self.channel_unit)

    def check(self, masks: MaskSet) -> None:
        """Raise ValueError where a final density cannot be had."""
        super().check(masks)
        if self.channel_unit is not None:
            self._of_channels.check(masks)

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run, which the gates follow."""
        schedule = Cubic(1.0, self.edges, 0, self.last_step, 1)
        run = _UpToStop(self, self.first(masks), model, optimizer)
        self.gates.lowest = lambda: schedule.density(run.step)
        return run

    def in_steps(self, steps: int | None) -> Self:
        """The same, with one update at least."""
        if not is_share(self.stop):
            return self
        stop = stop_in(self.stop, steps)
        return self.replace(stop=stop, every=min(self.every, stop))

    @property
    def _of_channels(self) -> FGGP:
        own = {item.name for item in attrs.fields(_Among)} - {"density", "unit"}
        same = {name: getattr(self, name) for name in own}
        return _Among(**same, density=self.channels, unit=self.channel_unit or Weight())


class _UpToStop(Pruning):
    @property
    def finished(self) -> bool:
        return self.step >= self._rule.last_step and super().finished

    def _unfinished(self) -> str:
        return (
            f"the training ended after optimiser step {self.step:,}, but densities fall until "
            f"stop={self._rule.last_step:,}: lower stop or train longer"
        )
