"""Gradual pruning along a cubic schedule: FGGP, and the magnitude pruning that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs
from torch import Tensor

from graphprune.masks import Counts, Cubic, MaskSet, gradient, magnitude, random
from graphprune.methods.core import validators
from graphprune.methods.core.in_training import (
    Stepwise,
    cosine,
    counted,
    is_share,
    kept_in_layers,
    rounded_down,
    rounded_up,
)

# Cosine annealing ends here (GraNet's and FGGP's authors).
LAST_RATIO = 0.005


@attrs.frozen(kw_only=True)
class Gradual(Stepwise):
    """Methods whose density follows ``final + (initial - final) * (1 - t) ** 3`` (Zhu & Gupta, 2017).

    Args:
        start_density: density before ``start``; 1 is a dense start, 0.5 is usual for a sparse one.
        scope: weights compete over all layers (``"global"``) or within each (``"layer"``), each of which then keeps
            ``round(density * weights)`` of its own, from the start.
        layer_floor: share of each layer's weights that is always kept, against layer collapse; None: a tenth of the
            share that is kept over all layers, at least one weight.

    Raises:
        ValueError: (on attaching) fewer weights to be left than there are layers that keep one.
    """

    start_density: float = attrs.field(default=1.0, validator=validators.density)
    scope: Literal["global", "layer"] = attrs.field(default="global", validator=validators.scope)
    layer_floor: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.share))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.unit != "weight" and self.start_density < 1:
            raise ValueError(f"start_density={self.start_density} is for single weights, unit={self.unit!r} needs 1")
        if self.start_density < self.density:
            raise ValueError(f"density={self.density} is above start_density={self.start_density}")

    @property
    def schedule(self) -> Cubic:
        """Density over optimiser steps."""
        return Cubic(self.start_density, self.density, self.start, self.last_step, self.every)

    @property
    def initial_density(self) -> float:
        """Before the first step."""
        return self.start_density

    def first(self, masks: MaskSet) -> MaskSet:
        """The masks before the first step, of dense ones."""
        if self.scope == "global":
            return super().first(masks)
        return masks.keep(self.random_scores(masks), self.left(0, masks), unit=self.pruned_unit)

    def due(self, step: int) -> bool:
        """Every ``every`` steps after ``start``, and at ``stop``."""
        return step > self.start and self.schedule.due(step)

    def left(self, step: int, masks: MaskSet) -> Counts:
        """Exactly ``round(density * units)``, of all layers together or of each."""
        schedule = self.schedule
        density = schedule.density(schedule.latest(step))
        units = masks.sizes(self.pruned_unit)
        if self.scope == "global":
            return round(density * sum(units.values()))
        return {name: round(density * total) for name, total in units.items()}

    def floor_at(self, step: int) -> float:
        """Share of each layer that is kept after a step."""
        return self.floor(self.layer_floor, self.schedule.density(self.schedule.latest(step)))

    def check(self, masks: MaskSet) -> None:
        """Raise ValueError where the final density cannot be had."""
        masks.keep(
            random(0)({}, {}, masks),
            self.left(self.last_step, masks),
            unit=self.pruned_unit,
            layer_floor=self.floor_at(self.last_step),
        )

    def kept(self, masks: MaskSet) -> Counts:
        """Units that are kept now, of all layers together or of each."""
        kept = kept_in_layers(masks, self.pruned_unit)
        return sum(kept.values()) if self.scope == "global" else kept


@attrs.frozen(kw_only=True)
class GMP(Gradual):
    """Gradual magnitude pruning (Zhu & Gupta, 2017): at each update the smallest weights go. None comes back."""

    name: ClassVar[str] = "gmp"
    reads_gradients: ClassVar[bool] = False

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """The largest weights stay."""
        size, floor = magnitude(weights, {}, masks), self.floor_at(step)
        return masks.keep(size, self.left(step, masks), unit=self.pruned_unit, layer_floor=floor)


@attrs.frozen(kw_only=True)
class FGGP(Gradual):
    """Fixed-rate gradient-first gradual pruning (Zhu et al., SCIA 2025, arXiv 2411.05500). No weight comes back.

    At each update the candidates are the ``candidate_ratio`` of the active weights whose gradient is smallest; of these
    the smallest weights go, as many as the cubic schedule says. The gradient is that of the current batch's loss alone,
    without decay, momentum or averaging. With ratio 1 this is gradual magnitude pruning, and the smaller the ratio, the
    more the gradient decides.

    Args:
        candidate_ratio: r, share of the active weights that may go at an update (authors: 0.5).

    Raises:
        ValueError: (on attaching) an update that would have to remove more weights than there are candidates.
    """

    candidate_ratio: float = attrs.field(default=0.5, validator=validators.density)

    name: ClassVar[str] = "fggp"

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """All but the candidates stay, and of the candidates the largest weights."""
        spared = counted(self._spared, self.kept(masks))
        least, size = gradient({}, grads, masks), magnitude(weights, {}, masks)
        left, floor = self.left(step, masks), self.floor_at(step)
        return masks.refill(least, spared, size, left, unit=self.pruned_unit, layer_floor=floor)

    def check(self, masks: MaskSet) -> None:
        """Raise ValueError unless there are candidates enough for every update to come."""
        super().check(masks)
        before = self.left(0, masks)
        for step in (*range(self.start + self.every, self.last_step, self.every), self.last_step):
            after = self.left(step, masks)
            short = counted(lambda now, then: max(self._spared(now) - then, 0), before, after)
            if worst := max([short] if isinstance(short, int) else short.values()):
                where = "" if isinstance(short, int) else f" in {max(short, key=lambda name: short[name])}"
                raise ValueError(
                    f"candidate_ratio={self.candidate_ratio} offers {worst:,} candidates too few{where} for the update "
                    f"at step {step:,}: raise it, or lower every={self.every} so that each update removes less"
                )
            before = after

    def _spared(self, kept: int) -> int:
        return kept - rounded_down(self.candidate_ratio * kept)


@attrs.frozen(kw_only=True)
class Annealed(Gradual):
    """Methods that drop more than the schedule says and bring some of it back, ever less: down to a share of 0.005.

    Args:
        end: optimiser steps of the whole training, over which that share falls along a cosine; None: ``stop``.
    """

    end: int | None = attrs.field(default=None, validator=attrs.validators.optional(validators.step))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not is_share(self.stop) and self.horizon < self.stop:
            raise ValueError(f"end={self.horizon} is the end of the training, it cannot lie before stop={self.stop}")

    @property
    def horizon(self) -> int:
        """The end of the annealing."""
        return self.end or self.last_step

    def ratio(self, first: float, step: int) -> float:
        """The share at a step, of what it is at first."""
        return cosine(first, LAST_RATIO, step, self.horizon)


@attrs.frozen(kw_only=True)
class AnnealedGMP(Annealed):
    """Magnitude first, gradient next, with an annealed rate: the ablation that FGGP's authors call the usual approach.

    At each update more than needed of the smallest weights are dropped, and of those just dropped the ones of largest
    gradient are restored. Weights that went at an earlier update never come back, so this is not GraNet.

    Args:
        restore_ratio: share of the weights to be left that is dropped beyond need and restored, at first; it falls to
            0.005 along a cosine (authors: 0.5).
    """

    restore_ratio: float = attrs.field(default=0.5, validator=validators.share)

    name: ClassVar[str] = "annealed"

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """The largest weights stay, and of the others those of largest gradient."""
        ratio = self.ratio(self.restore_ratio, step)
        left = self.left(step, masks)
        sure = counted(lambda count: count - rounded_down(ratio * count), left)
        size, slope, floor = magnitude(weights, {}, masks), gradient({}, grads, masks), self.floor_at(step)
        return masks.refill(size, sure, slope, left, unit=self.pruned_unit, layer_floor=floor)


@attrs.frozen(kw_only=True)
class GraNet(Annealed):
    """Gradual magnitude pruning with neuroregeneration (Liu et al., NeurIPS 2021).

    At each update the smallest weights of all layers go until the schedule's density is met; then each layer drops a
    share of its smallest weights and grows as many where the gradient is largest, at any entry that is pruned. Growing
    goes on after ``stop``.

    Args:
        regrow_ratio: share of a layer's weights that is dropped and regrown, at first; it falls to 0.005 along a cosine
            (authors: 0.5).
        end: see :class:`Annealed`; without it nothing is regrown after ``stop``.
    """

    scope: Literal["global"] = attrs.field(default="global", init=False)
    unit: Literal["weight"] = attrs.field(default="weight", init=False)
    regrow_ratio: float = attrs.field(default=0.5, validator=validators.share)

    name: ClassVar[str] = "granet"

    def due(self, step: int) -> bool:
        """As the schedule says, and every ``every`` steps after ``stop`` up to ``end``."""
        growing = self.last_step < step <= self.horizon and (step - self.start) % self.every == 0
        return super().due(step) or growing

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """Prune all layers together, then drop and grow in each."""
        size = magnitude(weights, {}, masks)
        masks = masks.keep(size, self.left(step, masks), layer_floor=self.floor_at(step))
        ratio = self.ratio(self.regrow_ratio, step)
        kept = kept_in_layers(masks, self.pruned_unit)
        sure = {name: count - rounded_up(ratio * count) for name, count in kept.items()}
        return masks.refill(size, sure, gradient({}, grads, masks), kept, regrow=True)
