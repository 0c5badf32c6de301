"""The simple undirected graph beneath the arcs of a batch, and what scores are counted from in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs.flatten import check_edge_weight
from graphprune.graphs.pairs import arcs_and_nodes, arcs_of
from graphprune.graphs.scorers import EdgeScorer, arc_bits
from graphprune.graphs.segments import graph_of_nodes, pointers, ranges

_WEDGES = 1 << 22  # paths of length two looked at in one go: bounds the memory, does not change a result


@dataclass(frozen=True)
class SimpleGraph:
    """A graph or batch without directions, copies of edges and self-loops.

    Attributes:
        ends: both ends of each edge, the lower first, shape ``(2, P)``, ascending.
        edge: the edge that each arc lies on, shape ``(E,)``; -1 for a self-loop.
        degree: neighbours of each node, shape ``(N,)``.
        weight: of each edge, shape ``(P,)``, float64: 1 for a scorer that does not read weights, and without any.
        of_node: the graph of each node, shape ``(N,)``.
        ptr: where each graph's nodes start, shape ``(B + 1,)``.
    """

    ends: Tensor
    edge: Tensor
    degree: Tensor
    weight: Tensor
    of_node: Tensor
    ptr: Tensor

    @classmethod
    def of(cls, data: Data, arc_weight: Tensor | None = None) -> Self:
        """The graph beneath a ``Data`` or ``Batch``.

        Copies of an arc add their weights up; an edge weighs the mean of its directions, or what its only one weighs.

        Args:
            data: whose arcs count.
            arc_weight: shape ``(E,)``; None: an edge weighs 1, however many arcs it has.

        Raises:
            ValueError: no ``edge_index``, or one that points outside the graph.
        """
        arcs, nodes = arcs_and_nodes(data)
        if arcs.numel() and not (int(arcs.min()) >= 0 and int(arcs.max()) < nodes):
            raise ValueError(f"edge_index points outside the graph's {nodes} nodes")
        low, high = arcs.sort(dim=0).values
        no_loop = low != high
        key, number = torch.unique(low[no_loop] * nodes + high[no_loop], return_inverse=True)
        edge = arcs.new_full(arcs.shape[1:], -1)
        edge[no_loop] = number
        ends = torch.stack([key // max(nodes, 1), key % max(nodes, 1)])
        degree = torch.bincount(ends.flatten(), minlength=nodes)
        weight = torch.ones(key.numel(), dtype=torch.float64, device=arcs.device)
        if arc_weight is not None:
            upwards = (arcs[0] < arcs[1])[no_loop]
            of_way = number + key.numel() * upwards
            total = torch.bincount(of_way, arc_weight.double()[no_loop], 2 * key.numel()).view(2, -1)
            weight = total.sum(0) / (total > 0).sum(0)
        return cls(ends, edge, degree, weight, *graph_of_nodes(data, nodes, arcs.device))

    @property
    def incidences(self) -> Tensor:
        """A node and its neighbour, for each edge once from the lower end, then once from the other; ``(2, 2 P)``."""
        return torch.cat([self.ends, self.ends.flip(0)], 1)

    @property
    def strength(self) -> Tensor:
        """The weights of each node's edges together, shape ``(N,)``, float64: its degree where all weigh 1."""
        return torch.bincount(self.ends.flatten(), self.weight.repeat(2), self.degree.numel())

    def bits(self, arcs: Tensor, seed: int) -> Tensor:
        """64 random bits for each of these pairs of nodes."""
        return arc_bits(arcs, self.of_node, self.ptr, seed)

    def at_arcs(self, values: Tensor) -> Tensor:
        """The value of each arc's edge, shape ``(E,)``; 0 for a self-loop."""
        return torch.cat([values, values.new_zeros(1)])[self.edge]  # -1 reads the padding


class StructureScorer(EdgeScorer, ABC):
    """A scorer of the simple graph's edges: arcs in both directions and copies of an edge get the same score.

    Where the class says ``reads_weights = True``, the graph's edges weigh what ``edge_weight`` makes of them, else 1.
    """

    def forward(self, data: Data) -> Tensor:
        """Scores of all arcs of a graph or batch, shape ``(E,)``, float64.

        Raises:
            ValueError: a broken graph, or edge weights that are read and not positive.
            TypeError: edge weights that are read and not float.
        """
        graph = SimpleGraph.of(data, positive_weights(data, type(self)) if self.reads_weights else None)
        return graph.at_arcs(self.score(graph))

    @abstractmethod
    def score(self, graph: SimpleGraph) -> Tensor:
        """A score for each edge, shape ``(P,)``, float64."""


def positive_weights(data: Data, reader: type[EdgeScorer]) -> Tensor | None:
    """The attribute ``edge_weight`` of a graph or batch, shape ``(E,)``; None: it has none.

    Raises:
        ValueError: a weight that is not positive and finite, or another shape; the text names the scorer and the arc.
        TypeError: no float tensor.
    """
    weight: Tensor | None = data.get("edge_weight")
    if weight is None:
        return None
    arcs = arcs_of(data)
    if isinstance(weight, Tensor) and weight.shape == arcs.shape[1:]:
        wrong = ~(weight > 0) | weight.isinf()
        if bool(wrong.any()):
            arc = int(wrong.nonzero()[0])
            source, target = arcs[:, arc].tolist()
            many = " of the batch" if data.get("batch") is not None else ""
            raise ValueError(
                f"{reader.__name__} reads edge_weight and needs positive, finite weights, but arc {arc}{many} "
                f"({source} -> {target}) has {float(weight[arc]):g}: remove such arcs, or the weights "
                "(del data.edge_weight) to score the graph without them"
            )
    check_edge_weight(weight, arcs.size(1), lambda arc: f"{reader.__name__}: {f'arc {arc}: ' * (arc >= 0)}")
    return weight


def rank_around(node: Tensor, strength: Tensor) -> Tensor:
    """How many incidences of the same node are strictly stronger, shape ``(K,)``; equals share a rank."""
    by_strength = torch.argsort(strength, descending=True, stable=True)
    order = by_strength[torch.argsort(node[by_strength], stable=True)]
    new_node = node[order].diff(prepend=node.new_full((1,), -1)) != 0
    new_rank = new_node | (strength[order].diff(prepend=strength.new_zeros(1)) != 0)
    place = torch.arange(order.numel(), device=order.device)
    start_of_node, start_of_rank = ((place * new).cummax(0).values for new in (new_node, new_rank))
    return torch.empty_like(order).index_copy_(0, order, start_of_rank - start_of_node)


def common_neighbours(graph: SimpleGraph) -> Tensor:
    """How many neighbours both ends of each edge share, shape ``(P,)``: its triangles."""
    found = torch.zeros_like(graph.ends[0])
    for corners in triangles(graph):
        found += torch.bincount(corners.flatten(), minlength=found.numel())
    return found


def triangles(graph: SimpleGraph) -> Iterator[Tensor]:
    """The numbers of the three edges of every triangle, shape ``(3, T)``, in portions.

    Edges are turned towards the end of higher degree. No node then has more than ``sqrt(2 P)`` outgoing ones, and hubs
    cost no more than others.
    """
    nodes, (low, high) = graph.degree.numel(), graph.ends
    swap = graph.degree[low] > graph.degree[high]
    source, target = torch.where(swap, high, low), torch.where(swap, low, high)
    key, order = torch.sort(source * nodes + target)
    source, target = source[order], target[order]
    outgoing = torch.bincount(source, minlength=nodes)
    start, count = pointers(outgoing)[target], outgoing[target]
    for part in _portions(count):
        # source -> target -> end is a triangle where source -> end is an edge too.
        first = torch.repeat_interleave(part, count[part])
        second = ranges(start[part], count[part])
        wanted = source[first] * nodes + target[second]
        third = torch.searchsorted(key, wanted).clamp(max=key.numel() - 1)
        closed = key[third] == wanted
        yield order[torch.stack([first[closed], second[closed], third[closed]])]


def _portions(count: Tensor) -> Iterator[Tensor]:
    """The numbers of all edges, in portions of about ``_WEDGES`` paths."""
    portion = (count.cumsum(0) - 1).div(_WEDGES, rounding_mode="floor")
    sizes = torch.unique_consecutive(portion, return_counts=True)[1]
    yield from torch.arange(count.numel(), device=count.device).split(sizes.tolist())
