"""Scores from an edge's neighbourhood: degrees, shared neighbours, and ranks among the edges around a node."""

from __future__ import annotations

import torch
from torch import Tensor

from graphprune.checks import whole
from graphprune.graphs.scorers import uniform
from graphprune.graphs.sparsifiers.simple import (
    SimpleGraph,
    StructureScorer,
    common_neighbours,
    rank_around,
    triangles,
)


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
    With weights the sum over all nodes of the lesser of both ends' weights to it, over the sum of the greater.
    """

    reads_weights = True

    def score(self, graph: SimpleGraph) -> Tensor:
        """The Jaccard coefficient of both neighbourhoods, in [0, 1)."""
        shared = torch.zeros_like(graph.weight)
        for corners in triangles(graph):
            weight = graph.weight[corners]
            for side in range(3):
                lesser = torch.minimum(weight[side - 1], weight[side - 2])
                shared += torch.bincount(corners[side], lesser, shared.numel())
        return shared / (graph.strength[graph.ends].sum(0) - shared)


class ScanSimilarity(StructureScorer):
    """Edges within a cluster stay: SCAN's structural similarity (Xu, Yuruk, Feng & Schweiger, KDD 2007).

    Neighbourhoods are closed, a node counts as its own neighbour: shared ones over the geometric mean of both sizes. An
    edge outside triangles scores by its degrees, ``2 / sqrt((d(u) + 1) (d(v) + 1))``.
    """

    def score(self, graph: SimpleGraph) -> Tensor:
        """The cosine of both closed neighbourhoods, in (0, 1]."""
        return (common_neighbours(graph) + 2) / (graph.degree[graph.ends] + 1).double().prod(0).sqrt()


class Disparity(StructureScorer):
    """Edges of a large share of a node's weight stay: the filter of Serrano, Boguñá & Vespignani, PNAS 2009.

    Were a node's weight cut into ``d`` parts at random, an edge would get a share of ``p`` or more with probability
    ``alpha = (1 - p)**(d - 1)``; the lesser alpha of both ends counts, and the only edge of a node says nothing there.
    The score is -log(alpha): the paper's backbone at a level a is what scores more than -log(a). Without weights all
    of a node's edges have the same share, and the score ranks edges by the higher degree of their ends, below 1.
    """

    reads_weights = True

    def score(self, graph: SimpleGraph) -> Tensor:
        """Minus the logarithm of the edge's significance, at least 0; 3.0 is the level of 5 %."""
        others = (graph.degree[graph.ends] - 1).double()
        share = graph.weight / graph.strength[graph.ends]
        # A node's only edge has all of its weight: 0 times infinity were not the logarithm of 0**0 = 1.
        return (others * -torch.log1p(-share.clamp(max=1 - 2.0**-53))).amax(0)


class LocalSimilarity(StructureScorer):
    """Each node's edges of highest Jaccard coefficient stay (Satuluri, Parthasarathy & Ruan, SIGMOD 2011: L-Spar).

    As :class:`LocalDegree`, with the coefficient, weighted where there are weights, in place of the neighbour's degree.
    """

    reads_weights = True

    def score(self, graph: SimpleGraph) -> Tensor:
        """1 minus the smallest exponent that keeps the edge, in [0, 1]."""
        # Coefficients that rounding alone tells apart share a rank.
        return _exponent(graph, (Jaccard().score(graph) * 2.0**40).round().repeat(2))


class KNeighbour(StructureScorer):
    """Every node draws its edges one after the other; an edge counts by the better of its two ranks.

    All edges that are some node's first choice stay longest, then all second choices, and so on: for every k, each node
    keeps at least k edges, or all it has, as long as the budget allows; with the budget of all these, it keeps exactly
    the k-neighbour sparsifier (Sadhanala, Wang & Tibshirani, AISTATS 2016; compared by Chen, Ye, Vedula et al.,
    "Demystifying Graph Sparsification Algorithms", VLDB 2023). Among equal ranks chance decides. With weights the next
    edge is drawn in proportion to the weights of those that are left (Efraimidis & Spirakis 2006).

    Args:
        seed: another seed, other ranks.

    Raises:
        ValueError: a seed that is no whole number.
    """

    reads_weights = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = whole("seed", seed)

    def score(self, graph: SimpleGraph) -> Tensor:
        """1 over the better rank (1 is best) plus a random number in [0, 1); in (0, 1]."""
        incidences = graph.incidences
        draw = uniform(graph.bits(incidences, self.seed))
        # Exponential clocks that run as fast as edges are heavy ring in the order of the draws.
        rank = rank_around(incidences[0], draw.log() / graph.weight.repeat(2)).view(2, -1).amin(0)
        # The sum modulo 1 of two draws is uniform and independent of each.
        return 1 / (1 + rank + draw.view(2, -1).sum(0).remainder(1))


def _exponent(graph: SimpleGraph, strength: Tensor) -> Tensor:
    """1 minus the least exponent a with ``rank <= d**a`` at one of the ends, ranks counted from 1."""
    node = graph.incidences[0]
    rank = rank_around(node, strength) + 1
    needed = rank.double().log() / graph.degree[node].clamp(min=2).double().log()
    return 1 - needed.view(2, -1).amin(0)
