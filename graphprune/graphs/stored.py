"""Packed graphs larger than memory: their tensors are mapped from files, and so is what is left of them.

What is mapped takes room in memory only where it is read.
"""

from __future__ import annotations

import errno
import math
import mmap
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from graphprune.graphs import packed
from graphprune.graphs.packed import PackedGraphs

LARGE = 1 << 24  # bytes; what pruning leaves of a smaller tensor is kept in memory

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


def write(file: BinaryIO, pieces: Iterable[Tensor]) -> None:
    """Append the bytes of dense tensors, little-endian and in row-major order.

    Raises:
        ValueError: a machine of another byte order.
    """
    if sys.byteorder != "little":
        raise ValueError("stored tensors are little-endian, this machine is not")
    for piece in pieces:
        if piece.numel():
            file.write(piece.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)


def mapped(file: BinaryIO, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """The tensor that a file holds from its first byte on, mapped copy-on-write.

    Pages are read when they are looked at, and the system may drop them again. A change in place stays in this
    process: the file is never written. The file may be closed or unlinked, but not be shortened meanwhile.

    Args:
        file: flushed, and at least as long as the tensor.
        dtype: of the tensor.
        shape: of the tensor.
    """
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return torch.empty(tuple(shape), dtype=dtype)
    if sys.platform == "linux":
        # Without MAP_NORESERVE (unknown to Python before 3.13) Linux refuses a private mapping larger than its memory.
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
        memory = mmap.mmap(file.fileno(), size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
    else:
        memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    return torch.frombuffer(memory, dtype=dtype).view(tuple(shape))


@contextmanager
def room(folder: Path, advice: str) -> Iterator[None]:
    """Say which folder has no room, or may not be written to, and what to do about it.

    Raises:
        ValueError: a file could not be written there.
    """
    try:
        yield
    except FileExistsError:
        raise  # that is no matter of room
    except OSError as error:
        what = "no space left" if error.errno in _FULL else error.strerror or str(error)
        raise ValueError(f"cannot write to {folder}: {what}; {advice}") from error
