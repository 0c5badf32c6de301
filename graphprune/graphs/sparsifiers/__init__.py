"""Classic sparsifiers: edge scores from the structure of one graph, which nothing has to be trained for.

Plug-ins register in the entry-point group ``graphprune.scorers``.
"""

import inspect

from torch import nn

from graphprune.graphs.pairs import EdgeUnit
from graphprune.graphs.scorers import EdgeScorer, RandomEdges
from graphprune.graphs.sparsifiers.fire import ForestFire
from graphprune.graphs.sparsifiers.forest import SpanningForest
from graphprune.graphs.sparsifiers.local import (
    Degree,
    Disparity,
    Jaccard,
    KNeighbour,
    LocalDegree,
    LocalSimilarity,
    ScanSimilarity,
)
from graphprune.graphs.sparsifiers.resistance import EffectiveResistance
from graphprune.graphs.sparsifiers.simple import SimpleGraph, StructureScorer
from graphprune.graphs.sparsifiers.spanner import GreedySpanner
from graphprune.registry import Registry

EdgeScore = str | nn.Module
"""What scores edges: a name of `SCORERS`, or a scorer of one's own."""

_OWN: dict[str, type[nn.Module]] = {
    "random": RandomEdges,
    "degree": Degree,
    "local-degree": LocalDegree,
    "jaccard": Jaccard,
    "local-similarity": LocalSimilarity,
    "scan": ScanSimilarity,
    "disparity": Disparity,
    "effective-resistance": EffectiveResistance,
    "forest-fire": ForestFire,
    "t-spanner": GreedySpanner,
    "spanning-forest": SpanningForest,
    "k-neighbour": KNeighbour,
}

_TAKEN = ("predictor", "nothing")  # what tickets call scorers that are learnt, and rounds without one


def _is_scorer(name: str, thing: object) -> bool:
    fits = isinstance(thing, type) and issubclass(thing, nn.Module) and hasattr(thing, "config")
    return fits and name not in _TAKEN


# The names of the command line and of tickets.
SCORERS = Registry("graphprune.scorers", _OWN, _is_scorer, "a module class with a config() under a free name")


def scorer_of(edges: EdgeScore, seed: int = 0, unit: EdgeUnit = "pair") -> nn.Module:
    """The scorer of a name, made with this seed and unit as far as it takes them; an object is taken as it is.

    Raises:
        ValueError: no such name; the text has all there are.
        ImportError, TypeError: a plug-in that cannot be used; it is named.
    """
    if isinstance(edges, nn.Module):
        return edges
    kind = SCORERS.find(edges, "the edge scorer")
    takes = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in (("seed", seed), ("unit", unit)) if name in takes})


__all__ = [
    "SCORERS",
    "Degree",
    "Disparity",
    "EdgeScore",
    "EdgeScorer",
    "EffectiveResistance",
    "ForestFire",
    "GreedySpanner",
    "Jaccard",
    "KNeighbour",
    "LocalDegree",
    "LocalSimilarity",
    "ScanSimilarity",
    "SimpleGraph",
    "SpanningForest",
    "StructureScorer",
    "scorer_of",
]
