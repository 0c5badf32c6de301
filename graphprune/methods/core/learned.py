"""What methods share whose rounds train an edge predictor: with the network, or for one that is trained already."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import replace
from typing import Any

import attrs
from torch import nn

from graphprune.graphs import EdgeRound, check_removal
from graphprune.masks import magnitude
from graphprune.methods.core import validators
from graphprune.methods.core.edge_gates import UnitGates
from graphprune.methods.core.fit import AnyData, Fit, FitResult
from graphprune.methods.core.iterative import IterativeMethod
from graphprune.methods.core.joint import JointNetwork, check_predictor, with_walks
from graphprune.methods.core.stable_repr import predictor_settings
from graphprune.methods.core.state import Decision, RunState, weights

_PREFIX = "model."


@attrs.frozen(kw_only=True)
class LearnedEdges(IterativeMethod):
    """Edges by a trained predictor, weights by magnitude. A subclass says in :meth:`gates` how edges act meanwhile.

    Args:
        predictor: the edge predictor with its initial weights; needed unless ``edge_rate`` is 0.
        predictor_lr: its learning rate; None: the model's.

    Raises:
        ValueError: no predictor where one is needed, or a learning rate that is not above 0.
    """

    predictor: nn.Module | None = None
    predictor_lr: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.positive))

    name = "learned-edges"
    soft_edges = True

    def __attrs_post_init__(self) -> None:
        if self.learns_edges and self.predictor is None:
            kind = type(self).__name__
            raise ValueError(f"{kind} needs a predictor: predictor=EdgePredictor.for_data(data), or edge_rate=0")

    @property
    def learns_edges(self) -> bool:
        """Whether a predictor is trained at all."""
        return self.edge_rate > 0

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where a gate of 0 is no removal in the model, or there is nothing to prune."""
        super().supports(model, data)
        if self.learns_edges:
            check_predictor(self.predictor, data)
            check_removal(model, data)

    @abstractmethod
    def gates(self, state: RunState) -> UnitGates:
        """What becomes of the predictor's logits in this round's training."""

    def initial_predictor(self, number: int) -> nn.Module:
        """What a round's predictor starts from."""
        assert self.predictor is not None
        return copy.deepcopy(self.predictor)

    def predictor_for(
        self, state: RunState, model: nn.Module, fit: Fit, *, frozen: bool = False
    ) -> tuple[nn.Module, FitResult]:
        """Train a round's predictor, with a network or for one that is trained already.

        Args:
            state: the graphs that train and validate.
            model: the network.
            fit: the training.
            frozen: the network stays as it is.

        Returns:
            The predictor of the best epoch, and what the training found: the network's names there begin with
            ``model.``.
        """
        number, rule = state.round + 1, self.protocol.rule
        scorer = self.initial_predictor(number)
        edge_round = EdgeRound(scorer, self.edge_rate, self.edge_density(number))
        state = replace(state, data=with_walks(state.graph_data, scorer))
        gates, train = self.gates(state), state.graph_data.train
        joint = JointNetwork(model, scorer, edge_round, rule, train, self.predictor_lr, gates, frozen)
        result = self.job(state, joint, state.masks.prefixed(_PREFIX), "search").run(fit)
        return joint.trained_predictor(result.best), result

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Train model and predictor together; score edges by the predictor, weights by magnitude."""
        if self.learns_edges:
            scorer, result = self.predictor_for(state, state.rewound(), fit)
            last = weights(result.last, state.masks, _PREFIX)
        else:
            scorer, result = None, self.job(state, state.rewound(), state.masks, "search").run(fit)
            last = weights(result.last, state.masks)
        return Decision(scorer, magnitude(last, {}, state.masks) if self.weight_rate else None, result.history)

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the predictor by what it is made from."""
        return super().settings() | {"predictor": predictor_settings(self.predictor)}
