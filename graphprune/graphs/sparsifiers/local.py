"""Scores from an edge's neighbourhood: degrees, shared neighbours, and ranks among the edges around a node."""

from __future__ import annotations

import torch
from torch import Tensor

from graphprune.graphs.scorers import uniform
from graphprune.graphs.sparsifiers.simple import SimpleGraph, StructureScorer, common_neighbours, rank_around


class Degree(StructureScorer):
    """Edges between nodes of low degree stay: the edge score of TEDDY (Seo, Yun & Yang, ICLR 2024).

    ``T(u, v) = s(u) s(v)`` with ``s(v) = d(v)**-2 * (sum of d(w)**-0.5 over the neighbours w of v)``, as the authors'
    code has it. Of TEDDY this is the edge score only, without distillation and projected weights, and it is counted
    again on what each round leaves.
    """

    def score(self, graph: SimpleGraph) -> Tensor:
        """The product of both ends' node scores."""
        node, neighbour = graph.incidences
        degree = graph.degree.double()
        total = torch.zeros_like(degree).index_add(0, node, degree[neighbour].rsqrt())
        at_node = total / degree.clamp(min=1).square()
        return at_node[graph.ends].prod(0)


class LocalDegree(StructureScorer):
    """Edges to a node's hubs stay (Hamann, Lindner, Meyerhenke, Staudt & Wagner, SNAM 2016).

    With the exponent a, every node keeps the edges to its ``d**a`` neighbours of highest degree, and an edge stays if
    one of its ends keeps it. The score is 1 minus the smallest such a; neighbours of equal degree share the best rank.
    """

    def score(self, graph: SimpleGraph) -> Tensor:
        """1 minus the smallest exponent that keeps the edge, in [0, 1]."""
        return _exponent(graph, graph.degree[graph.incidences[1]])


class Jaccard(StructureScorer):
    """Edges whose ends have the same neighbours stay (Satuluri, Parthasarathy & Ruan, SIGMOD 2011: G-Spar).

    Shared neighbours over all neighbours of both ends, as :func:`networkx.jaccard_coefficient`. 0 outside triangles.
    """

    def score(self, graph: SimpleGraph) -> Tensor:
        """The Jaccard coefficient of both neighbourhoods, in [0, 1)."""
        shared = common_neighbours(graph)
        return shared.double() / (graph.degree[graph.ends].sum(0) - shared)


class LocalSimilarity(StructureScorer):
    """Each node's edges of highest Jaccard coefficient stay (Satuluri, Parthasarathy & Ruan, SIGMOD 2011: L-Spar).

    As :class:`LocalDegree`, with the coefficient in place of the neighbour's degree.
    """

    def score(self, graph: SimpleGraph) -> Tensor:
        """1 minus the smallest exponent that keeps the edge, in [0, 1]."""
        return _exponent(graph, Jaccard().score(graph).repeat(2))


class KNeighbour(StructureScorer):
    """Every node ranks its edges at random; an edge counts by the better of its two ranks.

    All edges that are some node's first choice stay longest, then all second choices, and so on: for every k, each node
    keeps at least k edges, or all it has, as long as the budget allows. Among equal ranks chance decides. (The
    k-neighbour sparsifier compared by Chen, Ye, Vedula et al., "Demystifying Graph Sparsification Algorithms", VLDB
    2023.)

    Args:
        seed: another seed, other ranks.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def score(self, graph: SimpleGraph) -> Tensor:
        """1 over the better rank (1 is best) plus a random number in [0, 1); in (0, 1]."""
        incidences = graph.incidences
        draw = uniform(graph.bits(incidences, self.seed))
        rank = rank_around(incidences[0], draw).view(2, -1).amin(0)
        # The sum modulo 1 of two draws is uniform and independent of each.
        return 1 / (1 + rank + draw.view(2, -1).sum(0).remainder(1))


def _exponent(graph: SimpleGraph, strength: Tensor) -> Tensor:
    """1 minus the least exponent a with ``rank <= d**a`` at one of the ends, ranks counted from 1."""
    node = graph.incidences[0]
    rank = rank_around(node, strength) + 1
    needed = rank.double().log() / graph.degree[node].clamp(min=2).double().log()
    return 1 - needed.view(2, -1).amin(0)
