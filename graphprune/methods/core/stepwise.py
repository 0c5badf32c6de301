"""What methods share that change the masks every few steps of a training, up to the last."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from math import ceil, cos, floor, pi
from typing import Any, ClassVar

import attrs
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks import Counts, MaskSet, Pruning, Unit, random
from graphprune.masks.distribution import Distribution
from graphprune.masks.distribution import counts as layer_counts
from graphprune.methods.core.fit import derive_seed
from graphprune.methods.core.in_training import InTraining, resumed, steps


@attrs.frozen(kw_only=True)
class Stepwise(InTraining):
    """A method that changes the masks at some steps, by weights and gradients; it is the rule of its own runs.

    Args:
        start: optimiser steps before the first change of the masks may come.
        every: optimiser steps between two changes.
        distribution: how a sparse start is spread over the layers: Erdős-Rényi-kernel (``"erk"``) or ``"uniform"``.
    """

    start: int = attrs.field(default=0, validator=steps)
    every: int = attrs.field(validator=steps)
    distribution: Distribution = attrs.field(default="erk", validator=attrs.validators.in_(("erk", "uniform")))

    reads_gradients: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.start >= self.stop:
            raise ValueError(f"start must lie before stop, got start={self.start} and stop={self.stop}")
        if self.every > self.stop - self.start:
            raise ValueError(
                f"every={self.every} is longer than all the {self.stop - self.start} steps from start to stop"
            )

    @abstractmethod
    def due(self, step: int) -> bool:
        """Whether the masks change behind an optimiser step."""

    @abstractmethod
    def left(self, step: int, masks: MaskSet) -> Counts:
        """Units that are kept behind a step: of all layers together, or of each."""

    @abstractmethod
    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """The masks that follow behind a step that is due."""

    @property
    @abstractmethod
    def initial_density(self) -> float:
        """The density before the first step."""

    def first(self, masks: MaskSet) -> MaskSet:
        """The masks before the first step, of dense ones."""
        density = self.initial_density
        if density == 1:
            return masks
        return masks.keep(self.drawn(masks), layer_counts(self.distribution, masks.shapes, density))

    def drawn(self, masks: MaskSet) -> dict[str, Tensor]:
        """Random scores, which decide over a sparse start."""
        return random(derive_seed(self.seed, "start"))({}, {}, masks)

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run of which this is the rule."""
        if resume is None:
            return Pruning(self, self.first(masks), model, optimizer)
        masks, step = resumed(resume, masks)
        if strange := sorted(resume.keys() - {"step", "masks"}):
            raise ValueError(f"resume is of a run of another method, it has {strange} as well")
        return Pruning(self, masks, model, optimizer, step)


def counted(of: Callable[..., int], *counts: Counts) -> Counts:
    """A function of counts, for all layers together or for each."""
    if isinstance(counts[0], int):
        return of(*counts)
    return {name: of(*(count[name] for count in counts if not isinstance(count, int))) for name in counts[0]}


def kept_in_layers(masks: MaskSet, unit: Unit) -> dict[str, int]:
    """Units that each layer keeps."""
    return {name: kept for name, (kept, _) in masks.units(unit).items()}


def cosine(first: float, last: float, step: int, steps: int) -> float:
    """From one value to another over so many steps, along half a cosine; the last one from there on."""
    return last + (first - last) * (1 + cos(pi * min(step / steps, 1.0))) / 2


def rounded_down(value: float) -> int:
    """Round down, but not from what is a whole number but for the float: 0.29 * 100 is 28.999999999999996."""
    return floor(round(value, 6))


def rounded_up(value: float) -> int:
    """Round up, but not from what is a whole number but for the float."""
    return ceil(round(value, 6))
