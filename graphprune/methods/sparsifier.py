"""Classic sparsifiers as a method: edges by a score that nothing is trained for, weights by magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import attrs

from graphprune.graphs.sparsifiers import EdgeScore, scorer_of
from graphprune.methods.core import validators
from graphprune.methods.core.fit import Fit, derive_seed
from graphprune.methods.core.iterative import IterativeMethod
from graphprune.methods.core.state import Decision, RunState


@attrs.frozen(kw_only=True)
class Sparsifier(IterativeMethod):
    """Edges by a classic sparsifier that needs no training, weights by magnitude as IMP prunes them.

    Every round scores the edges that the round before left, of training and unseen graphs alike. With ``weight_rate=0``
    a round trains nothing but its ticket.

    Args:
        edges: the score whose lowest edges go, by a name of :data:`graphprune.graphs.sparsifiers.SCORERS`, or a module
            of your own from a batch to one score an arc. ``"random"``; ``"degree"``: TEDDY's, low degrees stay;
            ``"local-degree"``: each node's edges to hubs stay; ``"jaccard"``: ends with the same neighbours;
            ``"local-similarity"``: the same, ranked around each node; ``"scan"``: within clusters; ``"disparity"``: a
            large share of a node's weight; ``"effective-resistance"``: edges without detours stay; ``"forest-fire"``:
            edges that fires spread along; ``"t-spanner"``: what keeps distances within three times theirs;
            ``"spanning-forest"``: a random one outlives all other edges; ``"k-neighbour"``: each node's first random
            choices stay. Which of them read ``edge_weight``: docs/sparsifiers.md.

    Raises:
        ValueError: an unknown score.
        ImportError, TypeError: a plug-in that cannot be used.
    """

    edges: EdgeScore = attrs.field(validator=validators.edge_score)
    name = "sparsifier"

    @classmethod
    def variant(cls, options: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """Its score."""
        return str(options.get("edges", ""))

    @property
    def by_ticket(self) -> bool:
        """For its weights it does."""
        return self.weight_rate > 0

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Score what is left; train only where weights are to be pruned and none have been trained yet."""
        found = self.trained_magnitudes(state, fit) if self.weight_rate else Decision(None, None)
        if not self.edge_rate:
            return found
        seed = derive_seed(self.seed, state.round + 1, "edges")
        return replace(found, scorer=scorer_of(self.edges, seed, self.protocol.rule.unit))
