"""Sparse training at a constant density: RigL and SET."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
from torch import Tensor

from graphprune.masks import Counts, MaskSet, gradient, magnitude, random
from graphprune.masks.distribution import counts as layer_counts
from graphprune.methods.core import validators
from graphprune.methods.core.fit import derive_seed
from graphprune.methods.core.in_training import Stepwise, cosine, kept_in_layers, rounded_down


@attrs.frozen(kw_only=True)
class SparseTraining(Stepwise):
    """Methods that start sparse and move a share of each layer's weights at every update.

    The number of weights of a layer never changes. A weight that was just dropped may be grown again, with its value;
    all others start at zero, with a fresh optimiser state. Shares are rounded down: a layer of three weights never
    moves. The optimiser's step goes before the update and is not replaced by it (as in the authors' TensorFlow code).

    Args:
        start: see :class:`Stepwise`.
        stop: optimiser step of the last update, or a share of the training (RigL's authors: 0.75).
        every: optimiser steps between two updates (RigL's authors: 100).
        drop_ratio: share of a layer's weights that moves, at first; it falls to 0 at ``stop`` along a cosine (RigL's
            authors: 0.3).
    """

    every: int = attrs.field(default=100, validator=validators.step)
    drop_ratio: float = attrs.field(default=0.3, validator=validators.share)
    unit: Literal["weight"] = attrs.field(default="weight", init=False)

    @property
    def initial_density(self) -> float:
        """The final one."""
        return self.density

    def due(self, step: int) -> bool:
        """Every ``every`` steps after ``start``, up to ``stop``."""
        return self.start < step <= self.last_step and (step - self.start) % self.every == 0

    def left(self, step: int, masks: MaskSet) -> Counts:
        """The same in every layer at all steps."""
        return layer_counts(self.distribution, masks.shapes, self.density)

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """Drop the smallest weights of each layer and grow as many."""
        ratio = cosine(self.drop_ratio, 0.0, step, self.last_step)
        left = kept_in_layers(masks, self.pruned_unit)
        sure = {name: count - rounded_down(ratio * count) for name, count in left.items()}
        return masks.refill(magnitude(weights, {}, masks), sure, self.growth(step, masks, grads), left, regrow=True)

    @abstractmethod
    def growth(self, step: int, masks: MaskSet, grads: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Scores of entries to grow; the highest are."""


@attrs.frozen(kw_only=True)
class RigL(SparseTraining):
    """Sparse training that grows where the gradient of the current batch is largest (Evci et al., ICML 2020)."""

    name: ClassVar[str] = "rigl"

    def growth(self, step: int, masks: MaskSet, grads: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The gradient's size."""
        return gradient({}, grads, masks)


@attrs.frozen(kw_only=True)
class SET(SparseTraining):
    """Sparse evolutionary training: weights grow at random places (Mocanu et al., Nature Communications 2018)."""

    name: ClassVar[str] = "set"
    reads_gradients: ClassVar[bool] = False

    def growth(self, step: int, masks: MaskSet, grads: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A draw of its own for each step."""
        return random(derive_seed(self.seed, "grow", step))({}, {}, masks)
