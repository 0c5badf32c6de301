"""Methods whose network and edge predictor are trained together, once, and then prune full graphs to a density."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import attrs
from torch import nn

from graphprune.data import GraphData
from graphprune.data.evaluation import evaluate
from graphprune.graphs import EdgeRound, check_removal
from graphprune.masks import MaskSet
from graphprune.masks.networks import TrainingDiverged
from graphprune.methods.core import validators
from graphprune.methods.core.edge_gates import UnitGates
from graphprune.methods.core.fit import (
    AnyData,
    Fit,
    FitResult,
    Pruner,
    State,
    Stopwatch,
    snapshot,
)
from graphprune.methods.core.joint import JointNetwork, check_predictor, with_walks
from graphprune.methods.core.method import Epochs, Method, seeded
from graphprune.methods.core.norms import kept_norms, recalibrate_, strided_parts
from graphprune.methods.core.stable_repr import stable_repr
from graphprune.methods.core.state import RunState, count_prunable_arcs, pruned
from graphprune.ticket import Ticket

PREFIX = "model."  # of the network's parameters, beside its predictor
_BATCH = 512  # graphs that go through a network at once, without gradients


@dataclass(frozen=True, kw_only=True)
class Trained(RunState):
    """A position after the one training: what it found, and the graphs before any pruning."""

    full_data: AnyData
    scorer: nn.Module | None = None
    best: State | None = field(default=None, repr=False)
    epoch: int = 0


@attrs.frozen(kw_only=True)
class ByDensity(Method):
    """A method whose tickets share weights, masks and predictor; of each the network's norms are counted again.

    Args:
        predictor: the edge predictor with its initial weights.
        temperature: of the gates' gradients, above 0.
        predictor_lr: learning rate of the predictor; None: the network's.
    """

    predictor: nn.Module | None = None
    temperature: float = attrs.field(default=1.0, validator=validators.positive)
    predictor_lr: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.positive))

    soft_edges: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.predictor is None:
            raise ValueError(f"{type(self).__name__} needs a predictor: predictor=EdgePredictor.for_data(data)")

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where a gate of 0 is no removal in the model, or there is nothing to prune."""
        super().supports(model, data)
        check_predictor(self.predictor, data)
        check_removal(model, data)
        if not isinstance(data, GraphData) or not count_prunable_arcs(data.train):
            raise ValueError(f"{data.name} has no edges to prune in its training split")
        if self.protocol.rule.count == "floor":
            raise ValueError(
                f"{self.name} keeps shares of the original edges: take protocol='clean', or one with count='cumulative'"
            )

    def _start(self, model: nn.Module, data: AnyData) -> RunState:
        state = super()._start(model, data)
        return Trained(**vars(state), full_data=state.data)

    def _round(self, state: RunState, fit: Fit) -> tuple[Ticket, RunState]:
        started = Stopwatch()
        state, history = self.prune(state, fit)
        return seeded(self._measured(state, history, started), fit), replace(state, round=state.round + 1)

    def _learned(
        self,
        state: Trained,
        network: nn.Module,
        scorer: nn.Module,
        density: float,
        gates: UnitGates,
        masks: MaskSet,
        fit: Fit,
        pruner: Pruner | None = None,
    ) -> tuple[Trained, Epochs]:
        """Train network and predictor together.

        Args:
            state: before it.
            network: with the weights to start from.
            scorer: the same; both are trained in place.
            density: of the edges with which validation selects.
            gates: of edges, in training.
            masks: of the network's weights before the training.
            fit: the training.
            pruner: of the weights, by the names that they have beside the predictor; None: the masks stay.
        """
        edge_round, rule = EdgeRound(scorer, 1 - density, density), self.protocol.rule
        seen = replace(state, round=0, data=with_walks(state.graph_data, scorer))
        joint = JointNetwork(network, scorer, edge_round, rule, seen.graph_data.train, self.predictor_lr, gates)
        job = replace(self.job(seen, joint, masks.prefixed(PREFIX), "search"), pruner=pruner)
        result = job.run(fit)
        joint.trained_predictor(result.best)
        best = {name.removeprefix(PREFIX): value for name, value in result.best.items() if name.startswith(PREFIX)}
        if result.masks is not None:
            masks = MaskSet.of({name.removeprefix(PREFIX): mask for name, mask in result.masks.items()})
        return replace(state, scorer=scorer, best=best, masks=masks, epoch=result.epoch), result.history

    def _thinned(self, state: RunState, density: float) -> RunState:
        """The full graphs, pruned to a density."""
        assert isinstance(state, Trained)
        full = replace(state, data=state.full_data, edges=replace(state.edges, rounds=()))
        return pruned(full, EdgeRound(state.scorer, 1 - density, density))

    def _measured(self, state: RunState, history: Epochs, started: Stopwatch) -> Ticket:
        """The trained network on graphs of this density, with norms of its own."""
        assert isinstance(state, Trained) and state.best is not None
        model, graphs = copy.deepcopy(state.model), state.graph_data.train
        model.load_state_dict(state.best)
        state.masks.verify(model)
        device = next(model.parameters()).device
        parts = (graphs.batch(part).to(device) for part in strided_parts(graphs, _BATCH))
        recalibrate_(model, parts, kept_norms(state.model.state_dict(), model))
        metrics, left = {}, state.edges.rounds[-1].density
        for split in ("val", "test"):
            metrics[split] = evaluate(model, state.data.splits[split], state.data, split=split, batch_size=_BATCH)
            if not math.isfinite(metrics[split]):
                raise TrainingDiverged(f"with {left:.1%} of the edges the network's outputs on {split} are not finite")
        result = FitResult(snapshot(model), state.best, state.epoch, metrics["val"], metrics["test"])
        return self._of_density(state, result, history, started)

    def _tuned(self, state: RunState, fit: Fit, started: Stopwatch) -> Ticket:
        """The network trained further on graphs of this density; what it was trained from stays the last state."""
        assert isinstance(state, Trained) and state.best is not None
        model = copy.deepcopy(state.model)
        model.load_state_dict(state.best)
        result = replace(self.job(state, model, state.masks, "ticket").run(fit), last=state.best)
        state.masks.verify(model)
        ticket = self._of_density(state, result, (), started)
        told, row = {"tuned_by": stable_repr(fit)}, {"epoch": state.epoch, "tuned_epoch": result.epoch}
        return replace(ticket, row=ticket.row | row, provenance=ticket.provenance | told)

    def _of_density(self, state: RunState, result: FitResult, history: Epochs, started: Stopwatch) -> Ticket:
        ticket = self._ticket(state, result, history, started)
        return replace(ticket, row=ticket.row | {"edge_density": state.edges.rounds[-1].density})
