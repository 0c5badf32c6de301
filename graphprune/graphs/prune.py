"""From edge scores to the edges that stay: one round of pruning."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from graphprune.graphs.attributes import check_graph, shift
from graphprune.graphs.flatten import check_edge_index, check_edge_weight
from graphprune.graphs.given import with_tensors
from graphprune.graphs.pairs import Units, arcs_and_nodes, arcs_of, graph_units, protected_arcs
from graphprune.graphs.required import keep_best, required_units
from graphprune.graphs.rule import EdgeRule, unit_sizes
from graphprune.graphs.scorers import EdgeScorer, checked_scores, given_to, own_dtype, prepared
from graphprune.graphs.segments import counts_in, graph_of_nodes, pointers


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
class Kept:
    """What stays of some graphs.

    Attributes:
        arcs: which arcs, bool of shape ``(E,)``.
        units: units of each graph, shape ``(G,)``.
        needed: how many of them the rule's constraints keep, whatever their scores; shape ``(G,)``.
        wanted: how many the rate, the density or the threshold alone would leave, shape ``(G,)``, or ``(1,)`` where
            all graphs' units compete.
        kept: how many stay, shape ``(G,)``.
        threshold: global budget only: the lowest score kept that no constraint keeps, by which other graphs are pruned.
    """

    arcs: Tensor
    units: Tensor
    needed: Tensor
    wanted: Tensor
    kept: Tensor
    threshold: float | None = None

    @classmethod
    def joined(cls, parts: Sequence[Kept], threshold: float | None) -> Kept:
        """Of several batches, one after the other."""
        names = ("arcs", "units", "needed", "wanted", "kept")
        none = torch.zeros(0, dtype=torch.int64)
        values = {name: torch.cat([getattr(part, name) for part in parts]) if parts else none for name in names}
        return cls(**values | {"arcs": values["arcs"].bool()}, threshold=threshold)


@dataclass(frozen=True)
class _Scored:
    units: Units
    score: Tensor  # (U,) float32
    size: Tensor  # units a graph, (G,)
    required: Tensor | None  # (U,) bool; None: nothing is

    def left(self, keep: Tensor, wanted: Tensor) -> Kept:
        """With the units, shape ``(U,)``, that stay."""
        needed = torch.zeros_like(self.size) if self.required is None else counts_in(self.required, self.size)
        return Kept(self.units.at_arcs(keep, True), self.size, needed, wanted, counts_in(keep, self.size))


def score_arcs(scorer: nn.Module, data: Data) -> Tensor:
    """Scores of all arcs as they decide over removal before pairing: eval mode, no gradient; shape ``(E,)``, float64.

    Batch-mates have no say: each graph of a batch is scored by itself, with real numbers of the dtype of the scorer's
    parameters (without any: double precision). Whole batches are given, in double precision, where the last bits alone
    could differ between batches: to a scorer that says ``follows_dtype = True``, as :class:`EdgePredictor` does, and to
    an :class:`EdgeScorer` unless its parameters are of another precision.

    Raises:
        ValueError: no ``edge_index``, edge weights that are negative or no numbers, or scores of another shape.
        TypeError: something that is no ``Data``, edge weights that are not float, or scores that are no tensor.
    """
    check_graph(data)
    data = with_tensors(data)
    _check_edges(data)
    with torch.no_grad():
        return _apply(prepared(scorer, EdgeRule()), data, EdgeRule())


def keep_arcs(
    batches: Iterable[Data],
    edge_round: EdgeRound,
    rule: EdgeRule,
    original: Tensor | None = None,
    scorer: nn.Module | None = None,
) -> Kept:
    """Which arcs stay after one round.

    Args:
        batches: the graphs, in batches, in order.
        edge_round: whose scorer and rate.
        rule: how units are made and counted.
        original: what the density is a share of, shape ``(G,)``: units of each graph before any pruning. None: those
            that there are.
        scorer: the round's, prepared already; None: it is now.

    Raises:
        ValueError: scores that are not numbers.
    """
    assert edge_round.scorer is not None
    scorer = prepared(edge_round.scorer, rule) if scorer is None else scorer
    if rule.budget == "global" and edge_round.threshold is None:
        return _keep_of_all(scorer, batches, edge_round, rule, original)
    pieces, first = list[Kept](), 0
    for batch in batches:  # no graph competes with another: of each only what stays is remembered, a byte an arc
        part = _scored(scorer, batch, rule, first)
        if edge_round.threshold is not None:
            high = part.score >= edge_round.threshold
            wanted = counts_in(high, part.size)
            keep = high if part.required is None else high | part.required
        else:
            units = part.size if original is None else original[first : first + len(part.size)].to(part.size.device)
            wanted = units_to_keep(edge_round, rule, units, part.size)
            keep = keep_best(part.score, part.size, wanted, part.required)
        pieces.append(part.left(keep, wanted))
        first += len(part.size)
    return Kept.joined(pieces, edge_round.threshold)


def _keep_of_all(
    scorer: nn.Module, batches: Iterable[Data], edge_round: EdgeRound, rule: EdgeRule, original: Tensor | None
) -> Kept:
    """As :func:`keep_arcs`, the edges of all graphs competing with each other: all scores in memory at once."""
    parts, first = list[_Scored](), 0
    for batch in batches:
        parts.append(_scored(scorer, batch, rule, first))
        first += len(parts[-1].size)
    if not parts:
        return Kept.joined([], None)
    score = torch.cat([part.score for part in parts])
    fixed = [part.required for part in parts if part.required is not None]
    required = torch.cat(fixed) if fixed else None
    size = torch.cat([part.size for part in parts]).sum(0, keepdim=True)
    units = size if original is None else original.to(size.device).sum(0, keepdim=True)
    wanted = units_to_keep(edge_round, rule, units, size)
    keep = keep_best(score, size, wanted, required)
    free = keep if required is None else keep & ~required
    lowest = float(score[free].min()) if bool(free.any()) else float("inf")
    pieces = keep.split([part.score.numel() for part in parts])
    left = [part.left(piece, wanted[:0]) for part, piece in zip(parts, pieces, strict=True)]
    return replace(Kept.joined(left, lowest), wanted=wanted)


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
    score, size = units.mean(_apply(scorer, batch, rule)).float(), unit_sizes(units, batch)
    if bool(score.isnan().any()):
        number = first + int(torch.searchsorted(pointers(size), score.isnan().nonzero()[0], right=True)) - 1
        raise ValueError(
            f"graph {number}: {type(scorer).__name__} scores an edge NaN; look for NaN features or weights"
        )
    required = required_units(units, score, *arcs_and_nodes(batch), rule) if rule.constrained else None
    return _Scored(units, score, size, required)


def check_unseen(data: object, caller: str, *, batches: bool = False) -> Data:
    """Make sure that a graph that no data set has checked can be pruned.

    Args:
        data: anything.
        caller: named in errors.
        batches: it may be a batch of graphs.

    Returns:
        The graph; where it has arrays or lists of numbers, a copy with tensors.

    Raises:
        TypeError: something that is no ``Data``, features that are no array of numbers, or edge weights that are not
            float.
        ValueError: a batch, no ``edge_index``, or one that points outside the graph; marks or weights of the edges that
            are none; what :func:`check_nodes` raises.
    """
    check_graph(data)
    assert isinstance(data, Data)
    if isinstance(data, Batch) and not batches:
        raise ValueError(f"prune graphs before they are collated: {caller} takes one Data, or use prune(dataset)")
    data = with_tensors(data)
    check_edge_index(arcs_of(data))
    check_nodes(data)
    edge_index, num_nodes = arcs_and_nodes(data)
    _check_edges(data)
    if edge_index.numel():
        low, high = edge_index.aminmax()
        if not (int(low) >= 0 and int(high) < num_nodes):
            raise ValueError(f"edge_index points outside the graph's {num_nodes} nodes")
    if isinstance(data, Batch):
        graph, _ = graph_of_nodes(data, num_nodes, edge_index.device)
        source, target = (graph.index_select(0, ends) for ends in edge_index)
        if not torch.equal(source, target):
            arc = int((source != target).nonzero()[0])
            raise ValueError(f"arc {arc} joins two graphs of the batch: edge_index points outside its graph")
    return data


def check_nodes(data: Data, where: str = "the graph ") -> None:
    """Raise ValueError, beginning with ``where``, unless a graph has one kind of nodes and says how many there are."""
    x, two = data.get("x"), f"{where}is bipartite, its arcs join nodes of two kinds: prune homogeneous graphs"
    if isinstance(x, tuple | list):
        raise ValueError(two)
    if "num_nodes" not in data and not isinstance(x, Tensor):
        bare = copy.copy(data)
        for name in ("edge_index", "face"):  # from which PyG guesses, and guesses less once arcs are gone
            bare[name] = None
        with warnings.catch_warnings(action="ignore"):
            if bare.num_nodes is None:
                raise ValueError(f"{where}does not say how many nodes it has: give it num_nodes, or node features x")
    if shift(data, "edge_index", arcs_of(data)).numel() > 1:
        raise ValueError(two)


def _check_edges(data: Data) -> None:
    """Check what a graph that no data set has checked says of its edges."""
    arcs = arcs_of(data).size(1)
    protected_arcs(data)
    values = data.get("edge_attr")
    if isinstance(values, Tensor) and (values.dim() < 1 or values.size(0) != arcs):
        raise ValueError(f"edge_attr has shape {tuple(values.shape)}, expected a row for each of the {arcs} arcs")
    if data.get("edge_weight") is not None:
        check_edge_weight(data.edge_weight, arcs, lambda arc: "" if arc < 0 else f"arc {arc}: ")


def _apply(scorer: nn.Module, data: Data, rule: EdgeRule) -> Tensor:
    """The scores of a graph or batch, shape ``(E,)``, float64; see :func:`score_arcs`."""
    edge_index, _ = arcs_and_nodes(data)
    dtype = own_dtype(scorer) or torch.float64
    alike = isinstance(scorer, EdgeScorer) or getattr(scorer, "follows_dtype", False)  # alone and among others
    whole = dtype == torch.float64 and (alike or rule.scoring == "batch")
    whole |= any(module.training for module in scorer.modules())  # batch statistics
    if not whole and getattr(data, "_slice_dict", None) is not None and data.num_graphs > 1:
        return torch.cat([_apply(scorer, graph, rule) for graph in data.to_data_list()])
    given = given_to(scorer, data, dtype)
    if any(value.device != edge_index.device for value in chain(scorer.parameters(), scorer.buffers())):
        scorer.to(edge_index.device)
    scores = checked_scores(scorer, scorer(given), edge_index.size(1))
    return scores.double()
