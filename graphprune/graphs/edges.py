"""Which arcs of a data set are kept, and the data set without the others."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from graphprune.graphs.segments import pointers

LARGE = 1 << 28  # arcs; from here on a mask lives in a file (256 MiB) and is mapped into memory

D = TypeVar("D", bound=Data)


@dataclass(frozen=True, eq=False)
class EdgeMask:
    """One bool an arc, over all graphs of a data set; True keeps.

    Attributes:
        keep: shape ``(E,)``.
        ptr: where each graph's arcs start, shape ``(G + 1,)``.

    Raises:
        ValueError: the shapes contradict each other.
    """

    keep: Tensor
    ptr: Tensor

    def __post_init__(self) -> None:
        if self.keep.dtype != torch.bool or self.keep.dim() != 1:
            raise ValueError(f"keep must be a flat bool tensor, got {self.keep.dtype} {tuple(self.keep.shape)}")
        ends = (int(self.ptr[0]), int(self.ptr[-1])) if self.ptr.numel() else None
        if ends != (0, self.keep.numel()) or bool((self.ptr.diff() < 0).any()):
            raise ValueError(f"ptr must rise from 0 to {self.keep.numel()}, the number of arcs")

    @classmethod
    def full(cls, ptr: Tensor) -> Self:
        """Keeps every arc; mapped from a temporary file from ``LARGE`` arcs on."""
        size = int(ptr[-1])
        if size < LARGE:
            return cls(torch.ones(size, dtype=torch.bool), ptr)
        # The open mapping keeps the unlinked file's blocks until the tensor goes.
        with tempfile.NamedTemporaryFile(suffix=".mask") as file:
            keep = torch.from_file(file.name, shared=True, size=size, dtype=torch.bool)
        return cls(keep.fill_(True), ptr)

    def __len__(self) -> int:
        return self.ptr.numel() - 1

    def graph(self, number: int) -> Tensor:
        """The mask of one graph's arcs."""
        return self.keep[int(self.ptr[number]) : int(self.ptr[number + 1])]

    @property
    def kept(self) -> int:
        """Arcs kept."""
        return int(self.keep.sum())

    @property
    def total(self) -> int:
        """Arcs in all."""
        return self.keep.numel()

    @property
    def density(self) -> float:
        """Kept arcs over all arcs, self-loops included in both."""
        return self.kept / self.total if self.total else 1.0

    def save(self, file: Path | str) -> None:
        """Write ``file`` and, beside it, ``file.ptr``: two plain .npy arrays, because a zip of both would not map."""
        for path, values in zip(_files(file), (self.keep, self.ptr), strict=True):
            with path.open("wb") as out:
                np.save(out, values.cpu().numpy())

    @classmethod
    def load(cls, file: Path | str) -> Self:
        """Read what :meth:`save` wrote; a large mask is mapped, not read.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the files are broken, or do not belong together.
        """
        bits, starts = _files(file)
        try:
            ptr = torch.from_numpy(np.load(starts, allow_pickle=False))
            keep = np.load(bits, mmap_mode="c" if int(ptr[-1]) >= LARGE else None, allow_pickle=False)
            return cls(torch.from_numpy(keep), ptr)
        except (ValueError, TypeError, IndexError, EOFError) as error:
            raise ValueError(f"{bits} and {starts.name} hold no edge mask: {error}") from error


def _files(file: Path | str) -> tuple[Path, Path]:
    path = Path(file)
    return path, path.with_name(path.name + ".ptr")


class PrunedDataset(Dataset[Data]):
    """A data set without the masked arcs; they are removed as each graph is read, before collation.

    Args:
        dataset: any sequence of ``Data``.
        mask: over the same graphs.

    Raises:
        ValueError: another number of graphs (or, on reading, of arcs) than the mask has.
    """

    def __init__(self, dataset: Sequence[Data] | Dataset[Data], mask: EdgeMask) -> None:
        if len(dataset) != len(mask):  # type: ignore[arg-type]
            raise ValueError(f"the data set has {len(dataset)} graphs, the mask {len(mask)}")  # type: ignore[arg-type]
        self.dataset, self.mask = dataset, mask

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, number: int) -> Data:
        if not -len(self) <= number < len(self):
            raise IndexError(f"graph {number} of {len(self)}")
        data, keep = self.dataset[number % len(self)], self.mask.graph(number % len(self))
        if data.num_edges != keep.numel():
            raise ValueError(f"graph {number} has {data.num_edges} arcs, its mask {keep.numel()}: not the same data")
        return drop_arcs(data, keep)


def drop_arcs(data: D, keep: Tensor) -> D:
    """A copy of a graph or batch without the arcs where ``keep``, shape ``(E,)``, is False.

    ``edge_index`` and every tensor with "edge" in its name and one row an arc are sliced; nodes stay.
    """
    out = copy.copy(data)
    arcs = keep.numel()
    for name, value in data:
        if name == "edge_index":
            out.edge_index = value[:, keep]
        elif _one_row_an_arc(name, value, arcs):
            out[name] = value[keep]
    if isinstance(data, Batch) and getattr(data, "_slice_dict", None):
        slices = dict(data._slice_dict)
        ends = pointers(keep.long())
        for name, starts in slices.items():
            if name == "edge_index" or _one_row_an_arc(name, data.get(name), arcs):
                slices[name] = ends[starts.to(keep.device)]
        out._slice_dict = slices
    return out


def _one_row_an_arc(name: str, value: Any, arcs: int) -> bool:
    # Names with "index" hold node numbers along their second dimension.
    return (
        isinstance(value, Tensor)
        and "edge" in name
        and "index" not in name
        and value.dim() > 0
        and value.size(0) == arcs
    )
