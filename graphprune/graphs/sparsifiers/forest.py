"""A spanning forest that outlives all other edges."""

from __future__ import annotations

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs.pairs import EdgeUnit, arcs_and_nodes, graph_units
from graphprune.graphs.scorers import EdgeScorer, RandomEdges
from graphprune.graphs.sparsifiers.simple import positive_weights


class SpanningForest(EdgeScorer):
    """Random scores, but the edges of a random spanning forest never go before the others.

    As long as a graph keeps at least as many edges as its spanning forests have, no connected component falls apart
    (directions are ignored). The forest is the heaviest one under the scores of :class:`RandomEdges`: a function of the
    graph and the seed alone. With weights it is the heaviest one under these, and scores decide among equals; a unit
    weighs the mean of its arcs.

    Args:
        seed: another seed, another forest and another order of the edges.
        unit: as the edges are removed. Of several units between two nodes one at most is in the forest.
    """

    reads_weights = True

    def __init__(self, seed: int = 0, unit: EdgeUnit = "pair") -> None:
        super().__init__()
        self.seed, self.unit = seed, unit

    def forward(self, data: Data) -> Tensor:
        """Scores in [2, 3) in the forest, in [0, 1) elsewhere; shape ``(E,)``, float64.

        Raises:
            ValueError: no ``edge_index``, or edge weights that are not positive.
            TypeError: edge weights that are not float.
        """
        arcs, nodes = arcs_and_nodes(data)
        units = graph_units(data, self.unit)
        score = RandomEdges(self.seed, self.unit)(data)[units.first]
        best_first = torch.argsort(score, descending=True, stable=True)
        weight = positive_weights(data, type(self))
        if weight is not None:
            heavy = units.mean(weight.double())
            best_first = best_first[torch.argsort(heavy[best_first], descending=True, stable=True)]
        ends = arcs[:, units.first[best_first]].sort(dim=0).values
        # The first of several units between two nodes; a sparse matrix would add their weights.
        by_ends = torch.argsort(ends[0] * nodes + ends[1], stable=True)
        place = by_ends[(ends[:, by_ends].diff(prepend=ends.new_full((2, 1), -1)) != 0).any(0)]
        low, high = ends[:, place].cpu().numpy()
        # Places are distinct, so that there is one lightest forest; scipy takes a weight of 0 for no edge.
        matrix = coo_array(((place + 1).double().cpu().numpy(), (low, high)), shape=(nodes, nodes))
        chosen = torch.from_numpy(minimum_spanning_tree(matrix.tocsr()).data).long() - 1
        score[best_first[chosen.to(score.device)]] += 2
        return units.at_arcs(score, 0.0)
