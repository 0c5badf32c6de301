"""The integers that a search chooses."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

Evaluate = Callable[[IntArray], FloatArray]
"""``(n, genes)`` points -> ``(n, objectives)`` finite values, all minimised; two objectives or more."""


def needed(package: str) -> Any:
    """A package that only searches need; ImportError that says what to install if it is missing."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"this search needs {package}: pip install 'graphprune[search]'") from error


@dataclass(frozen=True)
class Space:
    """Named integers between bounds that count as inside.

    Attributes:
        names: what each gene is called, in messages.
        lower: the least value of each.
        upper: the greatest value of each. A gene may have a single value, but not all of them.
    """

    names: tuple[str, ...]
    lower: tuple[int, ...]
    upper: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a space that has nothing to search."""
        if not self.names:
            raise ValueError("an empty search space: it has no genes")
        if not len(self.names) == len(self.lower) == len(self.upper):
            counts = f"{len(self.names)} names, {len(self.lower)} lower and {len(self.upper)} upper bounds"
            raise ValueError(f"a search space needs as many bounds as names, got {counts}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"the genes of a search space need names of their own, got {self.names}")
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            if low > high:
                raise ValueError(f"gene {name!r} has no values: its bounds are {low} and {high}")
        if self.size == 1:
            raise ValueError(f"nothing to search: each gene has a single value, {self.named(self.lower)}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> int:
        """How many points there are."""
        return prod(high - low + 1 for low, high in zip(self.lower, self.upper, strict=True))

    @property
    def span(self) -> IntArray:
        """``(genes,)``: greatest less least value."""
        return np.subtract(self.upper, self.lower).astype(np.int64)

    def check(self, points: ArrayLike) -> IntArray:
        """``(n, genes)`` points as integers.

        Raises:
            ValueError: another shape, values that are no integers, or values out of bounds.
        """
        array = np.asarray(points)
        if array.ndim != 2 or array.shape[1] != len(self):
            raise ValueError(f"points must have the shape (n, {len(self)}), got {array.shape}")
        whole = array.astype(np.int64)
        if not np.array_equal(whole, array):
            raise ValueError("points must be integers")
        outside = np.argwhere((whole < self.lower) | (whole > self.upper))
        if len(outside):
            point, gene = outside[0]
            bounds = f"[{self.lower[gene]}, {self.upper[gene]}]"
            raise ValueError(f"gene {self.names[gene]!r} must be in {bounds}, got {whole[point, gene]}")
        return whole

    def named(self, point: ArrayLike) -> dict[str, int]:
        """One point as names and values."""
        return dict(zip(self.names, np.asarray(point).tolist(), strict=True))

    def sample(self, count: int, rng: np.random.Generator) -> IntArray:
        """``(count, genes)`` uniform points; some may be the same."""
        return rng.integers(self.lower, self.upper, size=(count, len(self)), endpoint=True)

    def every(self) -> IntArray:
        """``(size, genes)``: all points. For small spaces only."""
        values = [np.arange(low, high + 1) for low, high in zip(self.lower, self.upper, strict=True)]
        return np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(-1, len(self)).astype(np.int64)

    def unit(self, points: IntArray) -> FloatArray:
        """``(n, genes)`` points in [0, 1]; a gene with a single value is 0."""
        scaled: FloatArray = (points - np.asarray(self.lower)) / np.maximum(self.span, 1)
        return scaled
