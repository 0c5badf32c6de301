"""Which positions of which tensors must be removed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
# One variable for each index of a dimension; None: none of them may be removed (nodes, pixels, inputs, outputs).
Label = Ints | None


class Dims:
    """Variables, one for each index of a tensor's dimension, and the equations between them.

    Variable 0 stands for all that may not be removed.
    """

    def __init__(self) -> None:
        self._count = 1
        self._equal: list[tuple[Ints, Ints]] = []
        self._pinned: list[Ints] = []

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

    def groups(self, *, pinned: bool = True) -> Ints:
        """For each variable the number of its group; 0 is the group of what may not be removed.

        Args:
            pinned: whether what is pinned is in group 0, or only what is equal to variable 0 otherwise.
        """
        pairs = self._equal + [(label, np.zeros_like(label)) for label in self._pinned if pinned]
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
        label = _merge(keep, shape[start:i], labels[start:i])
        out[begin:j] = _split(dims, label, new[begin:j])
    return out


def _merge(keep: Callable[..., None], shape: Sequence[int], labels: Sequence[Label]) -> Label:
    """All positions of a channel get its variable."""
    if len(shape) == 1:
        return labels[0]
    named = [dim for dim, label in enumerate(labels) if label is not None and shape[dim] > 1]
    if len(named) != 1:
        keep(*labels)
        return None
    keep(*(label for dim, label in enumerate(labels) if dim != named[0]))
    label = labels[named[0]]
    assert label is not None
    along = label.reshape([-1 if dim == named[0] else 1 for dim in range(len(shape))])
    return np.broadcast_to(along, shape).ravel()


def _split(dims: Dims, label: Label, shape: Sequence[int]) -> list[Label]:
    """What was merged comes apart again; else channels of the same place in all groups (heads) go together."""
    out: list[Label] = [None] * len(shape)
    if label is None:
        return out
    block = label.reshape(shape)
    for dim, size in enumerate(shape):
        along = np.moveaxis(block, dim, 0).reshape(size, -1)
        if size == block.size or (size > 1 and (along == along[:, :1]).all()):
            out[dim] = along[:, 0]
            return out
    places = block.reshape(-1, shape[-1])
    out[-1] = dims.same(list(places))
    return out
