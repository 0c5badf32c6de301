"""Which arcs of a data set are kept, and the data set without the others."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from graphprune.files import new_file
from graphprune.graphs.attributes import arc_attributes, check_graph, check_shifts, cut
from graphprune.graphs.pairs import arcs_of
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
            with new_file(path) as part, part.open("wb") as out:
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
        ValueError: another number of graphs (or, on reading, of arcs) than the mask has; a graph that cannot be pruned.
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
        check_graph(data, f"graph {number} ")
        try:
            arcs = arcs_of(data).size(1)
            if arcs == keep.numel():
                return drop_arcs(data, keep)
        except ValueError as error:
            raise ValueError(f"graph {number}: {error}") from error
        raise ValueError(f"graph {number} has {arcs} arcs, its mask {keep.numel()}: not the same data")


def drop_arcs(data: D, keep: Tensor) -> D:
    """A copy of a graph or batch without the arcs where ``keep``, shape ``(E,)``, is False.

    ``edge_index`` and every attribute with an entry an arc, see
    :func:`~graphprune.graphs.attributes.arc_attributes`, are cut; nodes stay, and so does what is shared with ``data``.

    Raises:
        ValueError: an attribute that would be wrong without the arcs; names it.
    """
    found, out = arc_attributes(data), copy.copy(data)
    parts = getattr(data, "_slice_dict", None) if isinstance(data, Batch) else None
    for name, dim in found.items():
        value = data[name]
        if parts and name in parts and not isinstance(value, Tensor):  # as many lists as graphs
            each = keep.split(parts["edge_index"].diff().tolist())
            out[name] = [cut(of_graph, stay, dim) for of_graph, stay in zip(value, each, strict=True)]
        else:
            out[name] = cut(value, keep, dim)
    if "num_edges" in data:
        out["num_edges"] = int(keep.sum())
    if parts:
        ends = pointers(keep.long())
        starts = {name: parts[name] for name in found if name in parts and isinstance(data[name], Tensor)}
        out._slice_dict = parts | {name: ends[start.to(keep.device)] for name, start in starts.items()}
        for name in found:  # of PyG's follow_batch
            if f"{name}_ptr" in data:
                out[f"{name}_ptr"] = ends[data[f"{name}_ptr"].to(keep.device)]
    else:
        check_shifts(data, out)
    return out
