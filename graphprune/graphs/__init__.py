"""Graphs: storage, edges and their masks, soft and hard removal, and the edge predictor."""

from graphprune.graphs.counts import EdgeCounts
from graphprune.graphs.edges import EdgeMask, PrunedDataset, drop_arcs
from graphprune.graphs.encodings import AddEncodings, Encodings
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import edge_units
from graphprune.graphs.predictor import EdgePredictor
from graphprune.graphs.prune import EdgeRound, score_arcs
from graphprune.graphs.rounds import PruneEdges
from graphprune.graphs.rule import EdgeRule, number_units
from graphprune.graphs.scorers import RandomEdges
from graphprune.graphs.soft.check import check_forgets, check_removal
from graphprune.graphs.soft.registry import register_soft_edges
from graphprune.graphs.soft.soft import SoftEdges, supports
from graphprune.graphs.sparsify import Sparsify

__all__ = [
    "AddEncodings",
    "EdgeCounts",
    "EdgeMask",
    "EdgePredictor",
    "EdgeRound",
    "EdgeRule",
    "Encodings",
    "PackedGraphs",
    "PruneEdges",
    "PrunedDataset",
    "RandomEdges",
    "SoftEdges",
    "Sparsify",
    "check_forgets",
    "check_removal",
    "drop_arcs",
    "edge_units",
    "number_units",
    "register_soft_edges",
    "score_arcs",
    "supports",
]
