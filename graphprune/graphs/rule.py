"""What of a graph falls together, and how much of it there is in a whole data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from graphprune.checks import whole
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import EDGE_PROTECTED, EDGE_UNIT, EdgeUnit, Units, arcs_and_nodes, graph_units
from graphprune.graphs.segments import graph_of_nodes, pointers

CHUNK = 80_000  # nodes and arcs scored at once: bounds the memory, does not change a result


@dataclass(frozen=True)
class EdgeRule:
    """What is removed together, how many, and how scores are made.

    Args:
        unit: ``"pair"``: an undirected edge, both arcs fall together on the mean of their logits; ``"arc"``: each arc
            for itself (the ICPG authors' code).
        count: ``"cumulative"``: each graph keeps ``round(E0 * density)`` of its E0 original units, so that small
            graphs are pruned too; ``"floor"``: it loses ``floor(rate * E)`` of what is left (the authors' code: fewer
            than 1/rate units are never pruned).
        budget: ``"graph"``: counted in each graph; ``"global"``: over the training graphs together, unseen graphs lose
            what scores below the lowest score kept there.
        scoring: ``"eval"``: a function of one graph alone; ``"batch"``: batch statistics over 128 graphs in the order
            of the data set (the authors' code: a graph's edges then depend on its batch-mates).
        connected: no connected component falls apart, directions ignored: the maximum spanning forest by score stays,
            grown from the arcs that are never pruned.
        min_degree: every node keeps its best edges until it has so many neighbours, or all it had: in either direction,
            each counted once, those by arcs that are never pruned and by the forest of ``connected`` included.

    The two constraints come before the count, in every round, for every scorer, and for unseen graphs: where they need
    more edges than the count leaves, just these stay.

    Raises:
        ValueError: a word that is none of these, or a degree that is no number of neighbours.
    """

    unit: EdgeUnit = "pair"
    count: Literal["cumulative", "floor"] = "cumulative"
    budget: Literal["graph", "global"] = "graph"
    scoring: Literal["eval", "batch"] = "eval"
    connected: bool = False
    min_degree: int = 0

    def __post_init__(self) -> None:
        for name, words in (
            ("unit", ("pair", "arc")),
            ("count", ("cumulative", "floor")),
            ("budget", ("graph", "global")),
            ("scoring", ("eval", "batch")),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {words}, got {getattr(self, name)!r}")
        if type(self.connected) is not bool:
            raise ValueError(f"connected must be True or False, got {self.connected!r}")
        object.__setattr__(self, "min_degree", whole("min_degree", self.min_degree, 0))

    @property
    def constrained(self) -> bool:
        """Whether some edges stay whatever their scores and the count."""
        return self.connected or self.min_degree > 0

    def config(self) -> dict[str, Any]:
        """Plain data that it can be made from; constraints only where there are any, as files had it before them."""
        words = asdict(self)
        return {name: value for name, value in words.items() if value or name not in ("connected", "min_degree")}


def unit_sizes(units: Units, batch: Data) -> Tensor:
    """Units in each graph of a batch, shape ``(B,)``."""
    edge_index, num_nodes = arcs_and_nodes(batch)
    graph, ptr = graph_of_nodes(batch, num_nodes, edge_index.device)
    return torch.bincount(graph[edge_index[0, units.first]], minlength=ptr.numel() - 1)


def unit_counts(data: Data, unit: EdgeUnit) -> Tensor:
    """Units that can be pruned in each graph of a batch, shape ``(B,)``."""
    return unit_sizes(graph_units(data, unit), data)


def prunable_arcs(graphs: PackedGraphs, unit: EdgeUnit) -> Tensor:
    """Which arcs can be pruned, bool of shape ``(E,)``: neither self-loops nor protected."""
    if EDGE_PROTECTED not in graphs.edge:
        return graphs.edge_index[0] != graphs.edge_index[1]
    parts = [graph_units(batch, unit).unit >= 0 for batch in in_chunks(graphs, EdgeRule(unit=unit))]
    return torch.cat(parts) if parts else graphs.edge[EDGE_PROTECTED]


def number_units(graphs: PackedGraphs, unit: EdgeUnit) -> PackedGraphs:
    """A copy whose arcs carry the number of their unit, counted over all graphs, as edge attribute ``edge_unit``."""
    numbers, total = [], 0
    for batch in in_chunks(graphs, EdgeRule(unit=unit)):
        units = graph_units(batch, unit)
        numbers.append(torch.where(units.unit >= 0, units.unit + total, -1))
        total += units.first.numel()
    return graphs.with_edge(**{EDGE_UNIT: torch.cat(numbers) if numbers else graphs.edge_index[0]})


def in_chunks(graphs: PackedGraphs, rule: EdgeRule) -> Iterator[Batch]:
    """The graphs in order, in batches that bound the memory (128 graphs each where batch statistics are wanted)."""
    if rule.scoring == "batch":
        yield from graphs.loader(128)
        return
    weight = pointers(graphs.node_count + graphs.edge_count)
    start = 0
    while start < len(graphs):
        stop = int(torch.searchsorted(weight, weight[start] + CHUNK, right=True)) - 1
        stop = min(max(stop, start + 1), len(graphs))
        yield graphs.batch(torch.arange(start, stop))
        start = stop


def original_units(graphs: PackedGraphs, rule: EdgeRule) -> Tensor:
    """Units that can be pruned in each graph, shape ``(G,)``."""
    counts = [unit_counts(batch, rule.unit) for batch in in_chunks(graphs, EdgeRule(unit=rule.unit))]
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)


def structure_digest(num_nodes: Tensor, num_edges: Tensor, edge_index: Tensor) -> str:
    """SHA-256 of the nodes and arcs of some graphs, whatever their attributes.

    Args:
        num_nodes: of each graph, shape ``(G,)``.
        num_edges: of each graph, shape ``(G,)``.
        edge_index: node numbers within each graph, shape ``(2, E)``.
    """
    total = hashlib.sha256()
    for values in (num_nodes, num_edges, edge_index):
        total.update(f"{tuple(values.shape)}\n".encode())
        total.update(values.long().cpu().contiguous().numpy().data)
    return total.hexdigest()
