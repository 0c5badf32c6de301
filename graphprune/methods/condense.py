"""Condensing: the rounds of a ticket become one small edge scorer, which the network goes on training with."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphprune.data import GraphData
from graphprune.graphs import EdgeMask, PackedGraphs
from graphprune.graphs.pairs import graph_units
from graphprune.graphs.rule import prunable_arcs, unit_sizes
from graphprune.graphs.scorers import given_to, own_dtype
from graphprune.methods.core import validators
from graphprune.methods.core.by_density import ByDensity, Trained
from graphprune.methods.core.edge_gates import TopGates, to_share
from graphprune.methods.core.fit import AnyData, Fit, derive_seed, random_state_kept
from graphprune.methods.core.joint import with_walks
from graphprune.methods.core.method import Epochs
from graphprune.methods.core.stable_repr import predictor_settings
from graphprune.methods.core.state import RunState
from graphprune.ticket import Ticket

_BATCH = 128  # training graphs a step of the imitation


@attrs.frozen(kw_only=True)
class Condense(ByDensity):
    """Condensing a ticket: one small edge scorer leaves as many edges as all of its rounds did.

    A large predictor, or the r predictors of an r-round ticket, cost more than the network that they save work for. The
    small one learns in two steps, from the training graphs: first from the ticket's edges alone (cross-entropy of gates
    whose mean is the ticket's density, so that only the order of a graph's edges counts), then together with the
    ticket's network, whose masks stay, in the training that it is given: the lowest edges are removed in each forward
    pass, gradients are straight-through, as in :class:`GICP`. Validation selects. Without the second step a scorer that
    mistakes a quarter of the edges costs several points.

    The one ticket's row says ``agreement_val`` and ``agreement_test``: of the edges that the condensed ticket left, how
    many are still there.

    Args:
        ticket: of any method that prunes unseen graphs, on the data that it was trained on.
        predictor: the small scorer with its initial weights, for example
            ``EdgePredictor.for_data(data, hidden=16, layers=1, encoder="mlp", score="bilinear")``.
        imitation_epochs: over the training graphs, in the first step.
        imitation_lr: learning rate there (Adam).
        temperature: of the gates' gradients in the second step, above 0.
        predictor_lr: learning rate of the scorer in the second step; None: the network's.

    Raises:
        ValueError: no predictor, or (when run) a ticket that prunes no unseen graphs, or of other data.
        TypeError: no ticket.
    """

    ticket: Ticket
    imitation_epochs: int = attrs.field(default=20, validator=validators.count)
    imitation_lr: float = attrs.field(default=0.01, validator=validators.positive)

    name: ClassVar[str] = "condense"

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not isinstance(self.ticket, Ticket):
            raise TypeError(f"ticket must be a Ticket, from rounds() or Ticket.load(path), got {self.ticket!r}"[:200])
        if not self.ticket.edges.rounds or self.ticket.edges.rounds[-1].scorer is None:
            raise ValueError(f"this ticket of {self.ticket.method} prunes no unseen graphs: nothing to condense")

    @property
    def prunes_weights(self) -> bool:
        """The ticket has done it."""
        return False

    @property
    def density(self) -> float:
        """Share of the edges that the ticket leaves."""
        return self.ticket.edges.rounds[-1].density

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where the ticket is of other data or another network, or gates cannot be trained in it."""
        super().supports(model, data)
        assert isinstance(data, GraphData)
        self.ticket.check_data(data)

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Both steps; then the graphs as the small scorer prunes them."""
        assert isinstance(state, Trained)
        scorer, full = copy.deepcopy(self.predictor), state.graph_data
        assert scorer is not None
        self._imitate(scorer, full)
        network = self.ticket.build(state.model)
        gates = TopGates(self.density, self.temperature)
        state, epochs = self._learned(state, network, scorer, self.density, gates, self.ticket.masks, fit)
        return self._thinned(state, self.density), epochs

    def _measured(self, state: RunState, history: Epochs, started: Any) -> Ticket:
        ticket = super()._measured(state, history, started)
        assert isinstance(state, Trained)
        splits = {split: state.full_data.splits[split] for split in ("val", "test")}
        agree = {
            f"agreement_{split}": agreement(self.ticket.edge_mask(graphs), ticket.edge_mask(graphs), graphs)
            for split, graphs in splits.items()
        }
        return replace(ticket, row=ticket.row | agree)

    def _imitate(self, scorer: nn.Module, data: GraphData) -> None:
        """Teach a scorer in place the order of the edges that the ticket's selection tells of."""
        graphs = with_walks(data, scorer).train
        graphs = graphs.with_edge(graphprune_edge_kept=self.ticket.edge_mask(data.train).keep)
        optimizer, dtype = torch.optim.Adam(scorer.parameters(), lr=self.imitation_lr), own_dtype(scorer)
        order = torch.Generator().manual_seed(derive_seed(self.seed, "imitation"))
        device = next(scorer.parameters()).device
        scorer.train()
        with random_state_kept():
            torch.manual_seed(derive_seed(self.seed, "imitation, dropout"))
            for _ in range(self.imitation_epochs):
                for batch in graphs.loader(_BATCH, shuffle=True, generator=order):
                    batch = batch.to(device)
                    units = graph_units(batch, self.protocol.rule.unit)
                    logits = units.mean(scorer(given_to(scorer, batch, dtype)))
                    gates = to_share(logits, unit_sizes(units, batch), self.density)
                    loss = functional.binary_cross_entropy_with_logits(gates, _of_units(batch, units.first))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        scorer.eval()

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, ticket and predictor by what they are."""
        told = f"{self.ticket.method} round {self.ticket.round}: {self.ticket.edges}"
        return super().settings() | {"predictor": predictor_settings(self.predictor), "ticket": told}


def _of_units(batch: Any, first: Tensor) -> Tensor:
    kept: Tensor = batch.graphprune_edge_kept
    return kept[first].float()


def agreement(one: EdgeMask, other: EdgeMask, graphs: PackedGraphs) -> float:
    """Of the arcs that one mask keeps and that can be pruned, the share that the other keeps; 1 of none."""
    kept = one.keep & prunable_arcs(graphs, "pair")
    return float((other.keep & kept).sum() / kept.sum()) if bool(kept.any()) else 1.0
