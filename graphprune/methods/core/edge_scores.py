"""Scores of edges that nothing is trained for, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

from graphprune.graphs import RandomEdges
from graphprune.graphs.pairs import EdgeUnit
from graphprune.graphs.sparsifiers import (
    Degree,
    EffectiveResistance,
    Jaccard,
    KNeighbour,
    LocalDegree,
    LocalSimilarity,
    SpanningForest,
)

EdgeScore = Literal[
    "random",
    "degree",
    "local-degree",
    "jaccard",
    "local-similarity",
    "effective-resistance",
    "spanning-forest",
    "k-neighbour",
]

EDGE_SCORERS: Mapping[EdgeScore, Callable[[int, EdgeUnit], nn.Module]] = {
    "random": RandomEdges,
    "degree": lambda seed, unit: Degree(),
    "local-degree": lambda seed, unit: LocalDegree(),
    "jaccard": lambda seed, unit: Jaccard(),
    "local-similarity": lambda seed, unit: LocalSimilarity(),
    "effective-resistance": lambda seed, unit: EffectiveResistance(seed),
    "spanning-forest": SpanningForest,
    "k-neighbour": lambda seed, unit: KNeighbour(seed),
}
