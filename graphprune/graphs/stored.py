"""Packed graphs larger than memory: their tensors are mapped from files, and so is what is left of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphprune.graphs import packed
from graphprune.graphs.mapped import mapped, room, write
from graphprune.graphs.packed import PackedGraphs

LARGE = 1 << 24  # bytes; what pruning leaves of a smaller tensor is kept in memory


class StoredGraphs(PackedGraphs):
    """Packed graphs that are pruned into files: see :func:`graphprune.data.open_stored`.

    Without some of its arcs such a set is again one of files, without a name and gone with the last tensor that reads
    them. Batches, single graphs and selections are in memory as ever.

    Args:
        scratch: folder for the arcs that pruning leaves; as much room as the arcs themselves take, and twice that
            while one pruned copy is made from another.
        checked: the arcs are known to lie within their graphs.
        fields: of :class:`PackedGraphs`.
    """

    def __init__(self, scratch: Path, *, checked: bool = False, **fields: Any) -> None:
        self._set(**fields)
        self.scratch = scratch
        if not checked:
            self._check_arcs()

    def _kept(self, values: Tensor, keep: Tensor, dim: int = 0) -> Tensor:
        rows = int(torch.count_nonzero(keep))  # a sum would first be a copy in 64 bits
        if values.nbytes // max(keep.numel(), 1) * rows < LARGE or not values.is_cpu:
            return super()._kept(values, keep, dim)
        with (
            room(self.scratch, "open the set with another scratch= folder, for the arcs that pruning leaves"),
            tempfile.TemporaryFile(dir=self.scratch) as file,
        ):
            write(file, _pieces(values, keep, dim))
            file.flush()
            shape = (rows, *values.shape[1:]) if dim == 0 else (values.size(0), rows)
            return mapped(file, values.dtype, shape)


def _pieces(values: Tensor, keep: Tensor, dim: int) -> Iterator[Tensor]:
    """What is kept, in the order of the result's bytes."""
    for line in (values,) if dim == 0 else values:
        for part, stay in zip(line.split(packed.STEP), keep.split(packed.STEP), strict=True):
            yield part[stay]
