"""How PyG joins graphs of a user's own class into a batch: what is shifted by how much, and along which dimension."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from graphprune.graphs.segments import pointers


@dataclass(frozen=True, eq=False)
class Joining:
    """The rules of the graphs' class, ``__cat_dim__`` and ``__inc__``, worked out for a packed set.

    Attributes:
        kind: the class, of which single graphs and batches are made.
        dims: along which dimension an attribute is joined, None for a new one; those that are not here along the first.
        shifts: of attributes whose values are shifted in a batch: how much each graph shifts those after it,
            shape ``(G,)``.
    """

    kind: type[Data] = Data
    dims: Mapping[str, int | None] = field(default_factory=dict)
    shifts: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether these are the rules of attributes that PyG joins row by row."""
        return self.kind is Data and not self.dims and not self.shifts

    def select(self, chosen: Tensor) -> Self:
        """The same for the graphs of these numbers."""
        return replace(self, shifts={name: by[chosen] for name, by in self.shifts.items()})

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return replace(self, shifts={name: by.to(device) for name, by in self.shifts.items()})

    def shaped(self, name: str, rows: Tensor) -> Tensor:
        """An attribute of one graph or of a batch as the class has it, from its rows."""
        dim = self.dims.get(name, 0)
        return rows.movedim(0, dim) if dim else rows

    def joined(self, name: str, rows: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        """An attribute of a batch, and by how much the values of each of its graphs are shifted.

        Args:
            name: of the attribute.
            rows: of the graphs, one after the other.
            ptr: where each graph's rows start, shape ``(B + 1,)``.
        """
        by = self.shifts.get(name)
        if by is None:
            return self.shaped(name, rows), torch.zeros_like(ptr[:-1])
        total = pointers(by)[:-1]
        of_rows = torch.repeat_interleave(total, ptr.diff())
        return self.shaped(name, rows + of_rows.view(-1, *[1] * (rows.dim() - 1))), total

    def summary(self) -> dict[str, Any]:
        """What tells sets of the same tensors apart: dimensions and shifts."""
        shifts = {name: by.tolist() for name, by in sorted(self.shifts.items())}
        return {"dims": dict(sorted(self.dims.items())), "shifts": shifts}


def collate(
    num_nodes: Tensor,
    num_edges: Tensor,
    edge_index: Tensor,
    joining: Joining,
    objects: Mapping[str, list[Any]],
    **levels: Mapping[str, Tensor],
) -> Batch:
    """A PyG ``Batch`` of graphs that lie one after the other, without a loop over them.

    Args:
        num_nodes: nodes of each graph, shape ``(B,)``.
        num_edges: arcs of each graph, shape ``(B,)``.
        edge_index: node numbers within each graph, shape ``(2, E)``.
        joining: the rules of the graphs' class.
        objects: attributes that are no tensors, one entry a graph.
        levels: attributes with one row a ``node``, an arc (``edge``) or a ``graph``.
    """
    node_ptr, edge_ptr = pointers(num_nodes), pointers(num_edges)
    offset, graphs = node_ptr[:-1], torch.arange(num_nodes.numel() + 1, device=edge_index.device)
    batch = Batch(_base_cls=joining.kind)
    batch.edge_index = edge_index + torch.repeat_interleave(offset, num_edges)
    slices, shifts = {"edge_index": edge_ptr}, {"edge_index": offset}
    for level, ptr in (("node", node_ptr), ("edge", edge_ptr), ("graph", graphs)):
        for name, values in levels[level].items():
            batch[name], shifts[name] = joining.joined(name, values, ptr)
            slices[name] = ptr
    for name, entries in objects.items():
        batch[name], slices[name], shifts[name] = entries, graphs, torch.zeros_like(offset)
    batch.num_nodes = int(node_ptr[-1])
    batch.batch = torch.repeat_interleave(graphs[:-1], num_nodes)
    batch.ptr = node_ptr
    # What Batch.get_example and Batch.to_data_list read.
    batch._num_graphs, batch._num_nodes = num_nodes.numel(), num_nodes.tolist()
    batch._slice_dict, batch._inc_dict = slices, shifts
    return batch


def copied(value: Any) -> Any:
    """Arrays and plain containers as copies; other objects as they are."""
    return copy.deepcopy(value) if isinstance(value, list | tuple | dict | set | np.ndarray) else value
