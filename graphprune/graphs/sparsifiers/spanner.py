"""A greedy spanner: a subgraph in which no way is much longer."""

from __future__ import annotations

import math
from heapq import heappop, heappush

import torch
from torch import Tensor

from graphprune.checks import whole
from graphprune.graphs.scorers import uniform
from graphprune.graphs.sparsifiers.simple import SimpleGraph, StructureScorer

_ROUNDING = 1e-9  # by which sums of equal lengths may differ from their multiples


class GreedySpanner(StructureScorer):
    """Edges of a t-spanner stay, then those with the longest detours (Althöfer, Das, Dobkin, Joseph & Soares, 1993).

    Edges are looked at from the shortest to the longest, in a random order where lengths are equal. One is added to the
    spanner unless there is already a way between its ends of at most t times its length. All distances in the
    spanner are then at most t times those in the graph. An edge is 1 long, with weights 1 / weight: heavy is near.

    The score has steps, within which chance decides: edges that join two pieces when their turn comes (a spanning
    forest, with weights the heaviest), the other edges of the spanner, then edges with a detour of up to t, t - 1, ...,
    1 times their length, as the spanner is when their turn comes.

    One edge after the other, in plain Python: see the documentation for what it costs.

    Args:
        seed: another seed, another order of edges of equal length.
        stretch: t, a whole number.

    Raises:
        ValueError: a stretch below 1, or a seed or stretch that is no whole number.
    """

    reads_weights = True

    def __init__(self, seed: int = 0, stretch: int = 3) -> None:
        super().__init__()
        self.seed, self.stretch = whole("seed", seed), whole("stretch", stretch, 1)

    def score(self, graph: SimpleGraph) -> Tensor:
        """Step plus a random number in [0, 1): t + 2 and t + 1 in the spanner, t to 1 outside."""
        draw = uniform(graph.bits(graph.ends, self.seed))
        length = 1 / graph.weight
        order = torch.argsort(draw, stable=True)
        order = order[torch.argsort(length[order], stable=True)]
        near: list[dict[int, float]] = [{} for _ in range(graph.degree.numel())]
        pieces = _Pieces(len(near))
        steps, least = [], float(length.min()) if length.numel() else 0.0
        for u, v, long in zip(*graph.ends[:, order].tolist(), length[order].tolist(), strict=True):
            step = self.stretch + 2
            if not pieces.join(u, v):
                detour = _detour(near, u, v, least, self.stretch * long * (1 - _ROUNDING)) / long
                step = self.stretch + 1 if detour > self.stretch * (1 + _ROUNDING) else math.ceil(detour - _ROUNDING)
            if step > self.stretch:
                near[u][v] = near[v][u] = long
            steps.append(step)
        return draw.index_add(0, order, draw.new_tensor(steps))


class _Pieces:
    """Nodes that are joined one by one (union and find)."""

    def __init__(self, nodes: int) -> None:
        self._above = list(range(nodes))

    def join(self, u: int, v: int) -> bool:
        """Whether the two were in different pieces; they are in one from then on."""
        u, v = self._top(u), self._top(v)
        self._above[u] = v
        return u != v

    def _top(self, node: int) -> int:
        above = self._above
        while above[node] != node:
            above[node] = node = above[above[node]]
        return node


def _detour(near: list[dict[int, float]], u: int, v: int, least: float, most: float) -> float:
    """The shortest way from u to v if it is at most so long, else a longer one or infinity: Dijkstra from both ends.

    No edge is shorter than ``least``.
    """
    reached, queues, work = ({u: 0.0}, {v: 0.0}), ([(0.0, u)], [(0.0, v)]), [0, 0]
    shortest = math.inf
    while queues[0] and queues[1] and queues[0][0][0] + queues[1][0][0] < min(shortest, most):
        # The end that has cost less goes on, so that the other one waits at a hub.
        cost = [work[side] + len(near[queues[side][0][1]]) for side in (0, 1)]
        side = int(cost[1] < cost[0])
        far, node = heappop(queues[side])
        here, there = reached[side], reached[1 - side]
        if far > here[node]:
            continue  # it was reached by a shorter way
        work[side] = cost[side]
        # What the other end has not reached has to be nearer than that.
        left = min(shortest, most) - queues[1 - side][0][0]
        for other in near[node] if far + least < left else near[node].keys() & there.keys():
            way = far + near[node][other]
            if way < here.get(other, math.inf) and (way < left or other in there):
                here[other] = way
                heappush(queues[side], (way, other))
                shortest = min(shortest, way + there.get(other, math.inf))
    return shortest
