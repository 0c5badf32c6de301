"""What HAMP's options may be."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, get_args

import attrs
import torch

from graphprune.methods.hamp.proxy import Objective
from graphprune.methods.sparsifier import EDGE_SCORERS

EVOLVING = ("memetic", "nsga2")
Search = Literal["memetic", "nsga2", "random", "netadapt", "uniform"]


def costs(instance: Any, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    """Validates the names of costs."""
    if not value or len(set(value)) < len(value) or not set(value) <= set(get_args(Objective)):
        raise ValueError(f"objectives must be different ones of {', '.join(get_args(Objective))}, got {value}")


def step_size(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    """Validates a share, or a number of channels."""
    if not (0 < value <= 0.5 or (value >= 1 and value == int(value))):
        raise ValueError(f"step must be a share of up to 0.5, or a whole number of channels, got {value}")


def word(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates a word."""
    words: tuple[Any, ...] = {"search": get_args(Search), "edge_score": (None, *EDGE_SCORERS)}[attribute.name]
    if value not in words:
        raise ValueError(f"{attribute.name} must be one of {', '.join(map(str, words))}, got {value!r}")


def check_device(device: str) -> None:
    """Raise ValueError where nothing can be computed on a device."""
    try:
        there = torch.device(device).type != "meta"
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={device!r} is not there: {str(error).splitlines()[0]}") from error
    if not there:
        raise ValueError(f"device={device!r} computes nothing")


def check_pymoo(search: Search) -> None:
    """Raise ImportError where the package that a search needs is missing."""
    if search in EVOLVING and find_spec("pymoo") is None:
        raise ImportError(f"search={search!r} needs pymoo: pip install 'graphprune[search]'")
