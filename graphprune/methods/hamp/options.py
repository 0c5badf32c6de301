"""What HAMP's options may be."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from graphprune.methods.hamp.proxy import Objective

EVOLVING = ("memetic", "nsga2")
Search = Literal["memetic", "nsga2", "random", "netadapt", "uniform"]


# Of the options that are no numbers: what they are, in types and in words.
KINDS: dict[str, tuple[Any, str]] = {
    "portfolio": (bool, "True or False"),
    "surrogate": (bool, "True or False"),
    "device": (str, "the name of a device"),
    "executor": (Executor | None, "a concurrent.futures.Executor"),
}


def names(value: str | Iterable[Any]) -> tuple[Any, ...]:
    """Several names, or a string of them with commas between."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    return tuple(value) if isinstance(value, Iterable) else (value,)


def folder(value: str | PathLike[str]) -> Path:
    """A path, or ValueError."""
    if not isinstance(value, str | PathLike):
        raise ValueError(f"journal must be a folder, got {value!r}")
    return Path(value)


def costs(instance: Any, attribute: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    """Validates the names of costs."""
    every = get_args(Objective)
    if not value or not all(name in every for name in value) or len(set(value)) < len(value):
        raise ValueError(f"objectives must be different ones of {', '.join(every)}, got {value}")


def step_size(instance: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    """Validates a share, or a number of channels."""
    if not _number(value) or not (0 < value <= 0.5 or (value >= 1 and value % 1 == 0)):
        raise ValueError(f"step must be a share of up to 0.5, or a whole number of channels, got {value!r}")


def part(instance: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    """Validates a share that is neither nothing nor all."""
    if not _number(value) or not 0 < value < 1:
        raise ValueError(f"{attribute.name} must be a share between 0 and 1, got {value!r}")


def kind(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates a type."""
    wanted, words = KINDS[attribute.name]
    if not isinstance(value, wanted):
        raise ValueError(f"{attribute.name} must be {words}, got {value!r}")


def word(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates a word."""
    if value not in get_args(Search):
        raise ValueError(f"{attribute.name} must be one of {', '.join(get_args(Search))}, got {value!r}")


def check_seed(seed: Any) -> None:
    """Raise ValueError where it is none."""
    if type(seed) is not int:
        raise ValueError(f"seed must be a whole number, got {seed!r}")


def check_sizes(search: Search, budget: int, population: int, members: int) -> None:
    """Raise ValueError where a budget does not pay for what it is to find."""
    if search in EVOLVING and population < 2:
        raise ValueError(f"population must be at least 2 for search={search!r}, got {population}")
    least = {"population": population, "members": members} if search in EVOLVING else {"members": members}
    if dear := [f"{name}={size}" for name, size in least.items() if size > budget]:
        raise ValueError(f"budget={budget} evaluations are fewer than {' and '.join(dear)}: raise it, or lower these")


def check_pymoo(search: Search) -> None:
    """Raise ImportError where the package that a search needs is missing."""
    if search in EVOLVING and find_spec("pymoo") is None:
        raise ImportError(f"search={search!r} needs pymoo: pip install 'graphprune[search]'")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
