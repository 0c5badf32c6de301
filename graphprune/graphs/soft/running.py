"""The edges of the convolution that is running, and the gate of each."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import torch
from torch import Tensor

Gate = Callable[[], Tensor]
"""Returns the gate of the call that is running, (num_edges,), in the order of ``data.edge_index``."""


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

    def knows(self, index: Tensor) -> bool:
        """Whether :meth:`gate` finds these edges."""
        return self._find(index) is not None

    def _find(self, index: Tensor) -> Tensor | None:
        if not self._known:
            self._known.append((self._given, self._gate()))
        for same in (_shares_memory, _is_row):
            for edge_index, gate in self._known:
                if index.size(-1) == gate.numel() and same(index, edge_index):
                    return gate
        return None


def _shares_memory(index: Tensor, edge_index: Tensor) -> bool:
    return index.untyped_storage().data_ptr() == edge_index.untyped_storage().data_ptr()


def _is_row(index: Tensor, edge_index: Tensor) -> bool:
    """Whether these are the same edges, their ends swapped, or one end of each."""
    if index.dim() == 2:
        return torch.equal(index, edge_index) or torch.equal(index, edge_index.flip(0))
    return torch.equal(index, edge_index[1]) or torch.equal(index, edge_index[0])


RUNNING: ContextVar[RunningEdges | None] = ContextVar("RUNNING", default=None)
"""None: no gated convolution runs, or one over something else than the graph's edges."""
