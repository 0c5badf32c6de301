"""Which positions of which tensors must be removed together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
# One variable for each index of a dimension; None: none of them may be removed (nodes, pixels, inputs, outputs).
Label = Ints | None
Rows = Literal["stay", "go", "cross"]


class Crossing(NamedTuple):
    """Two dimensions as one: ``pairs``, row by row, are there where both their row and their column are.

    As heads and the channels of a head, or the inputs and outputs of weights that another layer computes.
    """

    pairs: Ints
    rows: Ints
    columns: Ints


class Dims:
    """Variables, one for each index of a tensor's dimension, and the equations between them.

    Variable 0 stands for all that may not be removed.
    """

    def __init__(self) -> None:
        self._count = 1
        self._equal: list[tuple[Ints, Ints]] = []
        self._pinned: list[Ints] = []
        self.crossings: list[Crossing] = []

    def fresh(self, size: int) -> Ints:
        """Variables for a dimension of this size."""
        self._count += size
        return np.arange(self._count - size, self._count)

    def pin(self, *labels: Label) -> None:
        """None of these may be removed."""
        self._pinned += [label for label in labels if label is not None]

    def same(self, labels: Sequence[Label]) -> Label:
        """Dimensions of one size that are aligned: index by index they are removed together."""
        named = [label for label in labels if label is not None]
        if len(named) < len(labels) or not named:
            self.pin(*named)
            return None
        for label in named[1:]:
            self._equal.append((named[0], label))
        return named[0]

    def joined(self, parts: Sequence[tuple[Label, int]]) -> Label:
        """Dimensions of these sizes, one after the other."""
        if all(label is None for label, _ in parts):
            return None
        return np.concatenate([np.zeros(size, np.int64) if label is None else label for label, size in parts])

    def crossed(self, rows: Ints, columns: Ints) -> Ints:
        """A dimension of all pairs."""
        self.crossings.append(Crossing(self.fresh(len(rows) * len(columns)), rows, columns))
        return self.crossings[-1].pairs

    def apart(self, pairs: Ints, rows: int) -> tuple[Ints, Ints]:
        """A dimension as so many rows and their columns."""
        for each in self.crossings:
            if each.pairs is pairs and len(each.rows) == rows:
                return each.rows, each.columns
        self.crossings.append(Crossing(pairs, self.fresh(rows), self.fresh(len(pairs) // rows)))
        return self.crossings[-1][1:]

    def groups(self, *, pinned: bool = True, rows: Rows = "stay") -> Ints:
        """For each variable the number of its group; 0 is the group of what may not be removed.

        Args:
            pinned: whether what is pinned is in group 0, or only what is equal to variable 0 otherwise.
            rows: those of crossings ``"stay"``, or go by themselves (``"go"``), and a column is all of its pairs;
                ``"cross"``: pairs are groups of their own, and go with their row or their column.
        """
        pairs = self._equal + [(label, np.zeros_like(label)) for label in self._pinned if pinned]
        heads = set[int]()
        for each in self.crossings if rows != "cross" else ():
            stays, goes, block = each.rows, each.columns, each.pairs.reshape(len(each.rows), -1)
            if id(goes) in heads:  # channels that were shuffled
                stays, goes, block = goes, stays, block.T
            heads.add(id(stays))
            pairs += [(place, goes) for place in block]
            if rows == "stay" and pinned:
                pairs.append((stays, np.zeros_like(stays)))
        one, other = np.concatenate([np.zeros((2, 0), np.int64), *map(np.stack, pairs)], 1)
        equal = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(self._count, self._count))
        _, group = connected_components(equal, directed=False)
        # Exchange two numbers, so that variable 0 is in group 0.
        groups: Ints = np.where(group == group[0], 0, np.where(group == 0, group[0], group))
        return groups


def reshaped(
    dims: Dims,
    keep: Callable[..., None],
    shape: Sequence[int],
    labels: Sequence[Label],
    new: Sequence[int],
    caution: int,
) -> list[Label]:
    """Labels after a view of another shape: where several dimensions become one, or one several.

    Args:
        dims: of the labels.
        keep: called with labels that are not followed.
        shape: before.
        labels: of its dimensions.
        new: the shape after.
        caution: see :class:`~graphprune.compaction.tape.Tape`.
    """
    out: list[Label] = [None] * len(new)
    if 0 in shape:
        keep(*labels)
        return out
    i = j = 0
    while i < len(shape) or j < len(new):
        # The smallest block of dimensions with equally many elements before and after.
        start, begin = i, j
        before, after = 1, 1
        if i < len(shape):
            before, i = shape[i], i + 1
        if j < len(new):
            after, j = new[j], j + 1
        while before != after:
            if before < after:
                before, i = before * shape[i], i + 1
            else:
                after, j = after * new[j], j + 1
        merged, split = before not in shape[start:i], before not in new[begin:j]
        if caution > 1 - split and (merged or split):
            keep(*labels[start:i])
            continue
        label = _merge(dims, keep, shape[start:i], labels[start:i])
        out[begin:j] = _split(dims, label, new[begin:j])
    return out


def _merge(dims: Dims, keep: Callable[..., None], shape: Sequence[int], labels: Sequence[Label]) -> Label:
    """All positions of a channel get its variable; channels of several dimensions are pairs."""
    if len(shape) == 1:
        return labels[0]
    named = [dim for dim, label in enumerate(labels) if label is not None and shape[dim] > 1]
    keep(*(label for dim, label in enumerate(labels) if dim not in named))
    if not named:
        return None
    *rows, label = [label for dim, label in enumerate(labels) if dim in named and label is not None]
    for each in reversed(rows):
        label = dims.crossed(each, label)
    if len(label) == math.prod(shape):
        return label
    along = label.reshape([size if dim in named else 1 for dim, size in enumerate(shape)])
    return np.broadcast_to(along, shape).ravel()


def _split(dims: Dims, label: Label, shape: Sequence[int]) -> list[Label]:
    """What was merged comes apart again; else pairs do; else channels of the same place in all groups go together."""
    out: list[Label] = [None] * len(shape)
    if label is None:
        return out
    block = label.reshape(shape)
    for dim, size in enumerate(shape):
        along = np.moveaxis(block, dim, 0).reshape(size, -1)
        if size == block.size or (size > 1 and (along == along[:, :1]).all()):
            out[dim] = label if size == block.size else along[:, 0]
            return out
    if len(np.unique(label)) == len(label) and label.all():
        *rows, last = [dim for dim, size in enumerate(shape) if size > 1]
        for dim in rows:
            out[dim], label = dims.apart(label, shape[dim])
        out[last] = label
    else:
        out[-1] = dims.same(list(block.reshape(-1, shape[-1])))
    return out
