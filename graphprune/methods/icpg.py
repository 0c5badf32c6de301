"""ICPG: an edge predictor and weight magnitudes prune graphs and network together, round by round."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal, get_args

import attrs
import torch
from torch import nn

from graphprune.graphs import EdgePredictor, EdgeRound, RandomEdges, check_removal
from graphprune.masks import magnitude, random
from graphprune.methods.core import validators
from graphprune.methods.core.edge_gates import REMOVING, UnitGates, soft_gates
from graphprune.methods.core.fit import AnyData, Fit, derive_seed
from graphprune.methods.core.iterative import IterativeMethod
from graphprune.methods.core.joint import JointNetwork, check_predictor, with_walks
from graphprune.methods.core.stable_repr import predictor_settings
from graphprune.methods.core.state import Decision, RunState, weights

EdgeGates = Literal["soft", "gumbel", "top"]


@attrs.frozen(kw_only=True)
class ICPG(IterativeMethod):
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

    predictor: nn.Module | None = None
    predictor_lr: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.positive))
    predictor_start: Literal["rewound", "fresh"] = "rewound"
    edge_gates: EdgeGates = attrs.field(default="soft", validator=validators.one_of(*get_args(EdgeGates)))
    temperature: float = attrs.field(default=1.0, validator=validators.positive)
    edge_scores: Literal["predictor", "random"] = "predictor"
    weight_scores: Literal["magnitude", "random"] = "magnitude"

    name = "icpg"
    soft_edges = True

    def __attrs_post_init__(self) -> None:
        if self._learns_edges and self.predictor is None:
            raise ValueError("ICPG needs a predictor: predictor=EdgePredictor.for_data(data), or edge_rate=0")

    @property
    def _learns_edges(self) -> bool:
        return bool(self.edge_rate) and self.edge_scores == "predictor"

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where a gate of 0 is no removal in the model, or there is nothing to prune."""
        super().supports(model, data)
        if self._learns_edges:
            check_predictor(self.predictor, data)
            check_removal(model, data)

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Train model and predictor together; score edges by the predictor, weights by magnitude."""
        number = state.round + 1
        model, prefix, scorer = state.rewound(), "", None
        if self._learns_edges:
            scorer, prefix = self._initial_predictor(number), "model."
            edge_round = EdgeRound(scorer, self.edge_rate, self.edge_density(number))
            gates: UnitGates = soft_gates
            if self.edge_gates != "soft":
                gates = REMOVING[self.edge_gates](1 - self.edge_rate, self.temperature)
            state = replace(state, data=with_walks(state.graph_data, scorer))
            rule, train = self.protocol.rule, state.graph_data.train
            model = JointNetwork(model, scorer, edge_round, rule, train, self.predictor_lr, gates)
        result = self.job(state, model, state.masks.prefixed(prefix), "search").run(fit)
        if isinstance(model, JointNetwork):
            scorer = model.trained_predictor(result.best)
        elif self.edge_rate:
            scorer = RandomEdges(derive_seed(self.seed, number, "edges"), self.protocol.rule.unit)
        score = magnitude if self.weight_scores == "magnitude" else random(derive_seed(self.seed, number, "weights"))
        last = weights(result.last, state.masks, prefix)
        return Decision(scorer, score(last, {}, state.masks) if self.weight_rate else None, result.history)

    def _initial_predictor(self, number: int) -> nn.Module:
        assert self.predictor is not None
        if self.predictor_start == "rewound":
            return copy.deepcopy(self.predictor)
        if not isinstance(self.predictor, EdgePredictor):
            raise ValueError("predictor_start='fresh' rebuilds the predictor, which needs an EdgePredictor")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, number, "predictor"))
            return EdgePredictor(**self.predictor.config())

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the predictor by what it is made from."""
        settings = super().settings() | {"predictor": predictor_settings(self.predictor)}
        # Tickets from before there was a choice have soft gates and do not say so; runs can go on after them.
        unsaid = ("edge_gates", "temperature") if self.edge_gates == "soft" else ()
        return {name: value for name, value in settings.items() if name not in unsaid}
