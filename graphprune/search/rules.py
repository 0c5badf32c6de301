"""Which points survive a generation: several rules have a say, those with more success a greater one.

Each rule puts a pool of points in order, the best first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphprune.search.space import FloatArray, IntArray, needed

Fronts = Sequence[IntArray]
"""Places of the non-dominated points, then of those that only these dominate, and so on."""

Survival = Callable[[FloatArray, Fronts, np.random.Generator], IntArray]
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


RULES: dict[str, Survival] = {
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
    reference = f.max(axis=0) + 0.1 * np.maximum(np.ptp(f, axis=0), 1e-12)
    order = np.empty(len(f), dtype=np.int64)
    alive = np.arange(len(f))
    for place in reversed(range(len(f))):
        last = needed("moocore").hv_contributions(f[alive], ref=reference).argmin()
        order[place] = alive[last]
        alive = np.delete(alive, last)
    return order


def fronts_of(f: FloatArray, count: int) -> list[IntArray]:
    """Places of the non-dominated rows, then of those that only these dominate, until there are ``count``."""
    ranks, fronts = needed("moocore").pareto_rank(f), list[IntArray]()
    while sum(map(len, fronts)) < min(count, len(f)):
        fronts.append(np.flatnonzero(ranks == len(fronts)))
    return fronts


class Portfolio:
    """A survival for pymoo's genetic algorithms in which each rule fills its share of the places.

    The shares are the rules' credits. After each generation the credit of a rule becomes 0.8 of what it was and 0.2 of
    its part in the generation's success, which is the mean hypervolume that the children of the points it kept have
    added (a mean, as a rule that keeps more has more children). No credit falls below 1 / (4 x rules).

    Args:
        rules: by name.

    Attributes:
        names: of the rules.
        credit: ``(rules,)``, of sum 1.
    """

    def __init__(self, rules: Mapping[str, Survival] | None = None) -> None:
        chosen = RULES if rules is None else rules
        self.names = tuple(chosen)
        self.credit = np.full(len(chosen), 1.0 / len(chosen))
        self._rules = tuple(chosen.values())

    def do(self, problem: Any, pop: Any, *, n_survive: int, random_state: np.random.Generator, **rest: Any) -> Any:
        """The survivors of a pymoo population. Each carries its ``rank``, ``crowding`` and the ``keeper`` it owes."""
        f = pop.get("F").astype(np.float64)
        fronts = fronts_of(f, n_survive)
        for rank, front in enumerate(fronts):
            for place, crowding in zip(front, room(f[front]), strict=True):
                pop[place].set("rank", rank)
                pop[place].set("crowding", crowding)
        keepers = self.share(f, fronts, min(n_survive, len(pop)), random_state)
        for place, keeper in keepers.items():
            pop[place].set("keeper", keeper)
        return pop[list(keepers)]

    def share(self, f: FloatArray, fronts: Sequence[IntArray], count: int, rng: np.random.Generator) -> dict[int, int]:
        """Place -> rule of the ``count`` points that are kept; the rules pick in turn, as often as they have places."""
        low = f[fronts[0]].min(axis=0)
        scaled = (f - low) / np.maximum(f[fronts[0]].max(axis=0) - low, 1e-12)
        orders = [iter(rule(scaled, fronts, rng)) for rule in self._rules]
        turns = rng.permutation(np.repeat(np.arange(len(orders)), quotas(self.credit, count)))
        kept: dict[int, int] = {}
        for rule in turns:
            kept[next(int(place) for place in orders[rule] if int(place) not in kept)] = int(rule)
        return kept

    def reward(self, keepers: IntArray, gains: FloatArray) -> None:
        """Credit the rules for a generation.

        Args:
            keepers: ``(children, parents)``: the rule that kept each parent.
            gains: ``(children,)``: the hypervolume that each child adds to all that was known.
        """
        rules = np.arange(len(self.credit))
        shares = (keepers[:, :, None] == rules).mean(axis=1)
        success = gains @ shares / np.maximum(shares.sum(axis=0), 1.0)
        if success.sum() > 0:
            self.credit = floored(0.8 * self.credit + 0.2 * success / success.sum(), 0.25 / len(rules))


def quotas(shares: FloatArray, count: int) -> IntArray:
    """Whole numbers of sum ``count`` in proportion to shares of sum 1: the largest remainders are rounded up."""
    exact = shares * count
    whole = np.floor(exact).astype(np.int64)
    rest = np.argsort(whole - exact, kind="stable")[: count - whole.sum()]
    whole[rest] += 1
    return whole


def floored(shares: FloatArray, floor: float) -> FloatArray:
    """Shares of sum 1, none below the floor; what that takes comes from the others' part above it."""
    above = np.maximum(shares / shares.sum() - floor, 0.0)
    raised: FloatArray = floor + above / above.sum() * (1.0 - floor * len(shares))
    return raised
