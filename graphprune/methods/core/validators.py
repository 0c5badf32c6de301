"""What the options of methods may be: validators of attrs fields whose errors name an option as users write it.

Those of attrs name the field (``num_rounds``, not ``rounds``), and the text of some is a tuple with the whole field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import attrs
import numpy as np
from torch import nn

from graphprune.checks import is_number, is_whole
from graphprune.graphs.sparsifiers import SCORERS, EdgeScore, scorer_of
from graphprune.masks import UNITS, Coupled, Unit

_UNITS = (*UNITS, "coupled")  # by name

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def that(holds: Callable[[Any], bool], words: str) -> Validator:
    """A value of which something holds, and the words for it: ``"must be True or False"``."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not holds(value):
            raise ValueError(f"{attribute.alias} {words}, got {value!r}")

    return validate


def _as_pythons(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A number of NumPy's becomes Python's, as files hold it."""
    if isinstance(value, np.generic):
        object.__setattr__(instance, attribute.name, value.item())


def number(holds: Callable[[Any], bool], words: str) -> Validator:
    """A number of which something holds."""
    return attrs.validators.and_(that(is_number, "must be a number"), that(holds, words), _as_pythons)


def whole(least: float = -inf, words: str = "") -> Validator:
    """A whole number of at least so much, or of either sign."""
    words = words or "must be a whole number" + (f" of at least {least}" if least > -inf else "")
    return attrs.validators.and_(that(lambda value: is_whole(value) and value >= least, words), _as_pythons)


def kind(of: type, words: str) -> Validator:
    """An instance of a class, and the words for it."""
    return that(lambda value: isinstance(value, of), f"must be {words}")


def one_of(*words: str | None) -> Validator:
    """One of some words."""
    return that(lambda value: value in words, f"must be one of {', '.join(map(str, words))}")


share = number(lambda value: 0 <= value <= 1, "must lie in [0, 1]")
rate = number(lambda value: 0 <= value < 1, "must lie in [0, 1)")  # of what remains
density = number(lambda value: 0 < value <= 1, "must lie in (0, 1]")  # of which something is left
part = number(lambda value: 0 < value < 1, "must lie between 0 and 1")  # neither nothing nor all
positive = number(lambda value: 0 < value < inf, "must be above 0 and finite")
penalty = number(lambda value: 0 <= value < inf, "must be 0 or more and finite")
count = whole(1)
step = whole(1, "must be a number of optimiser steps, a whole one")
step_or_share = attrs.validators.and_(
    that(
        lambda value: is_number(value) and (0 < value < 1 or (is_whole(value) and value >= 1)),
        "must be a whole number of optimiser steps, or a share of the training between 0 and 1",
    ),
    _as_pythons,
)
first_step = whole(0, "must be a number of optimiser steps, a whole one")
switch = kind(bool, "True or False")
selector = that(callable, "must be a function of a model, such as prunable()")
scope = one_of("global", "layer")
unit = that(lambda value: isinstance(value, Unit) or value in _UNITS, f"must be one of {', '.join(map(repr, _UNITS))}")

channels = that(
    lambda value: isinstance(value, Coupled) or value in _UNITS,
    f"must be one of {', '.join(map(repr, _UNITS))} or what coupled_channels returns",
)


def edge_score(instance: Any, attribute: attrs.Attribute[Any], value: EdgeScore) -> None:
    """An edge scorer, or the name of one that can be made."""
    if isinstance(value, str):
        SCORERS.find(value, attribute.alias or attribute.name)
        scorer_of(value)
    elif not isinstance(value, nn.Module):
        raise ValueError(f"{attribute.alias} must be one of {', '.join(SCORERS)}, or a module, got {value!r}")


def patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    """One pattern or several, always in the same order."""
    return (value,) if isinstance(value, str) else tuple(sorted(value) if isinstance(value, set | frozenset) else value)
