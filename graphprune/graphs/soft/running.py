"""The edges of the convolution that is running, and the gate of each."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphprune.graphs.segments import pointers


@dataclass(frozen=True)
class Gate:
    """Called, it returns the gates of the call that is running, (num_edges,), in the order of ``data.edge_index``.

    Attributes:
        read: what returns them.
        graph: returns ``data.edge_index`` of the call.
        sorted: the edges by their ends, for all convolutions of the call; see :meth:`RunningEdges.sorted`.
    """

    read: Callable[[], Tensor]
    graph: Callable[[], Tensor]
    sorted: dict[int, tuple[Tensor, Tensor, Tensor]]

    def __call__(self) -> Tensor:
        """The gates."""
        return self.read()


class RunningEdges:
    """Lists of edges that a convolution works with, such as its graph's with self-loops added, with their gates.

    Args:
        name: of the convolution, for errors.
        edge_index: what it was given, ``(2, E)``.
        gate: of these edges, read when it is first asked for.
    """

    def __init__(self, name: str, edge_index: Tensor, gate: Gate) -> None:
        self._name, self._given, self._gate = name, edge_index, gate
        self._known: list[tuple[Tensor, Tensor]] = []
        self._sorted: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def add(self, edge_index: Tensor, gate: Tensor) -> None:
        """Edges made of known ones, ``(2, K)``, and their gates, ``(K,)``."""
        self._known.append((edge_index, gate))

    def gate(self, index: Tensor) -> Tensor:
        """The gates, ``(K,)``, of a list of edges ``(2, K)``, or of one of its rows.

        Raises:
            ValueError: nobody knows these edges.
        """
        found = self._find(index)
        if found is None:
            raise ValueError(
                f"{self._name} hands a function of torch_geometric {index.size(-1)} edges of its own making (chosen by "
                "indexing, joined by torch.cat), or what are no edges, whose gates nobody knows: add and remove loops "
                "by torch_geometric's functions and sum nodes up by global_add_pool, or give its forward a parameter "
                "edge_gate and apply it there"
            )
        return found

    def sorted(self, index: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
        """The edges sorted by this end of theirs, shape ``(K,)``, and where each node's begin, ``(nodes + 1,)``.

        Those that the convolution was given are sorted once for all convolutions.
        """
        known = self._gate.sorted if any(_same_place(index, row) for row in self._given) else self._sorted
        place = index.data_ptr()
        if place not in known or not _same_place(known[place][0], index) or known[place][2].numel() != nodes + 1:
            order = torch.argsort(index, stable=True)
            known[place] = index, order, pointers(torch.bincount(index, minlength=nodes))  # the index keeps its place
        return known[place][1:]

    def knows(self, index: Tensor) -> bool:
        """Whether :meth:`gate` finds these edges."""
        return self._find(index) is not None

    def meet(self, edge_index: Any) -> None:
        """Find, under another address too, the edges along which messages are about to go.

        Raises:
            ValueError: nobody knows these edges.
        """
        plain = isinstance(edge_index, Tensor) and edge_index.layout is torch.strided
        if plain and not _same_place(edge_index, self._given):
            self.add(edge_index, self.gate(edge_index))

    def _find(self, index: Tensor) -> Tensor | None:
        if not self._known:
            self._known.append((self._given, self._gate()))
        for edge_index, gate in reversed(self._known):
            if index.size(-1) == gate.numel() and any(_same_place(index, known) for known in (edge_index, *edge_index)):
                return gate
        if index.dim() == 2:
            for edge_index, gate in self._known:
                if torch.equal(index, edge_index) or torch.equal(index, edge_index.flip(0)):
                    return gate
        return None


def _same_place(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers in memory."""
    same = one.shape == other.shape and one.stride() == other.stride()
    return same and one.data_ptr() == other.data_ptr() and one.dtype == other.dtype


RUNNING: ContextVar[RunningEdges | None] = ContextVar("RUNNING", default=None)
"""None: no gated convolution runs, or one over something else than the graph's edges."""


def check_same(edge_index: Tensor, expected: Tensor, name: str) -> None:
    """Raise ValueError unless a module was given the graph's edges, or these with their ends swapped."""
    if edge_index is expected:
        return
    expected = expected.to(edge_index)
    if not (torch.equal(edge_index, expected) or torch.equal(edge_index, expected.flip(0))):
        raise ValueError(
            f"{name}: its {edge_index.size(1)} edges are not the {expected.size(1)} of data.edge_index in "
            "their order, so the gates do not belong to them; pass it data.edge_index as it is. Where the model "
            "changes edges on its way (pooling as TopKPooling and SAGPooling, added or dropped edges), give the "
            "forward of the module that does it a parameter edge_gate: it is handed the gates, and multiplies the "
            "weights of the edges with them"
        )
