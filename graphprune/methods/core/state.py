"""Where a run of an iterative method stands between two rounds, and what a search decides for the next one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from graphprune.data import GraphData, Images
from graphprune.data.labelled import SPLITS, LabelledData, Split
from graphprune.graphs import EdgeRound, PackedGraphs, PruneEdges
from graphprune.graphs.pairs import EDGE_UNIT, EdgeUnit, at_arcs
from graphprune.graphs.rounds import keep_in_round
from graphprune.graphs.rule import in_chunks, prunable_arcs
from graphprune.graphs.scorers import Preparing
from graphprune.masks import MaskSet, rewind_

# Graph attribute that travels with the batches: units of the graph before any pruning.
ORIGINAL_UNITS = "original_units"


@dataclass(frozen=True)
class Decision:
    """What a search decided for the next round.

    Attributes:
        scorer: edge scores; None: no edge of an unseen graph goes.
        scores: a score for each prunable weight; None: no weight goes.
        history: the epochs of the search.
        known: which edges of the training graphs stay, for methods that learn a mask for each of them; see
            :class:`graphprune.graphs.EdgeRound`.
    """

    scorer: nn.Module | None
    scores: Mapping[str, Tensor] | None
    history: tuple[Mapping[str, Any], ...] = ()
    known: Tensor | None = None


@dataclass(frozen=True)
class RunState:
    """What the finished rounds left, and where the next one starts.

    Attributes:
        round: finished rounds.
        model: with the rewind weights.
        masks: weights that are left.
        edges: the finished rounds.
        data: the pruned graphs.
        full: arcs that can be pruned in each full split.
        digest: of the full data set.
        last: weights after the last epoch of the last ticket.
        masked: the full data, if networks are to see pruned edges with a gate of 0 instead of graphs without them;
            unseen graphs, which no mask knows, lose their edges all the same.
        graphs: structure of the full training graphs, for methods that learn a mask for each of their edges.
    """

    round: int
    model: nn.Module
    masks: MaskSet
    edges: PruneEdges
    data: LabelledData[Any]
    full: Mapping[Split, int]
    digest: str
    last: dict[str, Tensor] | None = None
    masked: GraphData | None = None
    graphs: str = ""

    @property
    def graph_data(self) -> GraphData:
        """The pruned graphs, for methods that prune edges.

        Raises:
            TypeError: the data are images.
        """
        if not isinstance(self.data, GraphData):
            raise TypeError(f"{self.data.name} holds images, which have no edges")
        return self.data

    @property
    def seen(self) -> LabelledData[Any]:
        """The data as networks see them: the pruned ones, or full graphs whose pruned edges have a gate of 0."""
        return self.data if self.masked is None else self._gated(self.masked)

    def rewound(self) -> nn.Module:
        """A copy of the model at its rewind weights, pruned ones at zero."""
        model = copy.deepcopy(self.model)
        rewind_(model, self.model.state_dict(), self.masks)
        return model

    def _gated(self, full: GraphData) -> GraphData:
        """Full graphs, with a gate of 0 at the arcs that the rounds' masks have pruned; unseen graphs as pruned."""
        if not self.edges.rounds:
            return full
        splits, known = {}, self.edges.rounds[-1].known
        assert known is not None
        for split in SPLITS:
            graphs: PackedGraphs = getattr(full, split)
            if EDGE_UNIT in graphs.edge:
                splits[split] = graphs.with_edge(edge_gate=at_arcs(known.float(), graphs.edge[EDGE_UNIT], 1.0))
        return self.graph_data.with_splits(**splits)


def count_prunable_arcs(samples: PackedGraphs | Images, unit: EdgeUnit = "pair") -> int:
    """Arcs that are neither self-loops nor protected. Images have none."""
    return 0 if isinstance(samples, Images) else int(prunable_arcs(samples, unit).sum())


def weights(state: Mapping[str, Tensor], masks: MaskSet, prefix: str = "") -> dict[str, Tensor]:
    """The prunable tensors of a state dict."""
    return {name: state[prefix + name] for name in masks}


def pruned(state: RunState, edge_round: EdgeRound) -> RunState:
    """Prune all splits by one more round; the training graphs come first, a global budget is counted there."""
    rule, splits, preparing = state.edges.rule, dict[str, PackedGraphs](), Preparing()
    edge_round = replace(
        edge_round, threshold=None
    )  # of a finished round: ties are to be counted out again, as they were
    for split in SPLITS:
        graphs: PackedGraphs = getattr(state.data, split)
        # The splits of a transductive set are one graph, of which a threshold alone would keep other ties.
        if not (splits and state.graph_data.transductive):
            numbers, original = graphs.edge.get(EDGE_UNIT), graphs.graph[ORIGINAL_UNITS]
            keep, lowest = keep_in_round(
                in_chunks(graphs, rule), numbers, graphs.edge_index, edge_round, rule, original, preparing
            )
            edge_round = replace(edge_round, threshold=lowest)
        splits[split] = graphs.keep_edges(keep)
    edges = replace(state.edges, rounds=(*state.edges.rounds, edge_round))
    return replace(state, edges=edges, data=state.data.with_splits(**splits))
