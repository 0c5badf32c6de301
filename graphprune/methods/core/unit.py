"""What falls together when a method prunes a network."""

from __future__ import annotations

from typing import Any

from torch import nn

from graphprune.compaction.couplings import coupled_channels
from graphprune.data.base import LabelledData
from graphprune.masks import UNITS, Selector, Unit, UnitName
from graphprune.methods.core.prepare import example
from graphprune.methods.core.validators import that

_NAMES = (*UNITS, "coupled")


# Validates what falls together, by name or as a unit.
known_unit = that(
    lambda value: isinstance(value, Unit) or value in _NAMES, f"must be one of {', '.join(map(repr, _NAMES))}"
)


def unit_of(unit: UnitName | Unit) -> Unit:
    """The unit of a network that nobody has run yet.

    Raises:
        ValueError: channels of several layers, which only a run of the network tells.
    """
    if not isinstance(unit, str):
        return unit
    if unit == "coupled":
        raise ValueError(
            "what the network couples is seen by running it: pass unit=graphprune.compaction.coupled_channels(model, "
            "example) where you attach a method yourself"
        )
    return UNITS[unit]


def unit_in(unit: UnitName | Unit, model: nn.Module, data: LabelledData[Any], select: Selector) -> Unit:
    """The unit of a network on a data set: of channels with all that goes with them.

    Raises:
        TypeError, ValueError: what :func:`graphprune.compaction.coupled_channels` raises.
    """
    if not isinstance(unit, str) or unit == "weight":
        return unit_of(unit)
    found = coupled_channels(model, example(data), select)
    return found if unit == "coupled" else found.apart()
