"""Rules that say which points survive: each puts a pool of points in order, the best first."""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from graphprune.search.space import FloatArray, IntArray
from graphprune.search.volume import gain

Fronts = Sequence[IntArray]
"""Places of the non-dominated points, then of those that only these dominate, and so on."""

Rule = Callable[[FloatArray, Fronts, np.random.Generator], IntArray]
"""Values (n, objectives) in about [0, 1], their fronts, randomness -> places, the best first."""


def crowding(f: FloatArray, fronts: Fronts, rng: np.random.Generator) -> IntArray:
    """Front by front, within one by the room to its neighbours in each objective (NSGA-II, Deb et al., 2002)."""
    return np.concatenate([front[np.argsort(-room(f[front]), kind="stable")] for front in fronts])


def density(f: FloatArray, fronts: Fronts, rng: np.random.Generator) -> IntArray:
    """Front by front; the point nearest to its nearest neighbours goes last (SPEA2, Zitzler et al., 2001)."""
    return np.concatenate([front[_thinned(f[front])] for front in fronts])


def contribution(f: FloatArray, fronts: Fronts, rng: np.random.Generator) -> IntArray:
    """Front by front; the point that adds least hypervolume goes last (SMS-EMOA, Beume et al., 2007)."""
    return np.concatenate([front[_least_last(f[front])] for front in fronts])


def tchebycheff(f: FloatArray, fronts: Fronts, rng: np.random.Generator) -> IntArray:
    """The best for one random weighting, then for another among the rest, whatever front they are of."""
    pool = np.concatenate(fronts)
    values = scalarised(f[pool], rng.dirichlet(np.ones(f.shape[1]), size=len(pool)))
    order = np.empty(len(pool), dtype=np.int64)
    for place, row in enumerate(values):
        order[place] = row.argmin()
        values[:, order[place]] = np.inf
    return pool[order]


RULES: dict[str, Rule] = {
    "crowding": crowding,
    "density": density,
    "contribution": contribution,
    "tchebycheff": tchebycheff,
}


def room(f: FloatArray) -> FloatArray:
    """``(n,)`` crowding distances of a front (n, objectives), infinite at its ends."""
    total = np.zeros(len(f))
    for values in f.T:
        order = np.argsort(values, kind="stable")
        ranked = values[order]
        gaps = np.full(len(f), np.inf)
        gaps[1:-1] = (ranked[2:] - ranked[:-2]) / max(ranked[-1] - ranked[0], 1e-12)
        total[order] += gaps
    return total


def scalarised(f: FloatArray, weights: FloatArray) -> FloatArray:
    """``(weightings, n)``: the worst weighted objective, and a little of their sum, so that no point is weakly optimal.

    Args:
        f: ``(n, objectives)``, 0 at the ideal.
        weights: ``(weightings, objectives)``.
    """
    weighted = weights[:, None, :] * f[None, :, :]
    values: FloatArray = weighted.max(axis=2) + 0.05 * weighted.sum(axis=2)
    return values


def _thinned(f: FloatArray) -> IntArray:
    apart = np.linalg.norm(f[:, None] - f[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    order = np.empty(len(f), dtype=np.int64)
    alive = np.arange(len(f))
    for place in reversed(range(len(f))):
        nearest = np.sort(apart[np.ix_(alive, alive)], axis=1)[:, :3]
        last = np.lexsort(nearest.T[::-1])[0]
        order[place] = alive[last]
        alive = np.delete(alive, last)
    return order


def _least_last(f: FloatArray) -> IntArray:
    """Contributions only grow while others go, so one that is not the least any more is counted anew only then."""
    reference = f.max(axis=0) + 0.1 * np.maximum(np.ptp(f, axis=0), 1e-12)
    alive = np.ones(len(f), dtype=np.bool_)

    def added(place: int) -> float:
        others = alive.copy()
        others[place] = False
        return gain(f[place], f[others], reference)

    heap = [(added(place), place) for place in range(len(f))]
    heapify(heap)
    order: list[int] = []
    while heap:
        _, place = heappop(heap)
        now = added(place)
        if heap and (now, place) > heap[0]:
            heappush(heap, (now, place))
        else:
            alive[place] = False
            order.append(place)
    return np.array(order[::-1], dtype=np.int64)
