"""What CLAD's options may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, get_args

import attrs
from torch import Tensor

from graphprune.methods.clad.criteria import CriterionName
from graphprune.methods.core.method import patterns


def stage_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """One pattern or several."""
    found = patterns(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(name, str) for name in found):
        raise ValueError(f"stages must be names of modules, got {value!r}")
    return found


def number(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates that it is a number at all."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{attribute.alias} must be a number, got {value!r}")


def between(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    """Validates a share that leaves something and takes something."""
    number(instance, attribute, value)
    if not 0 < value < 1:
        raise ValueError(f"{attribute.alias} must lie between 0 and 1, got {value}")


def weight(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    """Validates the weight of a part of the loss."""
    number(instance, attribute, value)
    if not 0 <= value < math.inf:
        raise ValueError(f"{attribute.alias} must be 0 or more and finite, got {value}")


def above_zero(instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    """Validates a learning rate."""
    number(instance, attribute, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{attribute.alias} must be above 0 and finite, got {value}")


def whole(instance: Any, attribute: attrs.Attribute[int], value: int) -> None:
    """Validates a whole number of either sign."""
    if type(value) is not int:
        raise ValueError(f"{attribute.alias} must be a whole number, got {value!r}")


def yes_or_no(instance: Any, attribute: attrs.Attribute[bool], value: bool) -> None:
    """Validates a switch."""
    if not isinstance(value, bool):
        raise ValueError(f"{attribute.alias} must be True or False, got {value!r}")


def word(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    """Validates the name of a criterion."""
    if value not in get_args(CriterionName):
        raise ValueError(f"{attribute.alias} must be one of {', '.join(get_args(CriterionName))}, got {value!r}")


def state(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates the weights of a network, or None."""
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ValueError(
            f"{attribute.alias} must be a mapping of names to tensors, got {type(value).__name__}: "
            "pass model.state_dict()"
        )
