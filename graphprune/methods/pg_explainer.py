"""PGExplainer: an edge predictor that explains a trained network, and what it finds needless goes."""

from __future__ import annotations

from dataclasses import replace

import attrs
import torch
from torch import Tensor, nn

from graphprune.data import GraphData
from graphprune.data.evaluation import predict
from graphprune.data.labelled import IGNORE_INDEX
from graphprune.graphs.rule import original_units
from graphprune.masks import magnitude
from graphprune.methods.core import validators
from graphprune.methods.core.edge_gates import ConcreteGates, UnitGates, entropy
from graphprune.methods.core.fit import AnyData, Fit
from graphprune.methods.core.learned import LearnedEdges
from graphprune.methods.core.state import Decision, RunState, count_prunable_arcs, weights

_MARGIN = 0.01  # of the noise, as PyG's "bias"


@attrs.frozen(kw_only=True)
class PGExplainer(LearnedEdges):
    """Edges by an explainer of the trained network (PGExplainer-like: after Luo et al., NeurIPS 2020).

    "Parameterized Explainer for Graph Neural Network" explains the predictions of a network; here what explains
    nothing is pruned.

    A round: take the network as the ticket before left it (in the first round the dense network is trained); freeze it,
    and train the edge predictor so that the network on weighed edges says what it says on all of them, with few edges
    and decided weights; remove the edges of lowest score, by the predictor of the best validation epoch, and the
    network's smallest weights, as :class:`IMP` does; rewind and train the ticket.

    Loss, noise and temperatures are the paper's, with PyG's numbers. The predictor reads the graph instead of the
    network's node vectors, so that a ticket prunes unseen graphs without that network; rounds, removal and one draw for
    both arcs of an edge are not the paper's either (docs/learned-edges.md). Arguments that are not named here: see
    :class:`IterativeMethod`.

    Args:
        predictor: the edge predictor with its initial weights; needed unless ``edge_rate`` is 0.
        predictor_lr: its learning rate; None: that of the network's training (PyG: 0.003).
        size: weight of the sum of the weights of a graph's arcs, on average over the training graphs (PyG: 0.05).
        entropy: weight of their mean entropy (PyG: 1).
        temperature_start: of the samples in the first epoch, above 0 (PyG: 5).
        temperature_end: to which it falls, by the same factor each epoch (PyG: 2).
        temperature_epochs: in so many epochs (PyG: those of its training, 30 in its example).

    Raises:
        ValueError: a number outside its range, no predictor where one is needed, or (when run) degree features that
            are counted again: the explained network and the predictor would not see the same graphs.
        RuntimeError: (in training) float16 autocast.
    """

    size: float = attrs.field(default=0.05, validator=validators.penalty)
    entropy: float = attrs.field(default=1.0, validator=validators.penalty)
    temperature_start: float = attrs.field(default=5.0, validator=validators.positive)
    temperature_end: float = attrs.field(default=2.0, validator=validators.positive)
    temperature_epochs: int = attrs.field(default=30, validator=validators.count)

    name = "pg-explainer"
    by_ticket = True

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where a gate of 0 is no removal in the model, or there is nothing to prune."""
        super().supports(model, data)
        if self.learns_edges and self.degree_features == "recomputed":
            raise ValueError(f"{self.name} explains networks on the graphs as they are: use degree_features='full'")

    def temperature_at(self, epoch: int) -> float:
        """After so many epochs."""
        share = min(epoch / self.temperature_epochs, 1.0)
        return float(self.temperature_start * (self.temperature_end / self.temperature_start) ** share)

    def gates(self, state: RunState) -> UnitGates:
        """Samples of the weights, under the price of their sum and entropy."""
        train, rule = state.graph_data.train, self.protocol.rule
        price = self.size * count_prunable_arcs(train, rule.unit) / len(train)

        def loss(logits: Tensor, epoch: int) -> Tensor:
            return price * logits.sigmoid().mean() + self.entropy * entropy(logits)

        return ConcreteGates(self.temperature_at, loss, int(original_units(train, rule).sum()), _MARGIN)

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Train the predictor for the network that there is; score edges by it, weights by magnitude."""
        last, history = self.trained(state, fit)
        scores = magnitude(weights(last, state.masks), {}, state.masks) if self.weight_rate else None
        if not self.learns_edges:
            return Decision(None, scores, history)
        model = state.rewound()
        model.load_state_dict(last)
        explained = replace(state, data=by_predictions(state.graph_data, model))
        scorer, result = self.predictor_for(explained, model, fit, frozen=True)
        return Decision(scorer, scores, history + result.history)


def by_predictions(data: GraphData, model: nn.Module) -> GraphData:
    """The data with what a network says of the training graphs in place of all labels that are known there.

    Classes are the most likely ones, of binary labels the likelier one, values of a regression as they are.
    """
    train, labels = data.train, data.labels(data.train)
    out = predict(model, train).to(labels.device)
    if data.task == "sequence":
        return data.with_splits(train=train.with_graph(y=out.unflatten(1, (data.num_tasks, -1)).argmax(2)))
    if data.task == "multiclass":
        own, known = out.argmax(1), labels != IGNORE_INDEX
    else:
        own, known = (out > 0) if data.task == "binary" else out, ~labels.isnan()
    y = torch.where(known, own.to(labels.dtype), labels)
    return data.with_splits(train=train.with_node(y=y) if data.level == "node" else train.with_graph(y=y))
