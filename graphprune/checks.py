"""What users give: numbers, Python's or NumPy's, and objects of a kind, or an error with the argument's name."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, TypeGuard


def whole(name: str, value: Any, least: float = -math.inf) -> int:
    """A whole number as Python's.

    Args:
        name: of the argument.
        value: what was given for it.
        least: that it may be.

    Raises:
        ValueError: anything else (a bool, too), or less.
    """
    if not is_whole(value) or value < least:
        bound = "" if least == -math.inf else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{bound}, got {value!r}")
    return int(value)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number by its class; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def real(name: str, value: Any) -> float:
    """A number as Python's; ValueError for anything else, a bool, too."""
    if not is_number(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)


def share(name: str, value: Any) -> float:
    """A number from 0 on and below 1, as Python's; ValueError for anything else."""
    if not 0 <= real(name, value) < 1:
        raise ValueError(f"{name} must be a number of at least 0 and below 1, got {value!r}")
    return float(value)


def instance(name: str, value: object, kind: Any, words: str) -> None:
    """Make sure that an argument is an object of a kind.

    Args:
        name: of the argument.
        value: what was given for it.
        kind: what it has to be an instance of.
        words: for that, with an example: ``"a Ticket, such as Ticket.load(path)"``.

    Raises:
        TypeError: anything else; where it is a class the text says so.
    """
    if isinstance(value, type) or not isinstance(value, kind):
        raise mistaken(name, value, words)


def mistaken(name: str, value: object, words: str) -> TypeError:
    """The error about an argument that is something else than these words say, a class in place of an object even."""
    got = f"the class {value.__name__} itself" if isinstance(value, type) else f"an object of {type(value).__name__}"
    return TypeError(f"{name} must be {words}; got {got if value is not None else 'None'}")
