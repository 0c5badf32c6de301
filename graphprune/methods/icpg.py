"""ICPG: an edge predictor and weight magnitudes prune graphs and network together, round by round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import attrs
import torch
from torch import nn

from graphprune.graphs import EdgePredictor, RandomEdges
from graphprune.masks import random
from graphprune.methods.core import validators
from graphprune.methods.core.edge_gates import REMOVING, UnitGates, soft_gates
from graphprune.methods.core.fit import Fit, derive_seed
from graphprune.methods.core.learned import LearnedEdges
from graphprune.methods.core.state import Decision, RunState

EdgeGates = Literal["soft", "gumbel", "top"]


@attrs.frozen(kw_only=True)
class ICPG(LearnedEdges):
    """Inductive co-pruning (Sui et al., "Inductive Lottery Ticket Learning for Graph Neural Networks", JCST 2024).

    A round: rewind model and predictor, train both on the task loss with edges weighed by the predictor's scores,
    take the predictor of the best validation epoch and the model of the last; remove the lowest-scoring edges of every
    graph and the smallest weights over all layers; rewind and train the sparse ticket. Rates and rounds are the
    authors'. Ablations: ``edge_rate=0`` or ``weight_rate=0`` leave a part dense, ``rounds=1`` with larger rates is
    one-shot. Arguments that are not named here: see :class:`IterativeMethod`.

    Args:
        rounds: of search and ticket training (authors: 20).
        edge_rate: share of the remaining edges that goes each round (authors: 0.05).
        weight_rate: share of the remaining weights that goes each round (authors: 0.2).
        predictor: the edge predictor with its initial weights; needed unless ``edge_rate`` is 0 or edges are random.
        predictor_lr: its learning rate; None: the model's (the authors tune it per data set, from 1e-4 to 1e-2).
        predictor_start: each round's predictor starts from the ``"rewound"`` initial weights (authors, TU) or from
            ``"fresh"`` random ones (authors, Cora).
        edge_gates: how the predictor's scores act in the search's training. ``"soft"`` (authors): every edge is weighed
            by its score; removed edges, which validation and deployment meet, are never seen. ``"gumbel"``: training
            removes edges too, at random and afresh in each forward pass; both arcs of a pair share one draw. An edge
            stays with probability ``sigmoid(logit - c)``, where c is the one number of its graph (under a global
            budget: of the batch) that removes as large a share on average as the round will, ``edge_rate``. Left as
            they are, logits around 0 would take half of all edges at any rate, and train the network for graphs that no
            ticket meets. c changes no rank within a graph, and ranks are all that pruning asks of scores. ``"top"``:
            training removes as many edges of each graph as the round will, those of lowest score (straight-through).
        temperature: of ``"gumbel"`` and ``"top"`` in the backward pass, above 0: the gradient is that of
            ``sigmoid((logit - c + noise) / temperature)``, for ``"top"`` without the noise. At 1, the default, that is
            the soft gates' slope at a (noisy) place; higher ones give flatter slopes (3 is published for gates of
            single weights), lower ones teach undecided edges only.
        edge_scores: ``"predictor"``, or ``"random"`` as an ablation.
        weight_scores: ``"magnitude"``, or ``"random"`` as an ablation.

    Raises:
        ValueError: a rate outside [0, 1), fewer than one round, no predictor where one is needed, unknown gates, or a
            temperature that is not above 0.
    """

    predictor_start: Literal["rewound", "fresh"] = "rewound"
    edge_gates: EdgeGates = attrs.field(default="soft", validator=validators.one_of(*get_args(EdgeGates)))
    temperature: float = attrs.field(default=1.0, validator=validators.positive)
    edge_scores: Literal["predictor", "random"] = "predictor"
    weight_scores: Literal["magnitude", "random"] = "magnitude"

    name = "icpg"

    @property
    def learns_edges(self) -> bool:
        """Unless they are random ones."""
        return super().learns_edges and self.edge_scores == "predictor"

    def gates(self, state: RunState) -> UnitGates:
        """Those of ``edge_gates``."""
        if self.edge_gates == "soft":
            return soft_gates
        return REMOVING[self.edge_gates](1 - self.edge_rate, self.temperature)

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Train model and predictor together; score edges by the predictor, weights by magnitude."""
        found, number = super().search(state, fit), state.round + 1
        if self.edge_rate and not self.learns_edges:
            found = replace(found, scorer=RandomEdges(derive_seed(self.seed, number, "edges"), self.protocol.rule.unit))
        if self.weight_rate and self.weight_scores == "random":
            scores = random(derive_seed(self.seed, number, "weights"))({}, {}, state.masks)
            found = replace(found, scores=scores)
        return found

    def initial_predictor(self, number: int) -> nn.Module:
        """As ``predictor_start`` says."""
        if self.predictor_start == "rewound":
            return super().initial_predictor(number)
        if not isinstance(self.predictor, EdgePredictor):
            raise ValueError("predictor_start='fresh' rebuilds the predictor, which needs an EdgePredictor")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, number, "predictor"))
            return EdgePredictor(**self.predictor.config())

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the predictor by what it is made from."""
        # Tickets from before there was a choice have soft gates and do not say so; runs can go on after them.
        unsaid = ("edge_gates", "temperature") if self.edge_gates == "soft" else ()
        return {name: value for name, value in super().settings().items() if name not in unsaid}
