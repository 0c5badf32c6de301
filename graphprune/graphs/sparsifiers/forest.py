"""A spanning forest that outlives all other edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.checks import whole
from graphprune.graphs.pairs import EdgeUnit, arcs_and_nodes, graph_units
from graphprune.graphs.required import required_units
from graphprune.graphs.rule import EdgeRule
from graphprune.graphs.scorers import EdgeScorer, RandomEdges
from graphprune.graphs.sparsifiers.simple import positive_weights


class SpanningForest(EdgeScorer):
    """Random scores, but the edges of a random spanning forest never go before the others.

    As long as a graph keeps at least as many edges as its spanning forests have, no connected component falls apart
    (directions are ignored). The forest is the heaviest one under the scores of :class:`RandomEdges`: a function of the
    graph and the seed alone. With weights it is the heaviest one under these, and scores decide among equals; a unit
    weighs the mean of its arcs. Arcs that are never pruned are part of the forest.

    Args:
        seed: another seed, another forest and another order of the edges.
        unit: as the edges are removed. Of several units between two nodes one at most is in the forest.

    Raises:
        ValueError: a seed that is no whole number.
    """

    reads_weights = True

    def __init__(self, seed: int = 0, unit: EdgeUnit = "pair") -> None:
        super().__init__()
        self.seed, self.unit = whole("seed", seed), unit

    def forward(self, data: Data) -> Tensor:
        """Scores in [2, 3) in the forest, in [0, 1) elsewhere; shape ``(E,)``, float64.

        Raises:
            ValueError: no ``edge_index``, or edge weights that are not positive.
            TypeError: edge weights that are not float.
        """
        arcs, nodes = arcs_and_nodes(data)
        units = graph_units(data, self.unit)
        score = RandomEdges(self.seed, self.unit)(data)[units.first]
        strength, weight = score, positive_weights(data, type(self))
        if weight is not None:
            best_first = torch.argsort(score, descending=True, stable=True)
            heavy = units.mean(weight.double())[best_first]
            best_first = best_first[torch.argsort(heavy, descending=True, stable=True)]
            strength = torch.empty_like(score)
            strength[best_first] = -torch.arange(len(score), dtype=score.dtype, device=score.device)
        score[required_units(units, strength, arcs, nodes, EdgeRule(connected=True))] += 2
        return units.at_arcs(score, 0.0)
