"""Which points survive a generation: several rules have a say, those with more success a greater one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphprune.search.rules import RULES, Rule, room
from graphprune.search.space import FloatArray, IntArray
from graphprune.search.volume import fronts_of


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

    def __init__(self, rules: Mapping[str, Rule] | None = None) -> None:
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
