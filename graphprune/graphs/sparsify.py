"""Thin graphs without training, as a transform: a score, one budget, and what has to hold."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData
from torch_geometric.transforms import BaseTransform

from graphprune.checks import whole
from graphprune.graphs.attributes import check_graph
from graphprune.graphs.counts import EdgeCounts
from graphprune.graphs.edges import EdgeMask, drop_arcs
from graphprune.graphs.given import with_tensors
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import EDGE_PROTECTED, EdgeUnit, arcs_and_nodes, arcs_of, check_protected, edge_units
from graphprune.graphs.prune import EdgeRound, Kept, check_nodes, check_unseen, keep_arcs
from graphprune.graphs.rounds import PruneEdges, told
from graphprune.graphs.rule import EdgeRule, in_chunks, unit_counts, unit_sizes
from graphprune.graphs.sparsifiers import EdgeScore, scorer_of

BUDGETS = ("keep", "edges", "mean_degree", "threshold")
_MOST = 1 << 53  # edges: more than any graph has, and exact in double precision


class HasEdges(Protocol):
    """What a ticket has: rounds of which the last one's scorer scores."""

    @property
    def edges(self) -> PruneEdges: ...  # noqa: D102


@dataclass(frozen=True, eq=False, repr=False)
class Sparsify(BaseTransform):  # type: ignore[misc]
    """Removes the edges of lowest score, as a PyG transform: nothing is trained.

    It is a ``transform`` or ``pre_transform`` of any data set, in ``Compose``, in a DataLoader's workers. Its ``repr``
    says everything that decides, so that PyG tells when a cache was made by another one: a module by a digest of its
    weights and attributes, in which lambdas and what cannot be pickled are never the same in two processes. What goes
    is a function of one graph alone. Edge weights and all other attributes of the arcs stay with the arcs that stay,
    and all nodes stay.

    An edge is a pair of arcs in both directions, or an arc without partner; with ``unit="arc"`` each arc. Counts are
    exact: of equal scores the earlier edge stays. Self-loops always stay and are no edges. Just one budget is given:

    Args:
        scorer: a name of :data:`graphprune.graphs.sparsifiers.SCORERS`; a module from a graph or batch to one score an
            arc, shape ``(E,)``, such as an :class:`~graphprune.EdgePredictor`; or a :class:`~graphprune.Ticket`, whose
            last round's scorer then scores the graphs as they are.
        keep: share of the edges that stay, from 0 to 1, rounded (halves to the even number); protected ones do not
            count.
        edges: at most so many edges stay, protected ones included. A promise: where constraints and protected edges
            need more, that is an error.
        mean_degree: as many edges stay, protected ones included, as give the nodes this degree on average: ``degree *
            nodes / 2`` pairs, or ``degree * nodes`` arcs, rounded, if there are so many.
        threshold: edges stay that score at least this, in single precision and in the scorer's own numbers (of a
            predictor and a ticket: the logit, 0 where the score is one half). A pair has the mean of both arcs.
        scope: the budget is counted in each ``"graph"``, or over ``"all"`` graphs that :meth:`prune` is given together.
        unit: ``"pair"`` or ``"arc"``.
        connected: connected components stay as they are, directions ignored; see :class:`~graphprune.EdgeRule`.
        min_degree: no node has fewer neighbours left, in either direction, unless it had; see the same.
        protect: name of an edge attribute, bool of shape ``(E,)``, True at arcs that stay whatever their score. Arcs
            that ``edge_protected`` marks always do.
        seed: of scorers by name that draw.

    ``connected`` and ``min_degree`` come before ``keep``, ``mean_degree`` and ``threshold``: where these leave too few
    edges, just those that are needed stay. :meth:`counts` says where.

    Raises:
        ValueError: an unknown name (the nearest one is named), no budget or several, a value out of range, a seed that
            is no whole number, or a ticket that scores no edges.
        TypeError: a scorer that is none of these.
    """

    scorer: EdgeScore | HasEdges
    _: KW_ONLY
    keep: float | None = None
    edges: int | None = None
    mean_degree: float | None = None
    threshold: float | None = None
    scope: Literal["graph", "all"] = "graph"
    unit: EdgeUnit = "pair"
    connected: bool = False
    min_degree: int = 0
    protect: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one budget of {', '.join(BUDGETS)}, got {' and '.join(given) or 'none'}")
        object.__setattr__(self, given[0], _number(given[0], getattr(self, given[0])))
        object.__setattr__(self, "seed", whole("seed", self.seed))
        if self.scope not in ("graph", "all"):
            raise ValueError(f"scope must be 'graph' or 'all', got {self.scope!r}")
        object.__setattr__(self, "scorer", _last_scorer(self.scorer))
        self._module()  # what cannot be made is told before any graph comes
        self._rule()

    def forward(self, data: Data) -> Data:
        """The graph with fewer arcs: a shallow copy, all other attributes kept.

        Raises:
            ValueError: a batch (prune before collation), a bipartite graph, one without ``edge_index`` or without a
                number of nodes, an attribute that would be wrong without some arcs, marks of ``protect`` that are none,
                scores that are no numbers, more edges needed than ``edges=``, or ``scope="all"``.
            TypeError: something that is no ``Data``, or features that are no array of numbers.
        """
        data = check_unseen(data, "Sparsify")
        if self.scope == "all":
            raise ValueError("scope='all' counts over a list of graphs: call prune(graphs), or take scope='graph'")
        return drop_arcs(data, self._decided(data)[0].arcs)

    def prune(self, graphs: PackedGraphs | Sequence[Data] | Dataset[Data]) -> PackedGraphs:
        """The same for many graphs; raises as the transform of one does, naming the graph."""
        packed = _packed(graphs)
        return packed.keep_edges(self.mask(packed).keep)

    def mask(self, graphs: PackedGraphs | Sequence[Data] | Dataset[Data]) -> EdgeMask:
        """Which arcs of many graphs stay."""
        packed = _packed(graphs)
        return EdgeMask(self._decided(packed)[0].arcs, packed.edge_ptr)

    def counts(self, graphs: Data | PackedGraphs | Sequence[Data] | Dataset[Data]) -> EdgeCounts:
        """What stays of a graph or of many, and where constraints keep more than the budget."""
        if isinstance(graphs, BaseData):
            graphs = check_unseen(graphs, "Sparsify")
        return self._decided(graphs if isinstance(graphs, Data) else _packed(graphs))[1]

    def __repr__(self) -> str:
        made = repr(self.scorer) if isinstance(self.scorer, str) else told(self._module())
        said = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join([made, *said])})"

    # ------------------------------------------------------------------ how

    def _module(self) -> nn.Module:
        assert isinstance(self.scorer, str | nn.Module)
        return scorer_of(self.scorer, self.seed, self.unit)

    def _rule(self) -> EdgeRule:
        budget: Literal["graph", "global"] = "graph" if self.scope == "graph" else "global"
        return EdgeRule(self.unit, budget=budget, connected=self.connected, min_degree=self.min_degree)

    def _decided(self, graphs: Data | PackedGraphs) -> tuple[Kept, EdgeCounts]:
        """Which arcs stay, and how many edges that are."""
        rule = self._rule()
        if self.protect is not None:
            graphs = _with_marks(graphs, self.protect)
        nodes, protected = _sizes(graphs, rule)
        budget, over = None, self._over(nodes)
        if self.edges is not None:
            budget = torch.full_like(over, min(self.edges, _MOST)) - self._over(protected)
        elif self.mean_degree is not None:
            ends = 2 if self.unit == "pair" else 1
            target = (over.double() * self.mean_degree / ends).round().clamp(max=_MOST)
            budget = target.long() - self._over(protected)
        share = 1.0 if self.keep is None else self.keep
        # Scores are compared in single precision: what has just the threshold's score is to stay.
        threshold = None if self.threshold is None else float(torch.tensor(self.threshold, dtype=torch.float32))
        edge_round = EdgeRound(self._module(), 1 - share, share, threshold)
        kept = keep_arcs(_batches(graphs, rule), edge_round, rule, None if budget is None else budget.clamp(min=0))
        counts = EdgeCounts(kept.units, kept.kept, kept.needed, kept.wanted if budget is None else budget, protected)
        if self.edges is not None and bool(counts.beyond.any()):
            self._refuse(counts)
        return kept, counts

    def _over(self, values: Tensor) -> Tensor:
        """Of what the budget is counted over: each graph, or all together."""
        return values if self.scope == "graph" else values.sum(0, keepdim=True)

    def _refuse(self, counts: EdgeCounts) -> None:
        place = int(counts.beyond.nonzero()[0])
        needed, protected = (int(self._over(values)[place]) for values in (counts.needed, counts.protected))
        reasons = [f"connected={self.connected} and min_degree={self.min_degree} keep {needed:,}"] if needed else []
        reasons += [f"{protected:,} are protected"] if protected else []
        raise ValueError(
            f"{'the graphs together need' if self.scope == 'all' else f'graph {place} needs'} {needed + protected:,} "
            f"edges ({', '.join(reasons)}), more than edges={self.edges:,}: raise it, ask for less, or take keep= or "
            "mean_degree=, which constraints may exceed"
        )


def _number(name: str, value: Any) -> float:
    """A budget as Python's number, from NumPy's too."""
    kinds = {
        "keep": "a share from 0 to 1",
        "edges": "a whole number of edges, 0 or more",
        "mean_degree": "a number of neighbours, 0 or more",
        "threshold": "a number",
    }
    lowest, highest = -math.inf if name == "threshold" else 0, 1 if name == "keep" else math.inf
    kind = Integral if name == "edges" else Real
    fits = isinstance(value, kind) and not isinstance(value, bool) and lowest <= float(value) <= highest
    if not fits or (name == "mean_degree" and value == math.inf):
        raise ValueError(f"{name} must be {kinds[name]}, got {value!r}")
    return int(value) if isinstance(value, Integral) else float(value)


def _last_scorer(scorer: object) -> str | nn.Module:
    """What scores: a name or a module as they are, of a ticket its last round's scorer."""
    if isinstance(scorer, str | nn.Module):
        return scorer
    edges = getattr(scorer, "edges", None)
    if not isinstance(edges, PruneEdges):
        raise TypeError(
            f"scorer must be a name, a module from a batch to one score an arc, or a Ticket, got {scorer!r}"
        )
    last = edges.rounds[-1].scorer if edges.rounds else None
    if last is None:
        raise ValueError("the ticket scores no edges of graphs that it has not seen, so that it cannot thin them")
    return last


def _packed(graphs: PackedGraphs | Sequence[Data] | Dataset[Data]) -> PackedGraphs:
    if isinstance(graphs, PackedGraphs):
        return graphs
    if isinstance(graphs, BaseData):
        raise TypeError("prune and mask take a list of graphs; call the transform itself with a single one")
    several = [graphs[number] for number in range(len(graphs))]  # type: ignore[arg-type]
    for number, graph in enumerate(several):
        check_graph(graph, f"graph {number} ")
        check_nodes(with_tensors(graph, f"graph {number}: "), f"graph {number} ")
    return PackedGraphs.of(several)


def _with_marks(graphs: Data | PackedGraphs, name: str) -> Data | PackedGraphs:
    """Graphs whose ``edge_protected`` marks what an attribute of this name does, too."""
    store: Any = graphs.edge if isinstance(graphs, PackedGraphs) else graphs
    marks, more = store.get(name), store.get(EDGE_PROTECTED)
    if marks is None:
        raise ValueError(f"protect={name!r}: the graphs have no edge attribute of that name")
    check_protected(marks, graphs.num_edges, name=name)
    if more is not None:
        check_protected(more, graphs.num_edges)
        marks = marks | more
    if isinstance(graphs, PackedGraphs):
        return graphs.with_edge(**{EDGE_PROTECTED: marks})
    graphs = copy.copy(graphs)
    graphs[EDGE_PROTECTED] = marks
    return graphs


def _batches(graphs: Data | PackedGraphs, rule: EdgeRule) -> Iterable[Data]:
    return in_chunks(graphs, rule) if isinstance(graphs, PackedGraphs) else [graphs]


def _sizes(graphs: Data | PackedGraphs, rule: EdgeRule) -> tuple[Tensor, Tensor]:
    """Nodes and protected edges of each graph, shape ``(G,)``."""
    packed = isinstance(graphs, PackedGraphs)
    nodes = graphs.node_count if packed else torch.tensor([graphs.num_nodes], device=arcs_of(graphs).device)
    if EDGE_PROTECTED not in (graphs.edge if packed else graphs):
        return nodes, torch.zeros_like(nodes)
    sizes = [
        unit_sizes(edge_units(*arcs_and_nodes(batch), rule.unit), batch) - unit_counts(batch, rule.unit)
        for batch in _batches(graphs, rule)
    ]
    return nodes, torch.cat(sizes) if sizes else torch.zeros_like(nodes)
