"""What falls together when a method prunes a network."""

from __future__ import annotations

from typing import Any

import attrs
from torch import nn

from graphprune.compaction.couplings import coupled_channels
from graphprune.data import GraphData
from graphprune.masks import UNITS, Selector, Unit, UnitName
from graphprune.methods.core.fit import AnyData

_NAMES = (*UNITS, "coupled")
_EXAMPLES = 8  # samples with which the network runs once to see what its channels are


def known_unit(instance: Any, attribute: attrs.Attribute[Any], value: UnitName | Unit) -> None:
    """Validates what falls together, by name or as a unit."""
    if not isinstance(value, Unit) and value not in _NAMES:
        raise ValueError(f"{attribute.alias} must be one of {', '.join(map(repr, _NAMES))}, got {value!r}")


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


def unit_in(unit: UnitName | Unit, model: nn.Module, data: AnyData, select: Selector) -> Unit:
    """The unit of a network on a data set: of channels with all that goes with them.

    Raises:
        TypeError, ValueError: what :func:`graphprune.compaction.coupled_channels` raises.
    """
    if not isinstance(unit, str) or unit == "weight":
        return unit_of(unit)
    batch = data.train.batch(range(min(_EXAMPLES, len(data.train))))
    found = coupled_channels(model, batch if isinstance(data, GraphData) else batch.x, select)
    return found if unit == "coupled" else found.apart()
