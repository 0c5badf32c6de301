"""Edges that stay whatever the budget: what keeps components together, and nodes at a degree."""

from __future__ import annotations

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from graphprune.graphs.pairs import Units
from graphprune.graphs.rule import EdgeRule
from graphprune.graphs.segments import counts_in, pointers
from graphprune.masks import keep_top


def required_units(units: Units, score: Tensor, edge_index: Tensor, num_nodes: int, rule: EdgeRule) -> Tensor:
    """Which units of a graph or batch its rule's constraints keep, bool of shape ``(U,)``.

    First, where components are to stay, the maximum spanning forest by score that the arcs in no unit are part of; then
    the best edges of each node that still has fewer neighbours than it is to have. Among equal scores the earlier unit
    is better. One forest for the whole batch, by sorting: ``E log E`` in its arcs.

    Args:
        units: of the graph or batch.
        score: of each unit, shape ``(U,)``; no NaN.
        edge_index: shape ``(2, E)``.
        num_nodes: of the graph or batch.
        rule: what is to hold.
    """
    best_first = torch.argsort(score, descending=True, stable=True)
    fixed = ((units.unit < 0) & (edge_index[0] != edge_index[1])).nonzero().flatten()
    # Of the arcs between two nodes the best, those that are never pruned before all others.
    low, high = edge_index[:, torch.cat([fixed, units.first[best_first]])].sort(dim=0).values
    key = low * num_nodes + high
    by_key = torch.argsort(key, stable=True)
    rank = by_key[key[by_key].diff(prepend=key.new_full((1,), -1)) != 0].sort().values
    low, high = low[rank], high[rank]
    there = rank < len(fixed)
    if rule.connected:
        there[spanning_forest(low, high, num_nodes)] = True
    if rule.min_degree:
        there[_to_degree(low, high, there, num_nodes, rule.min_degree)] = True
    required = torch.zeros_like(score, dtype=torch.bool)
    required[best_first[rank[there & (rank >= len(fixed))] - len(fixed)]] = True
    return required


def spanning_forest(low: Tensor, high: Tensor, num_nodes: int) -> Tensor:
    """The numbers of the edges in the spanning forest that prefers earlier edges to later ones.

    Args:
        low: the lower end of each edge, shape ``(P,)``.
        high: the other end; no edge comes twice.
        num_nodes: of the graph or batch.
    """
    if not low.numel():
        return low
    ends = low.cpu().numpy(), high.cpu().numpy()
    # Numbers are distinct, so that there is one lightest forest; scipy takes a weight of 0 for no edge.
    number = torch.arange(1, low.numel() + 1, dtype=torch.float64).numpy()
    tree = minimum_spanning_tree(coo_array((number, ends), shape=(num_nodes, num_nodes)).tocsr())
    return torch.from_numpy(tree.data).long().to(low.device) - 1


def _to_degree(low: Tensor, high: Tensor, there: Tensor, num_nodes: int, degree: int) -> Tensor:
    """The numbers of the edges that nodes take, earlier ones first, to have so many neighbours."""
    node = torch.stack([low, high], 1).flatten()
    edge = torch.arange(len(low), device=low.device).repeat_interleave(2)
    have = there[edge]
    missing = degree - torch.bincount(node[have], minlength=num_nodes)
    node, edge = node[~have], edge[~have]
    by_node = torch.argsort(node, stable=True)
    start = pointers(torch.bincount(node, minlength=num_nodes))
    node = node[by_node]
    place = torch.arange(len(node), device=node.device) - start[node]
    return edge[by_node[place < missing[node]]]


def keep_best(scores: Tensor, sizes: Tensor, keep: Tensor, required: Tensor | None) -> Tensor:
    """What is required and, of the rest, the highest scores up to the counts; exact, see :func:`keep_top`.

    Args:
        scores: shape ``(U,)``.
        sizes: of the segments within which scores compete, one after the other; shape ``(S,)``.
        keep: how many stay of each segment, shape ``(S,)``; where more are required, these stay and no others.
        required: bool of shape ``(U,)``; None: nothing is.
    """
    if required is None:
        return keep_top(scores, pointers(sizes), keep)
    forced = counts_in(required, sizes)
    kept = required.clone()
    kept[~required] = keep_top(scores[~required], pointers(sizes - forced), (keep - forced).clamp(min=0))
    return kept
