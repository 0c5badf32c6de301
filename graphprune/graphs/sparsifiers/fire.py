"""Forest fire: how often an edge burns when fires spread from random nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.checks import whole
from graphprune.graphs.scorers import mix, uniform
from graphprune.graphs.segments import pointers, ranges
from graphprune.graphs.sparsifiers.simple import SimpleGraph, StructureScorer

_AT_ONCE = 1 << 22  # nodes and their neighbours in all fires of one go: bounds the memory, does not change a result
_UNBURNT = torch.iinfo(torch.int64).max


class ForestFire(StructureScorer):
    """Edges that burn often stay (Leskovec, Kleinberg & Faloutsos 2005; as a score: Hamann, Lindner et al., SNAM 2016).

    A fire starts at a random node. A burning node sets fire to X of its neighbours that do not burn yet, chosen at
    random, P(X >= k) = burn**k, and all it has if these are fewer; then the next node in the order of catching fire
    does. The edges along which it spreads are burnt. Fires are made, each on the fresh graph, until together they have
    burnt ``ratio`` times as many edges as there are. As NetworKit's ForestFireScore, but that no node burns twice in a
    fire (there the first may), and that counts are not divided by the highest; weights are not read. A burning node
    costs as much as it has neighbours, in each fire.

    Args:
        seed: another seed, other fires.
        burn: the probability that a node sets fire to one more neighbour, between 0 and 1; 0.6 is NetworKit's example.
        ratio: burnt edges over edges, above 0, which is how often an edge burns in the mean; 5 as there.

    Raises:
        ValueError: another ``burn`` or ``ratio``, or a seed that is no whole number.
    """

    def __init__(self, seed: int = 0, burn: float = 0.6, ratio: float = 5.0) -> None:
        super().__init__()
        if not (0 < burn < 1 and 0 < ratio < math.inf):
            raise ValueError(f"burn must lie between 0 and 1 and ratio above 0, got {burn=}, {ratio=}")
        self.seed, self.burn, self.ratio = whole("seed", seed), burn, ratio

    def score(self, graph: SimpleGraph) -> Tensor:
        """How many times the edge burnt, plus a random number in [0, 1)."""
        woods = _Woods.of(graph, self.seed, self.burn)
        edges = graph.ends.size(1)
        graphs = graph.ptr.numel() - 1
        target = self.ratio * torch.bincount(graph.of_node[graph.ends[0]], minlength=graphs)
        times, burnt, made = (
            torch.zeros(size, dtype=torch.int64, device=target.device) for size in (edges, graphs, graphs)
        )
        while bool((burnt < target).any()):
            # As many fires as those before let expect, but no more than twice as many as there have been.
            wanted = ((target - burnt) * made / burnt.clamp(min=1)).ceil().long()
            wanted = torch.where(burnt < target, wanted.minimum(made).clamp(min=1), 0)
            of_fire, number = torch.repeat_interleave(wanted), ranges(made, wanted)
            fires, edge = woods.burn(of_fire, number)
            size = torch.bincount(fires, minlength=of_fire.numel())
            # What a graph's fires before this one have burnt, and whether that was enough: then there is no such fire.
            before = size.cumsum(0) - size
            before = (
                before - before[pointers(wanted)[:-1].clamp(max=max(before.numel() - 1, 0))][of_fire] + burnt[of_fire]
            )
            there = before < target[of_fire]
            times += torch.bincount(edge[there[fires]], minlength=edges)
            burnt.index_add_(0, of_fire[there], size[there])
            made += wanted
        return times + uniform(mix(graph.bits(graph.ends, self.seed)))


@dataclass(frozen=True)
class _Woods:
    """Graphs in which fires are made.

    Attributes:
        start: where each node's neighbours begin, shape ``(N + 1,)``.
        neighbour: shape ``(2 P,)``, by node.
        edge: that leads to it, shape ``(2 P,)``.
        bits: random, of each of these, shape ``(2 P,)``.
        node_bits: random, of each node, shape ``(N,)``.
        graph_bits: random, of each graph, shape ``(B,)``.
        ptr: where each graph's nodes start, shape ``(B + 1,)``.
        places: the nodes with neighbours, ascending.
        places_ptr: where each graph's of these start, shape ``(B + 1,)``.
        spread: the probability that a fire goes on to one more neighbour.
    """

    start: Tensor
    neighbour: Tensor
    edge: Tensor
    bits: Tensor
    node_bits: Tensor
    graph_bits: Tensor
    ptr: Tensor
    places: Tensor
    places_ptr: Tensor
    spread: float

    @classmethod
    def of(cls, graph: SimpleGraph, seed: int, spread: float) -> _Woods:
        incidences = graph.incidences
        bits = graph.bits(incidences, seed)
        order = torch.argsort(incidences[0], stable=True)
        node, neighbour = incidences[:, order]
        node_bits = mix(torch.zeros_like(graph.degree).index_add_(0, node, bits[order]))
        graph_bits = torch.zeros_like(graph.ptr[1:]).index_add_(0, graph.of_node, node_bits)
        places = graph.degree.nonzero().flatten()
        per_graph = torch.bincount(graph.of_node[places], minlength=graph.ptr.numel() - 1)
        edge = order % max(graph.ends.size(1), 1)
        start = pointers(graph.degree)
        return cls(
            start, neighbour, edge, bits[order], node_bits, graph_bits, graph.ptr, places, pointers(per_graph), spread
        )

    def burn(self, of_fire: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """The fires of these graphs and numbers: for each edge that burnt, the fire, and the edge; both ``(K,)``."""
        size = pointers((self.ptr + self.start[self.ptr]).diff()[of_fire])
        fires, edges = [of_fire[:0]], [of_fire[:0]]
        first = 0
        while first < of_fire.numel():
            last = int(torch.searchsorted(size, size[first] + _AT_ONCE, right=True)) - 1
            some = slice(first, max(last, first + 1))
            fire, edge = self._burn(of_fire[some], number[some])
            fires.append(fire + first)
            edges.append(edge)
            first = some.stop
        return torch.cat(fires), torch.cat(edges)

    def _burn(self, of_fire: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`burn`, all fires at once."""
        slots = pointers(self.ptr.diff()[of_fire])
        shift = slots[:-1] - self.ptr[of_fire]  # from a node to its slot in a fire
        burns = self.ptr.new_full((int(slots[-1]),), _UNBURNT)  # by which of the nodes that burn now; the first counts
        many = self.places_ptr.diff()[of_fire]
        place = (uniform(mix(self.graph_bits[of_fire] + number)) * many).long()
        fire, node = torch.arange(of_fire.numel(), device=of_fire.device), self.places[self.places_ptr[of_fire] + place]
        burns[shift[fire] + node] = -1
        fires, edges = [], []
        while node.numel():
            # P(floor(log U / log burn) >= k) = P(U <= burn**k) = burn**k.
            chance = uniform(mix(self.node_bits[node] + number[fire]))
            most = (chance.log() / math.log(self.spread)).clamp(max=2.0**40).long()
            by, at = self._choices(node, fire, number, burns, shift, most)
            fire, node = fire[by], self.neighbour[at]
            fires.append(fire)
            edges.append(self.edge[at])
        return torch.cat(fires), torch.cat(edges)

    def _choices(
        self, node: Tensor, fire: Tensor, number: Tensor, burns: Tensor, shift: Tensor, most: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Which neighbours catch fire from which of the burning nodes, in the order in which they do.

        Each node in turn takes the first ``most`` in its own random order of those that do not burn. All ask at once;
        who is asked by several takes the first; who was refused asks the next: there is one outcome, that of the turns.
        """
        count = self.start[node + 1] - self.start[node]
        by = torch.repeat_interleave(count.masked_fill(most == 0, 0))
        at = ranges(self.start[node], count.masked_fill(most == 0, 0))
        slot = shift[fire[by]] + self.neighbour[at]
        free = burns[slot] == _UNBURNT
        by, at, slot = by[free], at[free], slot[free]
        order = torch.argsort(mix(self.bits[at] + number[fire[by]]), stable=True)
        order = order[torch.argsort(by[order], stable=True)]
        by, at, slot, most = by[order], at[order], slot[order], most[by[order]]
        open_ = torch.ones_like(by, dtype=torch.bool)
        first = torch.searchsorted(by, by)
        while True:
            rank = open_.cumsum(0) - open_.long()
            asks = open_ & (rank - rank[first] < most)
            burns.scatter_reduce_(0, slot[asks], by[asks], "amin")
            refused = open_ & (burns[slot] < by)
            if not bool(refused.any()):
                return by[asks], at[asks]
            open_ &= ~refused
