"""Model and edge predictor as one module: gated edges while it trains, removed edges when it is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.graphs import EdgeRule, PackedGraphs, SoftEdges, Stage, drop_arcs, edge_units
from graphprune.graphs.counting import in_chunks, unit_sizes
from graphprune.graphs.encoders import node_inputs
from graphprune.graphs.prune import keep_arcs
from graphprune.masks.gates import straight_through
from graphprune.methods.fit import TrainingDiverged

# Graph attribute that travels with the batches: units of the graph before any pruning.
ORIGINAL_UNITS = "original_units"

_HALVINGS = 24  # of an interval as wide as the logits' range: what is left of it is below their precision

# From logits of units, (U,), and how many of them compete with each other, (S,) summing to U, to gates, (U,).
UnitGates = Callable[[Tensor, Tensor], Tensor]


def soft_gates(logits: Tensor, sizes: Tensor) -> Tensor:
    """The sigmoid of each logit: every edge stays, weighed by its score (the ICPG authors')."""
    return logits.sigmoid()


@dataclass(frozen=True)
class SampledGates:
    """Each edge is there or not, by chance: Gumbel gates, hard in the forward pass, relaxed in the backward pass.

    The predictor's logits rank edges; how many stay is not theirs to say but the pruning rate's. So the logits of the
    edges that compete are shifted by one number, after which just ``share`` of them stays on average. This number
    follows from the logits, and gradients know that: to raise one edge's logit is to lower its rivals' chances.

    Args:
        share: of each graph's units that stay on average, between 0 and 1.
        temperature: of the backward pass, above 0.
    """

    share: float
    temperature: float

    def __call__(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``."""
        return straight_through(to_share(logits, sizes, self.share), self.temperature)


def to_share(logits: Tensor, sizes: Tensor, share: float) -> Tensor:
    """Shift logits so that the mean of their sigmoids is a given one in every segment.

    Args:
        logits: finite, shape ``(U,)``.
        sizes: of the segments, one behind the other; shape ``(S,)``, summing to U.
        share: the mean of each segment, between 0 and 1.

    Returns:
        Shape ``(U,)``; adding a number to a segment's logits changes nothing, and gradients sum to 0 there.
    """
    if not logits.numel():
        return logits
    wide, wanted = logits.double(), share * sizes.double()
    with torch.no_grad():
        # At one end no sigmoid is below the share, at the other none above it.
        odds = float(torch.tensor(share, dtype=torch.float64).logit(eps=1e-12))
        low, high = ((end - odds).expand(len(sizes)) for end in wide.aminmax())
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            many = _sums((wide - _spread(middle, sizes, wide)).sigmoid(), sizes) > wanted
            low, high = torch.where(many, middle, low), torch.where(many, high, middle)
        shift = (low + high) / 2
        open_ = (wide - _spread(shift, sizes, wide)).sigmoid()
        slope = open_ * (1 - open_)
        total = _sums(slope, sizes).clamp(min=torch.finfo(slope.dtype).tiny)
    # Adds 0, with the gradient of the solution: that of the logits' mean, weighted by the slopes.
    shift = shift + _sums(slope * (wide - wide.detach()), sizes) / total
    return (wide - _spread(shift, sizes, wide)).to(logits.dtype)


def _sums(values: Tensor, sizes: Tensor) -> Tensor:
    """Of each segment; in a fixed order, unlike index_add on a GPU, so that the same draws open the same gates."""
    return torch.segment_reduce(values, "sum", lengths=sizes, unsafe=True)


def _spread(values: Tensor, sizes: Tensor, like: Tensor) -> Tensor:
    """Each segment's value for all of its members."""
    return values.repeat_interleave(sizes, output_size=len(like))


class JointNetwork(nn.Module):
    """``f(G, m = g(G))`` of ICPG.

    Args:
        model: the network f.
        predictor: the scorer g.
        stage: rate and density of this round; its scorer is ``predictor``.
        rule: units, counts and budget.
        train_graphs: this round's training graphs; read for the threshold of a global budget.
        predictor_lr: learning rate of the predictor's parameters; None: the model's.
        unit_gates: what becomes of the predictor's logits in training: :func:`soft_gates` or :class:`SampledGates`.
    """

    def __init__(
        self,
        model: nn.Module,
        predictor: nn.Module,
        stage: Stage,
        rule: EdgeRule,
        train_graphs: PackedGraphs,
        predictor_lr: float | None = None,
        unit_gates: UnitGates = soft_gates,
    ) -> None:
        super().__init__()
        self.model, self.predictor = model, predictor
        self._stage = replace(stage, scorer=predictor)
        # Selection looks at single graphs even where the final pruning reads batch statistics.
        self._rule = replace(rule, scoring="eval")
        self._train_graphs, self._predictor_lr, self._unit_gates = train_graphs, predictor_lr, unit_gates
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
        """Gates of the arcs from each unit's mean logit, 1 at self-loops; shape ``(E,)``. Sampled ones are fresh."""
        _, edge_index = node_inputs(batch)
        units = edge_units(edge_index, int(batch.num_nodes or 0), self._rule.unit)
        logits = units.mean(self.predictor(batch))
        self._check(bool(logits.isfinite().all()))
        sizes = unit_sizes(units, batch)
        if self._rule.budget == "global":
            sizes = sizes.sum()[None]
        return units.spread(self._unit_gates(logits, sizes), 1.0)

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
