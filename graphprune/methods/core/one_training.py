"""What methods of a single training share: they prune before it, or while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from torch import nn

from graphprune.masks import MaskSet, Unit, Weight
from graphprune.masks.units import name_of
from graphprune.methods.core.method import Method


def open_density(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    """Validates a density of which something is left."""
    if not 0 < value <= 1:
        raise ValueError(f"{attribute.alias} must lie in (0, 1], got {value}")


def share(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    """Validates a share of all, none and all included."""
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.alias} must lie in [0, 1], got {value}")


def one_of(*words: str) -> Callable[[Any, attrs.Attribute[str], str], None]:
    """Validates a word."""

    def known(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
        if value not in words:
            raise ValueError(f"{attribute.alias} must be one of {', '.join(words)}, got {value!r}")

    return known


def whole(instance: Any, attribute: attrs.Attribute[int], value: int) -> None:
    """Validates a whole number, none included."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{attribute.alias} must be a whole number of at least 0, got {value!r}")


@attrs.frozen(kw_only=True)
class OneTraining(Method):
    """A method that trains once and hands out one ticket; edges stay as they are.

    A subclass that knows its masks before the training says so in :meth:`prune`, by ``replace(here, masks=...)``.

    Args:
        density: share of the prunable weights that is left in the end; of the channels where these are pruned.
    """

    density: float = attrs.field(validator=open_density)
    points = "density"

    def dense(self, model: nn.Module) -> MaskSet:
        """All weights that the method may prune.

        Raises:
            ValueError: there are none, or so few that the density keeps none of them.
        """
        dense = MaskSet.dense(model, self.selector, unit=self.grain)
        units = sum(dense.sizes(self.grain).values())
        if not round(self.density * units):
            raise ValueError(f"density={self.density} keeps none of the {units:,} {name_of(self.grain)}: raise it")
        return dense

    @property
    def grain(self) -> Unit:
        """What falls together: single weights."""
        return Weight()

    @property
    def last_round(self) -> int:
        """One."""
        return 1

    @property
    def prunes_weights(self) -> bool:
        """Always."""
        return True
