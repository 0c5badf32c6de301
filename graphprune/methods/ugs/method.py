"""UGS: trained masks on weights and on the edges of the training graphs, the smallest of which go, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import attrs
import torch
from torch import Tensor, nn

from graphprune.data.labelled import SPLITS
from graphprune.graphs import EdgeRound, RandomEdges, check_removal, supports
from graphprune.graphs.pairs import EDGE_UNIT
from graphprune.graphs.prune import keep_arcs
from graphprune.graphs.rule import in_chunks, number_units, structure_digest
from graphprune.methods.core import validators
from graphprune.methods.core.fit import AnyData, Fit, derive_seed
from graphprune.methods.core.iterative import IterativeMethod
from graphprune.methods.core.protocol import CLEAN, UGS_PAPER, Protocol, protocol
from graphprune.methods.core.state import ORIGINAL_UNITS, Decision, RunState
from graphprune.methods.ugs.masks import SoftMasked, soft_start
from graphprune.methods.ugs.store import EdgeStore, StoredScores

Unseen = Literal["dense", "random", "weights-only"]
# In words, as the options say it and as results do.
UNSEEN = {"dense": "dense test graphs", "random": "random test graphs", "weights-only": "weights only"}
UNSEEN["none"] = UNSEEN["weights-only"]


def _protocol(value: Protocol | str) -> Protocol:
    return protocol(value, UGS_PAPER)


@attrs.frozen(kw_only=True)
class UGS(IterativeMethod):
    """UGS (Chen et al., "A Unified Lottery Ticket Hypothesis for Graph Neural Networks", ICML 2021).

    A round: rewind the network; train it with a soft mask on each weight and on each edge of the training graphs, under
    L1 penalties of the masks; at the best validation epoch remove the edges and, over all layers, the weights of the
    smallest masks; rewind and train the sparse ticket. An edge's mask is a parameter of that edge, shared by all
    layers, so there is none for graphs that were not trained on: ``unseen`` says what becomes of them.

    On one graph whose nodes are classified (a transductive data set) this is the published method. On data sets of many
    graphs it is the natural extension: one value for each edge of the training set in a flat store (16 bytes each)
    whose optimiser touches the edges of a batch only. Arguments that are not named here: see :class:`IterativeMethod`.

    Args:
        rounds: of search and ticket training (authors: 20).
        edge_rate: share of the remaining edges that goes each round (authors: 0.05).
        weight_rate: share of the remaining weights that goes each round (authors: 0.2).
        unseen: validation, test and other unseen graphs stay ``"dense"``, or lose as large a share of ``"random"``
            edges; ``"weights-only"``: no edge is pruned at all, in training graphs either. Transductive data sets have
            no unseen graphs.
        edge_l1: weight of the L1 penalty of the edge masks (authors: 1e-2 on Cora and Citeseer with GCN).
        weight_l1: the same of the weight masks (authors: 1e-2 there).
        noise: masks start at 1 give or take this much (authors: 1e-5), which breaks ties.
        protocol: ``"paper"`` here means the UGS authors' code: arcs pruned one by one under one threshold, and pruned
            edges that stay in the graph with a gate of 0, which is no removal in GAT and in GIN with a mean. Take the
            authors' networks with it: the models ``ugs-gcn``, ``ugs-gat`` and ``ugs-gin``. See also
            :class:`~graphprune.methods.Protocol`.

    Raises:
        ValueError: a rate outside [0, 1), fewer than one round, a negative penalty, an unknown word.
    """

    protocol: Protocol = attrs.field(default=CLEAN, converter=_protocol)
    unseen: Unseen = attrs.field(default="dense", validator=validators.one_of(*get_args(Unseen)))
    edge_l1: float = attrs.field(default=1e-2, validator=validators.penalty)
    weight_l1: float = attrs.field(default=1e-2, validator=validators.penalty)
    noise: float = attrs.field(default=1e-5, validator=validators.rate)

    name = "ugs"
    soft_edges = True
    gates_pruned = True

    @classmethod
    def variant(cls, options: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """What becomes of unseen graphs; nothing is unseen where the test nodes lie in the graph of the training."""
        unseen = options.get("unseen") if options else row["unseen"]
        if unseen == "dense" and row["edge_sparsity_test"] > 0:
            return ""
        return UNSEEN.get(str(unseen), str(unseen or ""))

    @property
    def _masks_edges(self) -> bool:
        return bool(self.edge_rate) and self.unseen != "weights-only"

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where a gate of 0 is no removal in the model, or there is nothing to prune."""
        super().supports(model, data)
        if self._masks_edges:
            # What stays in the graphs with a gate of 0 is no removal in the authors' GAT and GIN, and is not to be.
            supports(model) if self.protocol.pruned == "gated" else check_removal(model, data)
        if self.protocol.pruned == "gated" and not getattr(model, "reads_edge_gate", False):
            raise ValueError(
                f"protocol='paper' of UGS leaves pruned edges in the graphs as data.edge_gate, which "
                f"{type(model).__name__} does not read; take one of graphprune.models, or protocol='clean'"
            )
        if self.protocol.pruned == "gated" and self.degree_features == "recomputed":
            raise ValueError("degree_features='recomputed' needs removed edges, not protocol='paper' of UGS")

    def _start(self, model: nn.Module, data: AnyData) -> RunState:
        state: RunState = super()._start(model, data)
        if not self._masks_edges:
            return state
        known = SPLITS if state.graph_data.transductive else SPLITS[:1]
        unit = self.protocol.rule.unit
        splits = {split: number_units(state.graph_data.splits[split], unit) for split in known}
        numbered = state.graph_data.with_splits(**splits)
        masked = numbered if self.protocol.pruned == "gated" else None
        train = data.train
        graphs = structure_digest(train.node_count, train.edge_count, train.edge_index)
        return replace(state, data=numbered, masked=masked, graphs=graphs)

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Train the masks with the weights; weights and edges of the smallest go."""
        number = state.round + 1
        names = list(state.masks)
        kept = soft_start([state.masks[name] for name in names], self.noise, derive_seed(self.seed, number, "weights"))
        store = EdgeStore(self._edge_start(state), self.edge_l1) if self._masks_edges else None
        network = SoftMasked(state.rewound(), dict(zip(names, kept, strict=True)), self.weight_l1, store)
        job = self.job(state, network, state.masks.prefixed("model."), "search")
        result = job.run(fit)
        if store is not None and not store.trained:
            raise ValueError("the search has trained no edge mask: the training has to use job.attach(optimizer)")
        scores = network.weight_scores(result.best) if self.weight_rate else None
        known = None if store is None else self._known(state, result.best["edges.value"].abs())
        return Decision(self._of_unseen_graphs(number), scores, result.history, known)

    def _edge_start(self, state: RunState) -> Tensor:
        """Initial masks of all units of the training graphs; 0 for those that are gone."""
        if state.edges.rounds:
            left = state.edges.rounds[-1].known
            assert left is not None
        else:
            left = torch.ones(int(state.data.train.graph[ORIGINAL_UNITS].sum()), dtype=torch.bool)
        return soft_start([left], self.noise, derive_seed(self.seed, state.round + 1, "edges"))[0]

    def _known(self, state: RunState, values: Tensor) -> Tensor:
        """Which units of the training graphs stay, by the size of their masks."""
        graphs, rule, number = state.data.train, self.protocol.rule, state.round + 1
        edge_round = EdgeRound(StoredScores(values), self.edge_rate, self.edge_density(number))
        keep = keep_arcs(in_chunks(graphs, rule), edge_round, rule, graphs.graph[ORIGINAL_UNITS]).arcs
        units = graphs.edge[EDGE_UNIT][keep].cpu()
        known = torch.zeros(values.numel(), dtype=torch.bool)
        known[units[units >= 0]] = True
        return known

    def _of_unseen_graphs(self, number: int) -> nn.Module | None:
        if self._masks_edges and self.unseen == "random":
            return RandomEdges(derive_seed(self.seed, number, "unseen"), self.protocol.rule.unit)
        return None
