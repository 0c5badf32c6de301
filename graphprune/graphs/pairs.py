"""Undirected edges: which two arcs are one edge, and which arcs are never pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs.known import once
from graphprune.graphs.sums import grouped

EdgeUnit = Literal["pair", "arc"]

# Edge attribute: the number of each arc's unit among all units of the training graphs, -1 at arcs that are in none.
EDGE_UNIT = "edge_unit"

# Edge attribute, bool: arcs that stay whatever their score, as self-loops do.
EDGE_PROTECTED = "edge_protected"


@dataclass(frozen=True)
class Units:
    """What falls together when edges are pruned.

    Attributes:
        first: position of each unit's first arc, shape ``(U,)``, ascending.
        second: of its second arc, or of the first one again, if there is no other; shape ``(U,)``.
        unit: the unit of each arc, shape ``(E,)``; -1 for what is never pruned: self-loops and protected arcs.
        beside: whether unit after unit is an arc and its reverse arc beside it, and nothing else is there.
    """

    first: Tensor
    second: Tensor
    unit: Tensor
    beside: bool = False

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each unit's arcs, shape ``(U,)``, of ``values``, shape ``(E,)``."""
        if self.beside:
            return (values[::2] + values[1::2]) / 2
        return (values.index_select(0, self.first) + values.index_select(0, self.second)) / 2

    def at_arcs(self, values: Tensor, others: float | bool) -> Tensor:
        """Each arc's unit's value, shape ``(E,)``; self-loops and protected arcs get ``others``."""
        if self.beside:
            return values[:, None].expand(-1, 2).flatten()
        return at_arcs(values, self.unit, others)


def arcs_of(data: Data) -> Tensor:
    """The arcs of a graph or batch, shape ``(2, E)``.

    Raises:
        ValueError: there is no ``edge_index``.
    """
    edge_index: Tensor | None = data.edge_index
    if edge_index is None:
        raise ValueError("the graph has no edge_index; give graphs without edges a (2, 0) tensor")
    return edge_index


def arcs_and_nodes(data: Data) -> tuple[Tensor, int]:
    """``edge_index`` and number of nodes; raises ValueError for a graph without ``edge_index``."""
    nodes = data.num_nodes
    if isinstance(nodes, torch.SymInt):  # any number, in a program that is exported
        return arcs_of(data), nodes  # type: ignore[return-value]
    return arcs_of(data), int(nodes or 0)


def protected_arcs(data: Data) -> Tensor | None:
    """The attribute ``edge_protected`` of a graph or batch, shape ``(E,)``; None: no arc is protected.

    Raises:
        ValueError: it is no bool an arc.
    """
    protected: Tensor | None = data.get(EDGE_PROTECTED)
    arcs = arcs_of(data).size(1)
    if protected is not None:
        check_protected(protected, arcs)
    return protected


def check_protected(protected: object, arcs: int, where: str = "", name: str = EDGE_PROTECTED) -> None:
    """Raise ValueError, beginning with ``where``, unless this attribute is one bool an arc."""
    fits = isinstance(protected, Tensor) and protected.dtype == torch.bool and protected.shape == (arcs,)
    if not fits:
        got = f"{protected.dtype} {tuple(protected.shape)}" if isinstance(protected, Tensor) else repr(protected)[:80]
        raise ValueError(f"{where}{name} must be bool of shape ({arcs},), True where an arc stays, got {got}")


def at_arcs(values: Tensor, numbers: Tensor, others: float | bool) -> Tensor:
    """The value of each arc's unit, ``(E,)``, from values ``(U,)`` and the arcs' unit numbers, -1 in none."""
    return torch.cat([values, values.new_full((1,), others)])[numbers]  # -1 reads the padding


def graph_units(data: Data, unit: EdgeUnit) -> Units:
    """:func:`edge_units` of a graph or batch, without the arcs that its ``edge_protected`` marks.

    Raises:
        ValueError: no ``edge_index``, or an ``edge_protected`` that is no bool an arc.
    """
    (arcs, nodes), protected = arcs_and_nodes(data), protected_arcs(data)
    if protected is not None:
        return edge_units(arcs, nodes, unit, protected)
    return once(arcs, (Units, nodes, unit), lambda: edge_units(arcs, nodes, unit))


def edge_units(edge_index: Tensor, num_nodes: int, unit: EdgeUnit = "pair", protected: Tensor | None = None) -> Units:
    """Group the arcs of one graph (or of a batch of graphs) into units.

    With ``"pair"`` the k-th arc u→v and the k-th arc v→u are one unit; an arc without partner is a unit of its own.
    With ``"arc"`` every arc is one. Units are numbered by the position of their first arc. Self-loops and protected
    arcs are in none, nor is an arc whose partner is protected.

    Args:
        edge_index: shape ``(2, E)``; node numbers must be unique over a batch.
        num_nodes: nodes of the graph or batch.
        unit: ``"pair"`` or ``"arc"``.
        protected: bool of shape ``(E,)``, True where an arc is never pruned.
    """
    source, target = edge_index
    position = torch.arange(source.numel(), device=source.device)
    no_loop = source != target
    if unit == "pair" and protected is None and _beside(source, target) and bool(no_loop.all()):
        return Units(position[::2], position[1::2], position >> 1, beside=True)
    partner = position if unit == "arc" else _reverse(source, target, num_nodes)
    leader = torch.minimum(position, partner)
    if protected is not None:
        kept = no_loop.new_zeros(source.numel()).index_put((leader[protected],), no_loop.new_ones(()))
        no_loop = no_loop & ~kept[leader]
    leads = no_loop & (leader == position)
    first = leads.nonzero().squeeze(1)
    number = torch.where(no_loop, (leads.cumsum(0) - 1).index_select(0, leader), -1)
    return Units(first, partner.index_select(0, first), number)


def _beside(source: Tensor, target: Tensor) -> bool:
    """Whether each arc has its reverse arc beside it, as OGB stores bonds, and as pruning pairs leaves them."""
    return torch.equal(source[::2], target[1::2]) and torch.equal(target[::2], source[1::2])


def _by(first: Tensor, second: Tensor, num_nodes: int) -> Tensor:
    """The arcs by one end and then the other; equals keep their order."""
    if num_nodes > first.numel():  # too many to count
        return torch.argsort(first * num_nodes + second, stable=True)
    order = torch.arange(first.numel(), device=first.device)
    if not _ascending(second):
        order, first, _ = grouped(second, first, num_nodes)
    return grouped(first, order, num_nodes)[1]


def _ascending(keys: Tensor) -> bool:
    return bool((keys[1:] >= keys[:-1]).all())


def _reverse(source: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """Position of each arc's reverse arc, its own where there is none (multi-edges pair up in order)."""
    if _beside(source, target):  # nothing to sort
        return torch.arange(source.numel(), device=source.device) ^ 1
    if _ascending(source * num_nodes + target):  # as coalescing leaves them: mostly all there is to do is to transpose
        partner = _by(target, source, num_nodes)
        if torch.equal(source, target.index_select(0, partner)) and torch.equal(
            target, source.index_select(0, partner)
        ):
            return partner
    low, high = torch.minimum(source, target), torch.maximum(source, target)
    order = _by(low, high, num_nodes)
    low, high, onward = (values.index_select(0, order) for values in (low, high, source < target))
    same = (low[1:] == low[:-1]) & (high[1:] == high[:-1])  # both ends as the arc before
    partner = torch.arange(source.numel(), device=source.device)
    if bool((same[1:] & same[:-1]).any()):  # the k-th arc of each way, where there are several
        return partner.index_copy_(0, order, order.index_select(0, _kth(same, onward)))
    two = (same & (onward[1:] != onward[:-1])).nonzero().squeeze(1)
    one, other = order.index_select(0, two), order.index_select(0, two + 1)
    return partner.index_copy_(0, one, other).index_copy_(0, other, one)


def _kth(same: Tensor, onward: Tensor) -> Tensor:
    """The place of each arc's reverse arc, or its own, among arcs that are sorted by both ends.

    Args:
        same: whether an arc has the ends of the one before, shape ``(E - 1,)``.
        onward: whether it leads from the lower to the higher node, shape ``(E,)``.
    """
    place = torch.arange(onward.numel(), device=onward.device)
    begins = torch.cat([same.new_ones(1), ~same])
    begin = place[begins].index_select(0, begins.cumsum(0) - 1)
    before = onward.cumsum(0) - onward.long()
    rank = before - before.index_select(0, begin)
    slot = begin + torch.where(onward, rank, place - begin - rank)
    at = place.new_full((2, place.numel()), -1)
    at[onward.long(), slot] = place
    found = at[(~onward).long(), slot]
    return torch.where(found >= 0, found, place)
