"""The pruning of unseen graphs in operations that an exported program can hold, whatever a graph's size.

What it keeps is what :class:`~graphprune.graphs.rounds.PruneEdges` keeps, tie for tie.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.graphs.encodings import ENCODINGS
from graphprune.graphs.pairs import EdgeUnit, arcs_and_nodes
from graphprune.graphs.prune import EdgeRound, units_to_keep
from graphprune.graphs.rounds import PruneEdges
from graphprune.graphs.rule import EdgeRule
from graphprune.graphs.scorers import prepared
from graphprune.graphs.segments import graph_of_nodes


class TracedEdges(nn.Module):
    """The rounds of a ticket as one module over a graph or a batch.

    Args:
        edges: whose rounds.

    Raises:
        ValueError: constraints on what stays, batch statistics, encodings that are counted again, a scorer that counts
            random walks or that cannot score in double precision; it is named.
    """

    def __init__(self, edges: PruneEdges) -> None:
        super().__init__()
        rule, rounds = edges.rule, [each for each in edges.rounds if each.scorer is not None]
        outside = {
            "its rule has constraints (connected, min_degree)": rule.constrained,
            "its rule scores by batch statistics": rule.scoring == "batch",
            "it counts encodings again": bool(rounds) and edges.recounted,
            "its scorer counts random walks": any(getattr(each.scorer, "walks", 0) for each in rounds),
            "its scorer does not say follows_dtype = True": any(
                not getattr(each.scorer, "follows_dtype", False) for each in rounds
            ),
        }
        if found := [words for words, there in outside.items() if there]:
            raise ValueError(f"the pruning of edges cannot be part of a program: {', '.join(found)}")
        self.rule, self._rounds = rule, [EdgeRound(None, each.rate, each.density, each.threshold) for each in rounds]
        self.scorers = nn.ModuleList(prepared(each.scorer, rule) for each in rounds if each.scorer is not None)

    def forward(self, data: Data) -> tuple[Data, Tensor]:
        """The graph or batch without the arcs that go, and which of its arcs stay, bool of shape ``(E,)``."""
        edge_index, nodes = arcs_and_nodes(data)
        left, places = data, torch.arange(edge_index.size(1), device=edge_index.device)
        original: Tensor | None = None
        for edge_round, scorer in zip(self._rounds, self.scorers, strict=True):
            keep, units = _keep(left, nodes, scorer, edge_round, self.rule, original)
            original = units if original is None else original
            stays = keep.nonzero().squeeze(1)
            left, places = _at(left, stays), places[stays]
        kept = torch.zeros_like(edge_index[0], dtype=torch.bool)
        return left, kept.index_fill(0, places, True)


def _at(data: Data, arcs: Tensor) -> Data:
    """A graph of these arcs alone."""
    edges = {name: data[name][arcs] for name in ("edge_attr", "edge_weight") if data.get(name) is not None}
    names = ("x", "batch", "ptr", "num_graphs", ENCODINGS)
    others = {name: data[name] for name in names if name in data}
    return Data(edge_index=data.edge_index[:, arcs], **others, **edges)


def _keep(
    data: Data, nodes: int, scorer: nn.Module, edge_round: EdgeRound, rule: EdgeRule, original: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Which arcs stay after a round, ``(E,)``, and how many units each graph had before, ``(B,)``.

    What is told of units stands at the position of each one's first arc.
    """
    edge_index, _ = arcs_and_nodes(data)
    graph, ptr = graph_of_nodes(data, nodes, edge_index.device)
    source, target = edge_index
    number, prunable = torch.arange(source.size(0), device=source.device), source != target
    first = _first_arcs(source, target, nodes, rule.unit)
    is_unit = prunable & (first == number)
    scores = scorer(data).double()
    total = torch.zeros_like(scores).index_add(0, first, scores)
    arcs = torch.zeros_like(scores).index_add(0, first, torch.ones_like(scores))
    score = (total / arcs).float()  # of no arcs NaN, at what is no unit
    of_graph = graph[source]
    units = torch.zeros_like(ptr[1:]).index_add(0, of_graph, is_unit.long())
    if edge_round.threshold is not None:
        best = score >= edge_round.threshold
    else:
        wanted = units_to_keep(edge_round, rule, units if original is None else original, units)
        best = _highest(score, is_unit, of_graph, units, wanted)
    return best[first] | ~prunable, units


def _first_arcs(source: Tensor, target: Tensor, nodes: int, unit: EdgeUnit) -> Tensor:
    """The position of the first arc of each arc's unit, see :func:`~graphprune.graphs.pairs.edge_units`."""
    number = torch.arange(source.size(0), device=source.device)
    if unit == "arc":
        return number
    # Arcs between the same two nodes, in order; the k-th one way is that of the k-th other way.
    joins, order = torch.sort(torch.minimum(source, target) * nodes + torch.maximum(source, target), stable=True)
    begins = (number == 0) | (joins != joins[(number - 1).clamp(min=0)])
    group = begins.long().cumsum(0) - 1
    forward = (source <= target)[order].long()
    before = forward.cumsum(0) - forward  # forward arcs before each, of all groups
    starts = torch.zeros_like(number).index_add(0, group, torch.where(begins, number, 0))[group]
    forward_at_start = torch.zeros_like(number).index_add(0, group, torch.where(begins, before, 0))[group]
    copy = torch.where(forward > 0, before - forward_at_start, (number - starts) - (before - forward_at_start))
    which = torch.zeros_like(number).scatter(0, order, starts + copy)
    firsts = torch.zeros_like(number).scatter_reduce(0, which, number, "amin", include_self=False)
    return firsts[which]


def _highest(score: Tensor, is_unit: Tensor, graph: Tensor, units: Tensor, wanted: Tensor) -> Tensor:
    """Which units are among the highest so many of their graphs; of equal ones the earlier are."""
    ranked = torch.where(is_unit, score, -torch.inf)
    by_score = torch.sort(ranked, stable=True, descending=True)[1]
    # What is no unit comes after all graphs.
    owner, place = torch.sort(torch.where(is_unit, graph, units.size(0))[by_score], stable=True)
    order = by_score[place]
    number = torch.arange(score.size(0), device=score.device)
    starts = torch.cat([units.cumsum(0) - units, units.sum(0, keepdim=True)])
    limits = torch.cat([wanted, torch.zeros_like(wanted[:1])])
    high = number - starts[owner] < limits[owner]
    return torch.zeros_like(high).scatter(0, order, high)
