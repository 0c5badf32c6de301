"""From edge scores to removed edges: the rounds of a ticket, applied one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from graphprune.graphs.attributes import check_graph, in_dtype
from graphprune.graphs.edges import EdgeMask, drop_arcs
from graphprune.graphs.flatten import check_edge_index, check_edge_weight
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import EDGE_UNIT, Units, arcs_and_nodes, arcs_of, at_arcs, graph_units, protected_arcs
from graphprune.graphs.rule import (
    EdgeRule,
    in_chunks,
    number_units,
    original_units,
    structure_digest,
    unit_counts,
    unit_sizes,
)
from graphprune.graphs.scorers import own_dtype, prepared
from graphprune.graphs.segments import pointers
from graphprune.masks import keep_top


@dataclass(frozen=True)
class EdgeRound:
    """One round's removal.

    Attributes:
        scorer: batch -> one score an arc, shape ``(E,)``; the lowest go. None: unseen graphs stay as they are.
        rate: share of what is left that goes.
        density: share of the original units left after this round.
        threshold: global budget only: the lowest score kept on the training graphs.
        known: which units of the training graphs are left, bool of shape ``(U,)``, for methods that learn a mask for
            each edge that they trained on. It prunes these graphs.
        graphs: :func:`structure_digest` of the training graphs, by which they are recognised.
    """

    scorer: nn.Module | None
    rate: float
    density: float
    threshold: float | None = None
    known: Tensor | None = None
    graphs: str = ""


@dataclass(frozen=True)
class _Scored:
    units: Units
    score: Tensor  # (U,) float32
    size: Tensor  # units a graph, (G,)


def score_arcs(scorer: nn.Module, data: Data) -> Tensor:
    """Scores of all arcs as they decide over removal before pairing: eval mode, no gradient; shape ``(E,)``, float64.

    What a kernel's blocking adds or takes in the last bits of a score differs between batches, and would let
    batch-mates decide between (nearly) equal edges. So a scorer that says ``follows_dtype = True``, as
    :class:`EdgePredictor` does, computes in double precision. Any other is called in the dtype of its parameters, with
    real numbers of that dtype, for each graph of a batch by itself (without parameters: in double precision, for the
    whole batch).

    Raises:
        ValueError: no ``edge_index``, edge weights that are negative or no numbers, or scores of another shape.
        TypeError: something that is no ``Data``, or edge weights that are not float.
    """
    check_graph(data)
    _check_edges(data)
    with torch.no_grad():
        return _apply(prepared(scorer, EdgeRule()), data)


def keep_in_round(
    batches: Iterable[Data], numbers: Tensor | None, arcs: int, edge_round: EdgeRound, rule: EdgeRule, original: Tensor
) -> tuple[Tensor, float | None]:
    """Which arcs stay after a round: by its mask on graphs that it knows, else by its scores.

    Args:
        batches: the graphs, in batches, in order.
        numbers: their edge attribute ``edge_unit``; None: unseen graphs.
        arcs: how many there are.
        edge_round: that prunes.
        rule: how units are made and counted.
        original: units of each graph before any pruning, shape ``(G,)``.

    Returns:
        As :func:`keep_arcs`.

    Raises:
        ValueError: scores that are not numbers, or graphs with more units than the round knows.
    """
    if edge_round.known is not None and numbers is not None:
        if numbers.numel() and int(numbers.max()) >= edge_round.known.numel():
            raise ValueError(
                f"the graphs have more edges than the {edge_round.known.numel()} that the masks were learnt for"
            )
        threshold = edge_round.threshold
        if rule.budget == "global" and threshold is None and edge_round.scorer is not None:  # for graphs yet unseen
            _, threshold = keep_arcs(batches, edge_round, rule, original)
        return at_arcs(edge_round.known.to(numbers.device), numbers, True), threshold
    if edge_round.scorer is None:
        return torch.ones(arcs, dtype=torch.bool, device=original.device), None
    return keep_arcs(batches, edge_round, rule, original)


def keep_arcs(
    batches: Iterable[Data], edge_round: EdgeRound, rule: EdgeRule, original: Tensor
) -> tuple[Tensor, float | None]:
    """Which arcs stay after one round.

    Args:
        batches: the graphs, in batches, in order.
        edge_round: whose scorer and rate.
        rule: how units are made and counted.
        original: units of each graph before any pruning, shape ``(G,)``.

    Returns:
        Bool of shape ``(E,)`` over all batches' arcs, and the lowest score kept (global budget only).

    Raises:
        ValueError: scores that are not numbers.
    """
    assert edge_round.scorer is not None
    scorer = prepared(edge_round.scorer, rule)
    if rule.budget == "global" and edge_round.threshold is None:
        return _keep_of_all(scorer, batches, edge_round, rule, original)
    pieces, first = list[Tensor](), 0
    for batch in batches:  # no graph competes with another: of each only what stays is remembered, a byte an arc
        part = _scored(scorer, batch, rule, first)
        if edge_round.threshold is not None:
            keep = part.score >= edge_round.threshold
        else:
            units = original[first : first + len(part.size)].to(part.score.device)
            keep = keep_top(part.score, pointers(part.size), units_to_keep(edge_round, rule, units, part.size))
        pieces.append(part.units.at_arcs(keep, True))
        first += len(part.size)
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.bool), edge_round.threshold


def _keep_of_all(
    scorer: nn.Module, batches: Iterable[Data], edge_round: EdgeRound, rule: EdgeRule, original: Tensor
) -> tuple[Tensor, float | None]:
    """As :func:`keep_arcs`, the edges of all graphs competing with each other: all scores in memory at once."""
    parts, first = list[_Scored](), 0
    for batch in batches:
        parts.append(_scored(scorer, batch, rule, first))
        first += len(parts[-1].size)
    if not parts:
        return torch.zeros(0, dtype=torch.bool), None
    score = torch.cat([part.score for part in parts])
    original, size = original.to(score.device).sum(0, keepdim=True), torch.cat([part.size for part in parts])
    keep = keep_top(score, None, units_to_keep(edge_round, rule, original, size.sum(0, keepdim=True)))
    lowest = float(score[keep].min()) if bool(keep.any()) else float("inf")
    pieces = keep.split([part.score.numel() for part in parts])
    return torch.cat([part.units.at_arcs(piece, True) for part, piece in zip(parts, pieces, strict=True)]), lowest


def units_to_keep(edge_round: EdgeRound, rule: EdgeRule, original: Tensor, left: Tensor) -> Tensor:
    """How many units of each graph stay after a round, of those that are left and of the original ones."""
    if rule.count == "floor":
        return left - (left.double() * edge_round.rate).floor().long()
    # torch.round is Python's round: halves go to the even number.
    return torch.minimum((original.double() * edge_round.density).round().long(), left)


@torch.no_grad()
def _scored(scorer: nn.Module, batch: Data, rule: EdgeRule, first: int) -> _Scored:
    """The scores of a batch whose graphs are numbered from ``first`` on."""
    units = graph_units(batch, rule.unit)
    score, size = units.mean(_apply(scorer, batch)).float(), unit_sizes(units, batch)
    if bool(score.isnan().any()):
        number = first + int(torch.searchsorted(pointers(size), score.isnan().nonzero()[0], right=True)) - 1
        raise ValueError(
            f"graph {number}: {type(scorer).__name__} scores an edge NaN; look for NaN features or weights"
        )
    return _Scored(units, score, size)


def _check_edges(data: Data) -> None:
    """Check what a graph that no data set has checked says of its edges."""
    arcs = arcs_of(data).size(1)
    protected_arcs(data)
    if data.get("edge_weight") is not None:
        check_edge_weight(data.edge_weight, arcs, lambda arc: "" if arc < 0 else f"arc {arc}: ")


def _apply(scorer: nn.Module, data: Data) -> Tensor:
    edge_index, _ = arcs_and_nodes(data)
    dtype = own_dtype(scorer) or torch.float64
    apart = dtype != torch.float64 and not any(module.training for module in scorer.modules())
    if apart and getattr(data, "_slice_dict", None) is not None and data.num_graphs > 1:
        return torch.cat([_apply(scorer, graph) for graph in data.to_data_list()])
    # A copy, for the scorer may change it in place.
    scores: Tensor = scorer.to(edge_index.device)(in_dtype(data, dtype))
    if scores.shape != edge_index.shape[1:]:
        shape = tuple(scores.shape)
        raise ValueError(f"{type(scorer).__name__} gives scores of shape {shape} for {edge_index.size(1)} arcs")
    return scores.double()


@dataclass(frozen=True, eq=False, repr=False)
class PruneEdges(BaseTransform):  # type: ignore[misc]
    """Prunes graphs nobody has seen: all rounds in turn, each scored on what the one before left.

    Graphs whose edges the rounds have learnt masks for (UGS's training graphs) are recognised and pruned by these.

    A PyG transform for a ``Data``; :meth:`mask` and :meth:`prune` serve whole data sets.

    Args:
        rounds: 1, ..., r.
        rule: units, counts and scoring; the same in every round.

    Raises:
        ValueError: a global budget and a round without the threshold that was found on the training graphs.
    """

    rounds: Sequence[EdgeRound] = ()
    rule: EdgeRule = field(default_factory=EdgeRule)

    def __post_init__(self) -> None:
        for number, edge_round in enumerate(self.rounds, start=1):
            if self.rule.budget == "global" and edge_round.threshold is None and edge_round.scorer is not None:
                raise ValueError(
                    f"round {number} has no threshold: a global budget is met on the training graphs first"
                )

    def forward(self, data: Data) -> Data:
        """The graph with fewer arcs: a shallow copy, all other attributes kept.

        Raises:
            ValueError: a batch (prune before collation), a graph without ``edge_index`` or with an attribute that would
                be wrong without some arcs, or scores that are no numbers.
            TypeError: something that is no ``Data``.
        """
        check_graph(data)
        if isinstance(data, Batch):
            raise ValueError("prune graphs before they are collated: PruneEdges takes one Data, or use prune(dataset)")
        edge_index, num_nodes = arcs_and_nodes(data)
        check_edge_index(edge_index)
        _check_edges(data)
        if edge_index.numel() and not (int(edge_index.min()) >= 0 and int(edge_index.max()) < num_nodes):
            raise ValueError(f"edge_index points outside the graph's {num_nodes} nodes")
        original, numbers = unit_counts(data, self.rule.unit), data.get(EDGE_UNIT) if self._takes_numbers else None
        if self._knows(torch.tensor([num_nodes]), torch.tensor([edge_index.size(1)]), edge_index):
            numbers = graph_units(data, self.rule.unit).unit
        for edge_round in self.rounds:
            keep, _ = keep_in_round([data], numbers, data.edge_index.size(1), edge_round, self.rule, original)
            data, numbers = drop_arcs(data, keep), None if numbers is None else numbers[keep]
        return data

    def prune(self, graphs: PackedGraphs) -> PackedGraphs:
        """The same for a whole data set."""
        return graphs.keep_edges(self.mask(graphs).keep)

    def mask(self, graphs: PackedGraphs) -> EdgeMask:
        """Which arcs of a data set stay."""
        original = original_units(graphs, self.rule)
        mask = EdgeMask.full(graphs.edge_ptr)
        left, numbers = graphs, graphs.edge.get(EDGE_UNIT) if self._takes_numbers else None
        if self._knows(graphs.node_count, graphs.edge_count, graphs.edge_index):
            numbers = number_units(graphs, self.rule.unit).edge[EDGE_UNIT]
        for edge_round in self.rounds:
            keep, _ = keep_in_round(
                in_chunks(left, self.rule), numbers, left.num_edges, edge_round, self.rule, original
            )
            left, numbers = left.keep_edges(keep), None if numbers is None else numbers[keep.to(numbers.device)]
            mask.keep.masked_scatter_(mask.keep.clone(), keep.to(mask.keep.device))
        return mask

    @property
    def _takes_numbers(self) -> bool:
        """Whether the graphs' own numbers are believed, as tickets need it that do not tell whose masks they hold."""
        return any(edge_round.known is not None and not edge_round.graphs for edge_round in self.rounds)

    def _knows(self, num_nodes: Tensor, num_edges: Tensor, edge_index: Tensor) -> bool:
        """Whether these are the very graphs for whose edges the rounds have learnt masks."""
        known = {edge_round.graphs for edge_round in self.rounds if edge_round.known is not None and edge_round.graphs}
        return bool(known) and structure_digest(num_nodes, num_edges, edge_index) in known
