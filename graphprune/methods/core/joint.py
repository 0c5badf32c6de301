"""Model and edge predictor as one module: gated edges while it trains, removed edges when it is evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch_geometric.data import Data

from graphprune.data import GraphData
from graphprune.graphs import EdgePredictor, EdgeRound, EdgeRule, PackedGraphs, SoftEdges, drop_arcs
from graphprune.graphs.pairs import arcs_and_nodes, graph_units
from graphprune.graphs.prune import keep_arcs, units_to_keep
from graphprune.graphs.required import required_units
from graphprune.graphs.rule import in_chunks, unit_sizes
from graphprune.graphs.scorers import Preparing, checked_scores, given_to, own_dtype
from graphprune.graphs.walks import RETURN_WALKS, WALKED, counted_walks
from graphprune.masks.attach import nested_optimizers, not_owned
from graphprune.masks.networks import TrainingDiverged
from graphprune.methods.core.edge_gates import RemovingGates, UnitGates, soft_gates
from graphprune.methods.core.fit import AnyData, State
from graphprune.methods.core.prepare import check_encodings
from graphprune.methods.core.state import ORIGINAL_UNITS

_MOST_WALKED = 1 << 27  # numbers of walk features in memory, 512 MiB; larger sets are walked batch by batch


def check_predictor(predictor: nn.Module | None, data: AnyData) -> None:
    """Make sure that a predictor can score these graphs.

    Raises:
        ValueError: images, no module, or a predictor of other features.
    """
    if not isinstance(data, GraphData):
        raise ValueError(f"{data.name} is a set of images: they have no edges that a predictor could score")
    if not isinstance(predictor, nn.Module):
        raise ValueError(f"predictor must be a module, such as EdgePredictor.for_data(data), got {predictor!r}")
    reads = predictor.config() if isinstance(predictor, EdgePredictor) else {}
    check_encodings(predictor, data)
    for name in ("features", "edge_features"):
        if name in reads and reads[name] != getattr(data, name):
            edges = ", edges=True" * (data.edge_features is not None and "edge_features" in reads)
            raise ValueError(
                f"the predictor reads {name}={reads[name]!r}, those of {data.name} are {getattr(data, name)!r}: make "
                f"it by EdgePredictor.for_data(data{edges})"
            )


def with_walks(data: GraphData, predictor: nn.Module) -> GraphData:
    """Graphs that bring along what a predictor reads of their walks: counted once a training, not each epoch.

    After the training nothing has it. Where an edge is gone, by a loop's own hand too, walks are counted again.
    """
    steps = predictor.walks if isinstance(predictor, EdgePredictor) else 0
    if not steps or steps * sum(graphs.num_nodes for graphs in data.splits.values()) > _MOST_WALKED:
        return data
    splits = {}
    for split, graphs in data.splits.items():
        parts = [counted_walks(batch, steps) for batch in in_chunks(graphs, EdgeRule())]
        if parts:
            walks, walked = (torch.cat([part[name] for part in parts]) for name in (RETURN_WALKS, WALKED))
            graphs = graphs.with_node(**{RETURN_WALKS: walks}).with_graph(**{WALKED: walked})
        splits[split] = graphs
    return data.with_splits(**splits)


class JointNetwork(nn.Module):
    """``f(G, m = g(G))`` of ICPG.

    Args:
        model: the network f.
        predictor: the scorer g.
        edge_round: rate and density of this round; its scorer is ``predictor``.
        rule: units, counts and budget.
        train_graphs: this round's training graphs; read for the threshold of a global budget.
        predictor_lr: learning rate of the predictor's parameters; None: the model's.
        unit_gates: what becomes of the predictor's logits in training: :func:`soft_gates`, sampled or
            highest ones.
        frozen: the network is trained already: only the predictor learns, and norms and dropout are as in evaluation.
    """

    def __init__(
        self,
        model: nn.Module,
        predictor: nn.Module,
        edge_round: EdgeRound,
        rule: EdgeRule,
        train_graphs: PackedGraphs,
        predictor_lr: float | None = None,
        unit_gates: UnitGates = soft_gates,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.predictor = model, predictor
        self._frozen = frozen
        if frozen:
            model.requires_grad_(False)
        self._edge_round = replace(edge_round, scorer=predictor)
        # Selection looks at single graphs even where the final pruning reads batch statistics.
        self._rule = replace(rule, scoring="eval")
        self._train_graphs, self._predictor_lr, self._unit_gates = train_graphs, predictor_lr, unit_gates
        self._threshold: float | None = None
        self._prepared = Preparing()

    def follow(self, optimizer: Optimizer) -> None:
        """Make sure that an optimiser trains the predictor, too.

        Raises:
            ValueError: it does not own some of its parameters.
        """
        trained = {name: value for name, value in self.predictor.named_parameters() if value.requires_grad}
        if missing := min((not_owned(each, trained) for each in nested_optimizers(optimizer)), key=len):
            raise ValueError(
                f"the optimizer does not own the edge predictor's {missing}, whose scores would mean nothing: give it "
                "job.param_groups(lr), or all of job.model.parameters()"
            )

    def trained_predictor(self, state: State) -> nn.Module:
        """The predictor with the weights that it has in a state of this module."""
        prefix = "predictor."
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        self.predictor.load_state_dict(own)
        return self.predictor

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The model's parameters at ``lr``, the predictor's at their own rate."""
        own = lr if self._predictor_lr is None else self._predictor_lr
        return [
            {"params": list(self.model.parameters()), "lr": lr},
            {"params": list(self.predictor.parameters()), "lr": own},
        ]

    def train(self, mode: bool = True) -> Self:
        """As ever; a threshold over the training graphs is forgotten, and a prepared predictor."""
        self._threshold, self._prepared = None, Preparing()
        super().train(mode)
        if self._frozen:
            self.model.eval()
        return self

    def forward(self, batch: Data) -> Tensor:
        """Logits of shape ``(B, outputs)``."""
        if self.training:
            with SoftEdges(self.model) as soft:
                logits: Tensor = soft(self.gates(batch), batch)
        else:
            logits = self.model(drop_arcs(batch, self._keep(batch)))
        return logits

    def gates(self, batch: Data) -> Tensor:
        """Gates of the arcs from each unit's mean logit, 1 at those in none; shape ``(E,)``. Sampled ones are fresh."""
        units = graph_units(batch, self._rule.unit)
        dtype = own_dtype(self.predictor)
        scores = self.predictor(given_to(self.predictor, batch, dtype))
        logits = units.mean(checked_scores(self.predictor, scores, batch.num_edges))
        if dtype == torch.float64 != own_dtype(self.model):  # which could not add up what such gates make of messages
            logits = logits.float()
        self._check(bool(logits.isfinite().all()))
        whole, sizes = self._rule.budget == "global", unit_sizes(units, batch)
        if whole:
            sizes = sizes.sum()[None]

        def staying() -> Tensor:
            original = self._original(batch)
            return units_to_keep(self._edge_round, self._rule, original.sum()[None] if whole else original, sizes)

        if self._rule.constrained and isinstance(self._unit_gates, RemovingGates):
            required = required_units(units, logits.detach(), *arcs_and_nodes(batch), self._rule)
            return units.at_arcs(self._unit_gates(logits, sizes, staying, required), 1.0)
        return units.at_arcs(self._unit_gates(logits, sizes, staying), 1.0)

    @staticmethod
    def _check(finite: bool) -> None:
        if not finite:
            raise TrainingDiverged(
                "the edge predictor's scores are not finite; lower its learning rate or check the data"
            )

    @staticmethod
    def _original(batch: Data) -> Tensor:
        """Units of each graph before any pruning."""
        original: Tensor | None = batch.get(ORIGINAL_UNITS)
        if original is None:
            raise ValueError(f"the graphs have lost their attribute {ORIGINAL_UNITS!r}: take them from job.data")
        return original

    @torch.no_grad()
    def _keep(self, batch: Data) -> Tensor:
        original = self._original(batch)
        self._check(all(bool(value.isfinite().all()) for value in self.predictor.state_dict().values()))
        edge_round = self._edge_round
        if self._rule.budget == "global":
            if self._threshold is None:
                graphs = self._train_graphs.to(original.device)
                total = graphs.graph[ORIGINAL_UNITS]
                found = keep_arcs(in_chunks(graphs, self._rule), edge_round, self._rule, total)
                self._threshold = found.threshold
            edge_round = replace(edge_round, threshold=self._threshold)
        return keep_arcs([batch], edge_round, self._rule, original, self._prepared(self.predictor, self._rule)).arcs
