"""The entries of features of which nearly all are zero, such as words of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

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
    """

    column: Tensor
    values: Tensor
    ptr: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Self | None:
        """Those of rows ``(R, F)``; None where they are too many to gain by that."""
        row, column = rows.nonzero(as_tuple=True)
        if row.numel() > _SPARSE * rows.numel():
            return None
        return cls(column, rows[row, column], pointers(row.bincount(minlength=rows.size(0))))


def nonzero_of(rows: Tensor) -> NonZero | None:
    """:meth:`NonZero.of`, looked up where it is known."""
    return once(rows, NonZero, lambda: NonZero.of(rows))
