"""Rows of features of which many are the same: NCI1's 110,528 nodes have 68 different ones, ogbg-molhiv's atoms 382.

What is computed of a row alone is computed once for each kind of row, and norms know how often each is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.graphs.known import fact_of, lasting, watched
from graphprune.graphs.norms import RowNorm
from graphprune.graphs.segments import pointers

FEW = 4  # rows are kinds where each is there so often on average: else there is nothing to gain
_SAMPLE = 1 << 14  # rows that tell whether to count
_MOST = 1 << 27  # numbers that are counted at most, a second's work
_AT_ONCE = 1 << 22  # of them at a time


@dataclass(frozen=True)
class Kinds:
    """The distinct rows of features, and which row has which: ``rows[which]`` are the features.

    Attributes:
        rows: shape ``(K, features)``.
        which: shape ``(R,)``, int64.
    """

    rows: Tensor
    which: Tensor

    @classmethod
    def of(cls, features: Tensor, sizes: Sequence[int], where: Callable[[int], str] = "row {}".format) -> Kinds:
        """Sort integer features of shape ``(R, len(sizes))`` into kinds, unless their kinds are known already.

        Args:
            features: numbers of categories, from 0 on.
            sizes: number of categories of each column.
            where: what an error calls a row of this number.

        Raises:
            TypeError: features that are no integers.
            ValueError: another number of features, or one outside its categories.
        """
        if features.is_floating_point():
            raise TypeError(f"categorical features must be integers, got {features.dtype}")
        if features.dim() != 2 or features.size(1) != len(sizes):
            raise ValueError(f"expected {len(sizes)} categorical features a row, got shape {tuple(features.shape)}")
        known = fact_of(features, Kinds)
        features, given = features.long() if known is None else known.rows.long(), features
        limits = features.new_tensor(sizes)
        if torch.compiler.is_compiling():  # a program has one size of what it looks up, whatever the features
            inside = ((features >= 0) & (features < limits)).all()
            torch._assert_async(inside, f"categorical features must lie below {list(sizes)}")
            return cls(features, torch.arange(features.size(0), device=features.device))
        if features.numel() == 0:
            return cls(features, features.new_zeros(0))
        low, high = features.aminmax(dim=0)
        if bool(((low < 0) | (high >= limits)).any()):
            row, column = ((given < 0) | (given >= limits)).nonzero()[0].tolist()
            raise ValueError(
                f"categorical features must lie below {list(sizes)}, got {int(given[row, column])} in column "
                f"{column} of {where(row)}"
            )
        if known is not None:
            return known
        place = torch.cat([limits.new_ones(1), limits[:-1]]).cumprod(0)
        numbers, which = torch.unique((features * place).sum(1), return_inverse=True)
        return cls(numbers[:, None] // place % limits, which)

    @classmethod
    def counted(cls, features: Tensor) -> Self | None:
        """The kinds of any features of shape ``(R, F)``, in the order of :meth:`of`; None where there are not few.

        In time that is bounded, whatever the features: a sample says whether they are looked at. None too for complex
        features, and for those that are learnt, of which each row has a gradient.
        """
        given = features.dim() == 2 and not features.requires_grad and not features.is_complex()
        if not given or not 0 < features.numel() <= _MOST:
            return None
        step = max(features.size(0) // _SAMPLE, 1)
        sample = _hashes(features[::step])
        if step > 1 and FEW * sample.unique().numel() > sample.numel():
            return None
        numbers, which = torch.unique(sample if step == 1 else _hashes(features), return_inverse=True)
        if FEW * numbers.numel() > features.size(0):
            return None
        place = torch.arange(features.size(0))
        first = torch.empty_like(numbers, dtype=torch.int64).index_copy_(0, which, place)
        # Sums of equal rows may differ by rounding; the last column decides first.
        rows, same = torch.unique(features[first].flip(1), dim=0, return_inverse=True)
        found = cls(rows.flip(1), same[which])
        return found if found.fits(features) else None  # different rows with one sum, or NaN

    def fits(self, features: Tensor) -> bool:
        """Whether these are the kinds of the features as they are."""
        size = max(_AT_ONCE // features.size(1), 1)
        parts = zip(self.which.split(size), features.split(size), strict=True)
        # NumPy compares in a fifth of torch.equal's time.
        return all(np.array_equal(_array(self.rows.index_select(0, which)), _array(part)) for which, part in parts)

    def at(self, places: Tensor | None) -> Self:
        """Those of the rows at some places, one after the other; None: at all of them."""
        which = self.which if places is None else self.which.index_select(0, places)
        there = torch.bincount(which, minlength=self.rows.size(0)) > 0
        number = there.cumsum(0) - 1
        return type(self)(self.rows[there], number.index_select(0, which))

    @lasting
    def count(self) -> Tensor:
        """How often each kind is there, shape ``(K,)``, float32."""
        return torch.bincount(self.which, minlength=self.rows.size(0)).float()

    @lasting
    def grouped(self) -> tuple[Tensor, Tensor]:
        """The places of each kind, one kind after the other, and where each begins, shape ``(K + 1,)``."""
        order = torch.argsort(self.which, stable=True)
        return order, pointers(torch.bincount(self.which, minlength=self.rows.size(0)))

    def ordered(self, order: Tensor) -> Self:
        """The same rows at other places: at place i what is now at ``order[i]``."""
        return type(self)(self.rows, self.which.index_select(0, order))


def _hashes(features: Tensor) -> Tensor:
    """A number of each row, the same for the same row up to rounding: a sum of its columns times random numbers."""
    factors = torch.rand(features.size(1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = features.split(max(_AT_ONCE // features.size(1), 1))
    return torch.cat([part.double() @ factors for part in parts])


def _array(values: Tensor) -> np.ndarray[Any, Any]:
    """Equal numbers as an array of NumPy, which has no bfloat16."""
    return (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()


@dataclass(frozen=True)
class NodeRows:
    """Vectors of nodes of which many are the same.

    Attributes:
        rows: a vector of each kind, shape ``(K, F)``.
        kinds: which nodes are of which kind.
    """

    rows: Tensor
    kinds: Kinds

    def size(self, dim: int) -> int:
        """That of :attr:`nodes`."""
        return self.rows.size(1) if dim else self.kinds.which.numel()

    @property
    def nodes(self) -> Tensor:
        """A vector of each node, shape ``(N, F)``."""
        return self.rows.index_select(0, self.kinds.which)


Vectors = Tensor | NodeRows

_SHARED = [True]  # whether what equal rows give is computed once, see each_node_itself


@contextmanager
def each_node_itself() -> Iterator[None]:
    """Let every node be computed by itself, for whoever counts what a network does: equal rows are of the batch."""
    before, _SHARED[0] = _SHARED[0], False
    try:
        yield
    finally:
        _SHARED[0] = before


def shared() -> bool:
    """Whether what equal rows give is computed once."""
    return _SHARED[0]


def nodes_of(x: Vectors) -> Tensor:
    """A vector of each node, shape ``(N, F)``."""
    return x.nodes if isinstance(x, NodeRows) else x


def rowwise(function: Callable[[Tensor], Any], x: Vectors) -> Any:
    """A function of each row by itself, such as a linear map: of each kind once."""
    if not isinstance(x, NodeRows) or watched(function):
        return function(nodes_of(x))
    return NodeRows(function(x.rows), x.kinds)


def normed(norm: nn.Module, x: Vectors) -> Any:
    """A norm over all nodes: of each kind as often as it is there."""
    if isinstance(x, NodeRows) and isinstance(norm, RowNorm) and not watched(norm):
        return NodeRows(norm(x.rows, x.kinds.count), x.kinds)
    return rowwise(norm, x) if isinstance(norm, nn.Identity) else norm(nodes_of(x))


def given(module: nn.Module, x: Vectors) -> Vectors:
    """What to call a module with that knows of kinds: node vectors, where hooks are to see them."""
    return nodes_of(x) if watched(module) else x


def pairs(first: Kinds, places: Tensor, second: Kinds, most: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """Which kinds come together, in few pairs; None where these are more than ``most``, or may be more than arcs.

    Args:
        first: kinds of nodes.
        places: of which node, shape ``(E,)``.
        second: kinds of arcs, ``(E,)`` of them.
        most: pairs.

    Returns:
        The two kinds of each pair, shape ``(P,)`` each, and the pair of each arc, shape ``(E,)``.
    """
    width = second.rows.size(0)
    if torch.compiler.is_compiling():  # each row is a kind of its own then
        return None
    if first.rows.size(0) * width > places.numel():
        return None
    cell = first.which.index_select(0, places) * width + second.which
    there = torch.bincount(cell, minlength=first.rows.size(0) * width) > 0
    numbers = there.nonzero().squeeze(1)
    if numbers.numel() > most:
        return None
    return numbers // width, numbers % width, (there.cumsum(0) - 1).index_select(0, cell)
