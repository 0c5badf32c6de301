"""Iterative methods: round by round they search, prune weights and edges, rewind and train."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import attrs
from torch import Tensor, nn

from graphprune.data import GraphData
from graphprune.data.labelled import SPLITS
from graphprune.graphs import EdgeRound
from graphprune.masks import MaskSet, Unit, UnitName, magnitude, random
from graphprune.methods.core import validators
from graphprune.methods.core.fit import AnyData, Fit, FitJob, State
from graphprune.methods.core.method import Epochs, Method
from graphprune.methods.core.state import Decision, RunState, count_prunable_arcs, pruned, weights
from graphprune.ticket import Ticket


@attrs.frozen(kw_only=True)
class IterativeMethod(Method):
    """A method of several trainings. A subclass says in :meth:`search` what goes; the rest is shared.

    Args:
        rounds: how often to search, prune and train.
        edge_rate: share of the remaining edges that goes each round.
        weight_rate: share of the remaining weights that goes each round.
        scope: weights compete over all layers (``"global"``) or within each (``"layer"``).
        layer_floor: share of each layer's weights that is always kept, against layer collapse; None: a tenth of the
            share that is kept over all layers, at least one weight (under ``protocol="paper"`` none, as the authors).
        unit: what falls together: single weights (``"weight"``), or channels and neurons, which are then counted and
            have the mean of their weights' scores; of each layer by itself (``"channel"``), or in all layers that add
            them up (``"coupled"``: residuals, SAGE's two maps). With a channel go its bias and its norm's weights.
        ticket_every: train and evaluate a ticket every so many rounds, and in the last. Rounds in between search and
            prune only, and all results are those of a run that trains each ticket; methods that prune by what the
            ticket's training found need all of them.
        degree_features: a ticket's network reads degree features, and the encodings of a set that has them, as counted
            on the ``"full"`` graphs (the authors), or ``"recomputed"`` on the pruned ones: the control for what they
            still tell of removed edges. Searches read those of the full graphs.
    """

    num_rounds: int = attrs.field(default=20, alias="rounds", validator=validators.count)
    edge_rate: float = attrs.field(default=0.05, validator=validators.rate)
    weight_rate: float = attrs.field(default=0.2, validator=validators.rate)
    scope: Literal["global", "layer"] = "global"
    layer_floor: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.rate))
    unit: UnitName | Unit = attrs.field(default="weight", validator=validators.unit)
    ticket_every: int = attrs.field(default=1, validator=validators.count)
    degree_features: Literal["full", "recomputed"] = "full"

    name = "iterative"

    @abstractmethod
    def search(self, state: RunState, fit: Fit) -> Decision:
        """Decide what the coming round prunes."""

    def trained(self, state: RunState, fit: Fit) -> tuple[State, Epochs]:
        """The network after its last training; before the first one, it is trained here."""
        if state.last is not None:
            return state.last, ()
        dense = self.job(state, state.rewound(), state.masks, "search").run(fit)
        return dense.last, dense.history

    def trained_magnitudes(self, state: RunState, fit: Fit) -> Decision:
        """Weights by their magnitudes after the last training."""
        last, history = self.trained(state, fit)
        return Decision(None, magnitude(weights(last, state.masks), {}, state.masks), history)

    @property
    def last_round(self) -> int:
        """``rounds``."""
        return self.num_rounds

    @property
    def by_ticket(self) -> bool:
        """Whether a search reads what the training of the ticket before it found."""
        return False

    @property
    def prunes_weights(self) -> bool:
        """Unless their rate is 0."""
        return self.weight_rate > 0

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise ValueError where the method cannot prune this model or data set; also if it has no edges to prune."""
        super().supports(model, data)
        if self.edge_rate and not count_prunable_arcs(data.train):
            raise ValueError(f"{data.name} has no edges to prune in its training split; set edge_rate=0")
        if self.ticket_every > 1 and self.by_ticket:
            raise ValueError(f"{self.name} prunes by the weights of the ticket before: it needs ticket_every=1")
        there = isinstance(data, GraphData) and (data.degrees or data.encodings)
        if self.degree_features == "recomputed" and not there:
            raise ValueError(
                f"{data.name} has no degree features and no encodings to recompute; use degree_features='full'"
            )

    def _start(self, model: nn.Module, data: AnyData) -> RunState:
        state = super()._start(model, data)
        if self.prunes_weights:
            self._tightened(state, random(0)({}, {}, state.masks), self.num_rounds)  # what cannot be kept in the end
        return replace(state, edges=replace(state.edges, recounted=self.degree_features == "recomputed"))

    def _tightened(self, state: RunState, scores: Mapping[str, Tensor], number: int) -> MaskSet:
        """The weights that stay after a round."""
        density, unit = (1 - self.weight_rate) ** number, self.unit_in(state.model, state.data)
        floor = self.floor(self.layer_floor, density)
        try:
            return state.masks.tighten(scores, density, scope=self.scope, unit=unit, layer_floor=floor)
        except ValueError as error:
            raise ValueError(f"round {number} of {self.num_rounds}: {error}") from error

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Search and prune, round by round up to the next that has a ticket."""
        state, epochs = self._one_round(state, fit)
        while (state.round + 1) % self.ticket_every and state.round + 1 < self.num_rounds:
            state, more = self._one_round(replace(state, round=state.round + 1), fit)
            epochs += more
        return state, epochs

    def _one_round(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Search, and prune what was found by this round's rates."""
        number = state.round + 1
        found = self.search(state, fit)
        if found.scores is not None:
            state = replace(state, masks=self._tightened(state, found.scores, number))
        if found.scorer is not None or found.known is not None:
            left = self.edge_density(number)
            edge_round = EdgeRound(found.scorer, self.edge_rate, left, known=found.known, graphs=state.graphs)
            state = pruned(state, edge_round)
        return state, found.history

    def training(self, state: RunState) -> FitJob:
        """The training of the coming round's ticket, with degree features as they are to be."""
        job = super().training(state)
        if self.degree_features == "full":
            return job
        data = state.graph_data
        splits = {split: data.recompute_degrees(getattr(job.data, split)) for split in SPLITS}
        return replace(job, data=job.data.with_splits(**splits))

    def _resume(self, model: nn.Module, data: AnyData, after: Ticket) -> RunState:
        state = super()._resume(model, data, after)
        for edge_round in after.edges.rounds:
            state = pruned(state, edge_round)
        return state

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data."""
        settings = super().settings()
        # Tickets from before there was a choice do not say so; runs can go on after them.
        unsaid = {"unit": "weight", "ticket_every": 1}
        if self.protocol.published and self.layer_floor is None:
            settings["layer_floor"] = 0.0
        return {name: value for name, value in settings.items() if unsaid.get(name) != value}

    @property
    def label(self) -> str:
        """The protocol as every output names it."""
        return super().label + (", degrees recomputed" if self.degree_features == "recomputed" else "")

    def edge_density(self, number: int) -> float:
        """Share of the original edges left after a round."""
        return float((1 - self.edge_rate) ** number)
