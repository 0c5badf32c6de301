"""Undirected edges: which two arcs are one edge, and which are self-loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

EdgeUnit = Literal["pair", "arc"]

# Edge attribute: the number of each arc's unit among all units of the training graphs, -1 at self-loops.
EDGE_UNIT = "edge_unit"


@dataclass(frozen=True)
class Units:
    """What falls together when edges are pruned.

    Attributes:
        first: position of each unit's first arc, shape ``(U,)``, ascending.
        unit: the unit of each arc, shape ``(E,)``; -1 for a self-loop, which is never pruned.
        arcs: arcs in each unit (1 or 2), shape ``(U,)``.
    """

    first: Tensor
    unit: Tensor
    arcs: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each unit's arcs, shape ``(U,)``, of ``values``, shape ``(E,)``."""
        inside = self.unit >= 0
        total = values.new_zeros(self.first.numel()).index_add(0, self.unit[inside], values[inside])
        return total / self.arcs.to(values.dtype)

    def spread(self, values: Tensor, loops: float | bool) -> Tensor:
        """Each arc's unit's value, shape ``(E,)``; self-loops get ``loops``."""
        return of_units(values, self.unit, loops)


def arcs_of(data: Data) -> Tensor:
    """The arcs of a graph or batch, shape ``(2, E)``.

    Raises:
        ValueError: there is no ``edge_index``.
    """
    edge_index: Tensor | None = data.edge_index
    if edge_index is None:
        raise ValueError("the graph has no edge_index; give graphs without edges a (2, 0) tensor")
    return edge_index


def of_units(values: Tensor, numbers: Tensor, loops: float | bool) -> Tensor:
    """The value of each arc's unit, ``(E,)``, from values ``(U,)`` and the arcs' unit numbers, -1 at self-loops."""
    return torch.cat([values, values.new_full((1,), loops)])[numbers]  # -1 reads the padding


def edge_units(edge_index: Tensor, num_nodes: int, unit: EdgeUnit = "pair") -> Units:
    """Group the arcs of one graph (or of a batch of graphs) into units.

    With ``"pair"`` the k-th arc u→v and the k-th arc v→u are one unit; an arc without partner is a unit of its own.
    With ``"arc"`` every arc is one. Units are numbered by the position of their first arc.

    Args:
        edge_index: shape ``(2, E)``; node numbers must be unique over a batch.
        num_nodes: nodes of the graph or batch.
        unit: ``"pair"`` or ``"arc"``.
    """
    source, target = edge_index
    position = torch.arange(source.numel(), device=source.device)
    proper = source != target
    if unit == "arc":
        leader = position
    else:
        partner = _reverse(source, target, num_nodes)
        leader = torch.where(partner >= 0, torch.minimum(position, partner), position)
    first = position[proper & (leader == position)]
    number = source.new_full((source.numel(),), -1)
    number[first] = torch.arange(first.numel(), device=source.device)
    number = torch.where(proper, number[leader], -1)
    arcs = torch.bincount(number[proper], minlength=first.numel())
    return Units(first, number, arcs)


def _reverse(source: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """Position of each arc's reverse arc, -1 where there is none (multi-edges pair up in order)."""
    # As OGB stores bonds, and as pruning pairs leaves them: each arc beside its reverse arc, nothing to sort.
    if torch.equal(source[::2], target[1::2]) and torch.equal(target[::2], source[1::2]):
        return torch.arange(source.numel(), device=source.device) ^ 1
    by_arc = torch.argsort(source * num_nodes + target, stable=True)
    by_reverse = torch.argsort(target * num_nodes + source, stable=True)
    partner = torch.empty_like(source)
    if torch.equal(source[by_arc], target[by_reverse]) and torch.equal(target[by_arc], source[by_reverse]):
        partner[by_arc] = by_reverse
        return partner
    # Arcs without a partner: number the copies of each arc, and look up (reverse arc, same copy).
    key = source * num_nodes + target
    sorted_key = key[by_arc]
    start = torch.searchsorted(sorted_key, sorted_key)
    copy = torch.empty_like(source)
    copy[by_arc] = torch.arange(source.numel(), device=source.device) - start
    wanted = target * num_nodes + source
    place = torch.searchsorted(sorted_key, wanted) + copy
    inside = place < source.numel()
    place = place.clamp(max=max(source.numel() - 1, 0))
    found = inside & (sorted_key[place] == wanted) if source.numel() else inside
    return torch.where(found, by_arc[place], -1)
