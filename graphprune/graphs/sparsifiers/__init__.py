"""Classic sparsifiers: edge scores from the structure of one graph, which nothing has to be trained for."""

from graphprune.graphs.sparsifiers.forest import SpanningForest
from graphprune.graphs.sparsifiers.local import Degree, Jaccard, KNeighbour, LocalDegree, LocalSimilarity
from graphprune.graphs.sparsifiers.resistance import EffectiveResistance

__all__ = [
    "Degree",
    "EffectiveResistance",
    "Jaccard",
    "KNeighbour",
    "LocalDegree",
    "LocalSimilarity",
    "SpanningForest",
]
