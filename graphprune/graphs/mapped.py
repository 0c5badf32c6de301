"""Tensors in files: written piece by piece, and mapped into memory, where only what is read takes room."""

from __future__ import annotations

import errno
import math
import mmap
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    except OSError as error:
        what = "no space left" if error.errno in _FULL else error.strerror or str(error)
        raise ValueError(f"cannot write to {folder}: {what}; {advice}") from error
