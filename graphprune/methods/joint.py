"""Model and edge predictor as one module: soft edges while it trains, removed edges when it is evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.graphs import EdgeRule, PackedGraphs, SoftEdges, Stage, drop_arcs, edge_units
from graphprune.graphs.counting import in_chunks
from graphprune.graphs.encoders import node_inputs
from graphprune.graphs.prune import keep_arcs
from graphprune.methods.fit import TrainingDiverged

# Graph attribute that travels with the batches: units of the graph before any pruning.
ORIGINAL_UNITS = "original_units"


class JointNetwork(nn.Module):
    """``f(G, m = g(G))`` of ICPG.

    Args:
        model: the network f.
        predictor: the scorer g.
        stage: rate and density of this round; its scorer is ``predictor``.
        rule: units, counts and budget.
        train_graphs: this round's training graphs; read for the threshold of a global budget.
        predictor_lr: learning rate of the predictor's parameters; None: the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        predictor: nn.Module,
        stage: Stage,
        rule: EdgeRule,
        train_graphs: PackedGraphs,
        predictor_lr: float | None = None,
    ) -> None:
        super().__init__()
        self.model, self.predictor = model, predictor
        self._stage = replace(stage, scorer=predictor)
        # Selection looks at single graphs even where the final pruning reads batch statistics.
        self._rule = replace(rule, scoring="eval")
        self._train_graphs, self._predictor_lr = train_graphs, predictor_lr
        self._threshold: float | None = None

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The model's parameters at ``lr``, the predictor's at their own rate."""
        own = lr if self._predictor_lr is None else self._predictor_lr
        return [
            {"params": list(self.model.parameters()), "lr": lr},
            {"params": list(self.predictor.parameters()), "lr": own},
        ]

    def train(self, mode: bool = True) -> Self:
        """As ever; a threshold over the training graphs is forgotten."""
        self._threshold = None
        return super().train(mode)

    def forward(self, batch: Data) -> Tensor:
        """Logits of shape ``(B, outputs)``."""
        if self.training:
            with SoftEdges(self.model) as soft:
                logits: Tensor = soft(self.gates(batch), batch)
        else:
            logits = self.model(drop_arcs(batch, self._keep(batch)))
        return logits

    def gates(self, batch: Data) -> Tensor:
        """The sigmoid of each unit's mean logit, 1 at self-loops; shape ``(E,)``."""
        _, edge_index = node_inputs(batch)
        units = edge_units(edge_index, int(batch.num_nodes or 0), self._rule.unit)
        gates = units.spread(units.mean(self.predictor(batch)).sigmoid(), 1.0)
        self._check(bool(gates.isfinite().all()))
        return gates

    @staticmethod
    def _check(finite: bool) -> None:
        if not finite:
            raise TrainingDiverged(
                "the edge predictor's scores are not finite; lower its learning rate or check the data"
            )

    @torch.no_grad()
    def _keep(self, batch: Data) -> Tensor:
        original = batch.get(ORIGINAL_UNITS)
        if original is None:
            raise ValueError(f"the graphs have lost their attribute {ORIGINAL_UNITS!r}: evaluate on job.data.val")
        self._check(all(bool(value.isfinite().all()) for value in self.predictor.state_dict().values()))
        stage = self._stage
        if self._rule.budget == "global":
            if self._threshold is None:
                graphs = self._train_graphs.to(original.device)
                total = graphs.graph[ORIGINAL_UNITS]
                _, self._threshold = keep_arcs(in_chunks(graphs, self._rule), stage, self._rule, total)
            stage = replace(stage, threshold=self._threshold)
        return keep_arcs([batch], stage, self._rule, original)[0]
