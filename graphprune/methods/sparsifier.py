"""Classic sparsifiers as a method: edges by a score that nothing is trained for, weights by magnitude."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import attrs
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
from graphprune.methods.baselines import trained_magnitudes
from graphprune.methods.core.fit import Fit, derive_seed
from graphprune.methods.core.iterative import Found, IterativeMethod, Position
from graphprune.methods.core.one_training import one_of

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


@attrs.frozen(kw_only=True)
class Sparsifier(IterativeMethod):
    """Edges by a classic sparsifier that needs no training, weights by magnitude as IMP prunes them.

    Every round scores the edges that the round before left, of training and unseen graphs alike. With ``weight_rate=0``
    a round trains nothing but its ticket.

    Args:
        edges: the score whose lowest edges go: ``"random"``; ``"degree"``: TEDDY's, low degrees stay;
            ``"local-degree"``: each node's edges to hubs stay; ``"jaccard"``: ends with the same neighbours;
            ``"local-similarity"``: the same, ranked around each node; ``"effective-resistance"``: edges without detours
            stay; ``"spanning-forest"``: a random one outlives all other edges; ``"k-neighbour"``: each node's first
            random choices stay.

    Raises:
        ValueError: an unknown score.
    """

    edges: EdgeScore = attrs.field(validator=one_of(*get_args(EdgeScore)))
    name = "sparsifier"

    @classmethod
    def variant(cls, options: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """Its score."""
        return str(options.get("edges", ""))

    @property
    def by_ticket(self) -> bool:
        """For its weights it does."""
        return self.weight_rate > 0

    def search(self, here: Position, fit: Fit) -> Found:
        """Score what is left; train only where weights are to be pruned and none have been trained yet."""
        found = trained_magnitudes(here, fit, self.protocol.select) if self.weight_rate else Found(None, None)
        if not self.edge_rate:
            return found
        seed = derive_seed(self.seed, here.round + 1, "edges")
        return replace(found, scorer=EDGE_SCORERS[self.edges](seed, self.protocol.rule.unit))
