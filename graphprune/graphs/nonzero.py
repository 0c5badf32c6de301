"""The entries of features of which nearly all are zero, such as words of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from graphprune.graphs.known import once
from graphprune.graphs.segments import pointers

# Below this share of non-zero features a sum over them is faster than the dense product.
_SPARSE = 0.1


@dataclass(frozen=True)
class NonZero:
    """Entries in the order of the rows.

    Attributes:
        column: of each entry.
        values: of each entry.
        ptr: where those of each row begin, shape ``(R + 1,)``.
        place: of each entry in the flat features.
        total: the sum of all.
    """

    column: Tensor
    values: Tensor
    ptr: Tensor
    place: Tensor
    total: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Self | None:
        """Those of rows ``(R, F)``; None where they are too many to gain by that."""
        row, column = rows.nonzero(as_tuple=True)
        if row.numel() > _SPARSE * rows.numel():
            return None
        ptr = pointers(row.bincount(minlength=rows.size(0)))
        return cls(column, rows[row, column], ptr, row * rows.size(1) + column, rows.sum())

    def fits(self, rows: Tensor) -> bool:
        """Whether these are the entries of rows: they are there, and what else there may be adds up to nothing."""
        return torch.equal(rows.take(self.place), self.values) and torch.equal(rows.sum(), self.total)


def nonzero_of(rows: Tensor) -> NonZero | None:
    """:meth:`NonZero.of`, looked up where it is known."""
    return once(rows, NonZero, lambda: NonZero.of(rows))
