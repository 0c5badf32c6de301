"""Many graphs in a few flat tensors: the storage that batches, scores and prunes without a loop over graphs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from graphprune.graphs.batches import told_batch
from graphprune.graphs.flatten import check_edge_index, check_edge_weight, check_name, flatten
from graphprune.graphs.joining import Joining, collate, copied
from graphprune.graphs.loading import PackedLoader
from graphprune.graphs.pairs import EDGE_PROTECTED, check_protected
from graphprune.graphs.segments import pointers, ranges, rows_of

_LEVELS = ("node", "edge", "graph")
STEP = 1 << 20  # arcs looked at in one go: bounds the memory beside the graphs' own


class PackedGraphs(Dataset[Data]):
    """A data set of graphs held as flat tensors.

    Indexing gives an ordinary :class:`torch_geometric.data.Data`, so that any loader can read it; :meth:`batch` and
    :meth:`loader` build whole batches with a handful of tensor operations. Graphs and batches are copies, as PyG's
    loader gives them: what a network or a loop does to them in place does not reach the data set.

    Args:
        num_nodes: nodes of each graph, shape ``(G,)``.
        num_edges: arcs of each graph, shape ``(G,)``.
        edge_index: node numbers *within* each graph, shape ``(2, E)``, int64.
        node: attributes with one row a node, shape ``(N, ...)``.
        edge: attributes with one row an arc, shape ``(E, ...)``.
        graph: attributes with one row a graph, shape ``(G, ...)``.
        objects: attributes that are no tensors, one entry a graph.
        joining: what graphs of a user's own class do otherwise when they are joined; :meth:`of` finds it out.

    Raises:
        ValueError: counts and shapes contradict each other, or an arc points outside its graph.
    """

    def __init__(
        self,
        num_nodes: Tensor,
        num_edges: Tensor,
        edge_index: Tensor,
        *,
        node: Mapping[str, Tensor] | None = None,
        edge: Mapping[str, Tensor] | None = None,
        graph: Mapping[str, Tensor] | None = None,
        objects: Mapping[str, Sequence[Any]] | None = None,
        joining: Joining | None = None,
    ) -> None:
        fields = {"node": node, "edge": edge, "graph": graph, "objects": objects, "joining": joining}
        self._set(num_nodes=num_nodes, num_edges=num_edges, edge_index=edge_index, **fields)
        self._check_arcs()
        if "edge_weight" in self.edge:
            check_edge_weight(self.edge["edge_weight"], self.num_edges, self._where)

    def _set(self, *, num_nodes: Tensor, num_edges: Tensor, edge_index: Tensor, **fields: Any) -> None:
        """Take the constructor's arguments, of which these three are needed, without a look at what the arcs are."""
        self.node_count, self.edge_count, self.edge_index = num_nodes.long(), num_edges.long(), edge_index
        self.node, self.edge, self.graph = (dict[str, Tensor](fields.get(level) or {}) for level in _LEVELS)
        self.objects = {name: list(values) for name, values in (fields.get("objects") or {}).items()}
        self.joining: Joining = fields.get("joining") or Joining()
        self.node_ptr = pointers(self.node_count)
        self.edge_ptr = pointers(self.edge_count)
        self._check_rows()

    def _check_rows(self) -> None:
        check_edge_index(self.edge_index)
        levels: tuple[tuple[str, int, Mapping[str, Sized]], ...] = (
            ("node", self.num_nodes, self.node),
            ("edge", self.num_edges, {"edge_index": self.edge_index.t(), **self.edge}),
            ("graph", len(self), {"num_edges": self.edge_count, **self.graph, **self.objects}),
        )
        for level, rows, store in levels:
            for name, values in store.items():
                if len(values) != rows:
                    raise ValueError(f"{level} attribute {name!r} has {len(values)} rows, expected {rows}")
        if EDGE_PROTECTED in self.edge:
            check_protected(self.edge[EDGE_PROTECTED], self.num_edges)
        for name in (*self.node, *self.edge, *self.graph, *self.objects):
            check_name(name, name in self.edge, name in self.joining.shifts)

    def _check_arcs(self) -> None:
        for start, graphs, count in self._steps():
            arcs = self.edge_index[:, start : start + int(count.sum())]
            limit = torch.repeat_interleave(self.node_count[graphs], count)
            bad = ((arcs < 0) | (arcs >= limit)).any(0)
            if bool(bad.any()):
                place = int(bad.nonzero()[0])
                number, ends = self._graph_of(start + place), arcs[:, place].tolist()
                nodes = int(self.node_count[number])
                raise ValueError(f"graph {number}: edge_index {ends} points outside its {nodes} nodes")

    def _graph_of(self, arc: int) -> int:
        return int(torch.searchsorted(self.edge_ptr, arc, right=True)) - 1

    def _where(self, arc: int) -> str:
        """How an error about an arc, or about all of them, begins."""
        number = self._graph_of(arc)
        return "" if arc < 0 else f"graph {number}, arc {arc - int(self.edge_ptr[number])}: "

    def _steps(self) -> Iterator[tuple[int, slice, Tensor]]:
        """``STEP`` arcs after the other: the first one, the graphs they belong to, and how many each has here."""
        for start in range(0, self.num_edges, STEP):
            stop = min(start + STEP, self.num_edges)
            first = int(torch.searchsorted(self.edge_ptr, start, right=True)) - 1
            last = int(torch.searchsorted(self.edge_ptr, stop))
            yield start, slice(first, last), self.edge_ptr[first : last + 1].clamp(start, stop).diff()

    # ------------------------------------------------------------------ construction

    @classmethod
    def of(cls, graphs: Sequence[Data] | Dataset[Data]) -> PackedGraphs:
        """Pack a sequence of ``Data`` (a packed data set is returned as it is).

        An attribute with "edge" in its name and a row an arc belongs to the edges, any other with a row a node to the
        nodes, one with a single row to the graph; other entries that are no tensors are kept as they are.

        Raises:
            ValueError: no graphs, an attribute that some graph lacks or without a clear level, an arc out of its graph.
            TypeError: what is no list of ``Data``, or holds features that are no array of numbers.
        """
        if isinstance(graphs, PackedGraphs):
            return graphs
        return cls(**flatten(graphs))

    def _fields(self) -> dict[str, Any]:
        """The constructor's arguments."""
        same = {name: getattr(self, name) for name in ("edge_index", *_LEVELS, "objects", "joining")}
        return {"num_nodes": self.node_count, "num_edges": self.edge_count, **same}

    def _like(self, **changes: Any) -> Self:
        """A copy with other fields, whose arcs lie within their graphs as before."""
        out = copy.copy(self)
        out._set(**(self._fields() | changes))
        return out

    def with_node(self, **attributes: Tensor) -> Self:
        """A copy with node attributes of shape ``(N, ...)`` added or replaced."""
        return self._like(node=self.node | attributes)

    def with_edge(self, **attributes: Tensor) -> Self:
        """A copy with edge attributes of shape ``(E, ...)`` added or replaced; "edge" must be in their names."""
        return self._like(edge=self.edge | attributes)

    def with_graph(self, **attributes: Tensor) -> Self:
        """A copy with graph attributes of shape ``(G, ...)`` added or replaced."""
        return self._like(graph=self.graph | attributes)

    def select(self, index: Tensor | Sequence[int]) -> PackedGraphs:
        """The graphs of these numbers, in this order, as a packed data set of their own."""
        chosen = self._chosen(index)
        # All graphs share their tensors, which neither set hands out.
        return PackedGraphs(**(self._fields() if self._everything(chosen) else self._gather(chosen)))

    def _chosen(self, index: Tensor | Sequence[int]) -> Tensor:
        """Checked graph numbers."""
        chosen = torch.as_tensor(index, device=self.device)
        if chosen.numel() == 0:
            chosen = chosen.long()
        if chosen.dtype == torch.bool or chosen.is_floating_point() or chosen.dim() != 1:
            raise TypeError(f"index must be a list of graph numbers, got {chosen.dtype} of shape {tuple(chosen.shape)}")
        if bool(((chosen < 0) | (chosen >= len(self))).any()):
            raise IndexError(f"index has graph numbers outside [0, {len(self)})")
        return chosen

    def _everything(self, chosen: Tensor) -> bool:
        """Whether these are all graphs in their order."""
        return chosen.numel() == len(self) and torch.equal(chosen, torch.arange(len(self), device=self.device))

    def _gather(self, chosen: Tensor) -> dict[str, Any]:
        """The constructor's arguments for the graphs of these numbers; nothing in them is shared with this set."""
        nodes, edges = self.node_count[chosen], self.edge_count[chosen]
        if self._everything(chosen):  # as full-batch training asks for in every step: no rows to look up
            node_rows = edge_rows = graph_rows = None
        else:
            node_rows, edge_rows = ranges(self.node_ptr[chosen], nodes), ranges(self.edge_ptr[chosen], edges)
            graph_rows = chosen
        return {
            "num_nodes": nodes,
            "num_edges": edges,
            "edge_index": rows_of(self.edge_index, edge_rows, dim=1),
            "node": {name: rows_of(values, node_rows) for name, values in self.node.items()},
            "edge": {name: rows_of(values, edge_rows) for name, values in self.edge.items()},
            "graph": {name: rows_of(values, graph_rows) for name, values in self.graph.items()},
            "objects": {name: [copied(entries[i]) for i in chosen.tolist()] for name, entries in self.objects.items()},
            "joining": self.joining.select(chosen),
        }

    def keep_edges(self, keep: Tensor) -> Self:
        """The same graphs without the arcs where ``keep`` (bool, shape ``(E,)``) is False; all nodes stay."""
        if keep.dtype != torch.bool or keep.shape != (self.num_edges,):
            raise ValueError(f"keep must be bool of shape ({self.num_edges},), got {keep.dtype} {tuple(keep.shape)}")
        keep = keep.to(self.device)
        left = torch.zeros_like(self.edge_count)
        for start, graphs, count in self._steps():
            ends = pointers(count)
            left[graphs] += pointers(keep[start : start + int(ends[-1])].long())[ends].diff()
        return self._like(
            num_edges=left,
            edge_index=self._kept(self.edge_index, keep, dim=1),
            edge={name: self._kept(values, keep) for name, values in self.edge.items()},
        )

    def _kept(self, values: Tensor, keep: Tensor, dim: int = 0) -> Tensor:
        """The rows (with ``dim=1`` the columns) of the arcs that stay."""
        return values[keep] if dim == 0 else values[:, keep]

    def to(self, device: torch.device | str) -> Self:
        """The same graphs on another device; batches are then made there."""
        move = {level: {name: values.to(device) for name, values in getattr(self, level).items()} for level in _LEVELS}
        return self._like(
            num_nodes=self.node_count.to(device),
            num_edges=self.edge_count.to(device),
            edge_index=self.edge_index.to(device),
            joining=self.joining.to(device),
            **move,
        )

    # ------------------------------------------------------------------ reading

    @property
    def num_nodes(self) -> int:
        """Nodes of all graphs together."""
        return int(self.node_ptr[-1])

    @property
    def num_edges(self) -> int:
        """Arcs of all graphs together (an undirected edge counts as two)."""
        return int(self.edge_ptr[-1])

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.edge_index.device

    def __len__(self) -> int:
        return self.node_count.numel()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} graphs, {self.num_nodes} nodes, {self.num_edges} arcs)"

    def __iter__(self) -> Iterator[Data]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, number: int) -> Data:
        """A copy of graph ``number`` as a ``Data`` object."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"graph {number} of {len(self)}")
        number %= len(self)
        nodes = slice(int(self.node_ptr[number]), int(self.node_ptr[number + 1]))
        edges = slice(int(self.edge_ptr[number]), int(self.edge_ptr[number + 1]))
        data, joining = self.joining.kind(), self.joining
        data.edge_index, data.num_nodes = self.edge_index[:, edges].clone(), nodes.stop - nodes.start
        one = slice(number, number + 1)
        for rows, store in ((nodes, self.node), (edges, self.edge), (one, self.graph)):
            for name, values in store.items():
                value = joining.shaped(name, values[rows].clone())
                data[name] = value.squeeze(0) if name in joining.dims and joining.dims[name] is None else value
        for name, entries in self.objects.items():
            data[name] = copied(entries[number])
        return data

    def batch(self, index: Tensor | Sequence[int]) -> Batch:
        """The graphs of these numbers as one PyG ``Batch``, node numbers shifted, without a loop over graphs."""
        chosen = self._chosen(index)
        return told_batch(collate(**self._gather(chosen)), self, chosen)

    def loader(
        self, batch_size: int, *, shuffle: bool = False, generator: torch.Generator | None = None
    ) -> PackedLoader[Batch]:
        """Batches of ``batch_size`` graphs.

        Args:
            batch_size: graphs a batch.
            shuffle: a new order every pass.
            generator: where the order comes from.
        """
        return PackedLoader(self, batch_size, shuffle, generator)

    def digest(self) -> str:
        """SHA-256 over every tensor, its name, dtype and shape."""
        total = hashlib.sha256()
        shape = {"num_nodes": self.node_count, "num_edges": self.edge_count, "edge_index": self.edge_index}
        for level, store in (("", shape), ("node", self.node), ("edge", self.edge), ("graph", self.graph)):
            for name, values in sorted(store.items()):
                total.update(f"{level} {name} {values.dtype} {tuple(values.shape)}\n".encode())
                if values.numel():
                    total.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        if self.joining.dims or self.joining.shifts:
            total.update(f"{self.joining.summary()}\n".encode())
        return total.hexdigest()
