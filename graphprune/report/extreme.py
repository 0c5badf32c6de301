"""Extreme tickets: the sparsest ones that are not shown to be worse than the dense network. Numbers only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.report.stats import LEVEL, MIN_PAIRS, Curve, Interval, Rep, few, interval, tail

# For the uncertainty of an extreme ticket every resample of the repetitions is resampled once more.
OUTER, INNER = 200, 999


@dataclass(frozen=True)
class Extreme:
    """The sparsest ticket that has not been shown to be worse than dense.

    Attributes:
        sparsity: mean over the repetitions; None where no round qualifies, or there are too few repetitions.
        low: what the sparsity is over resampled repetitions, lower end; 0 stands for "no ticket".
        high: upper end.
        round: 1 is the first one.
        difference: ticket minus dense there (positive: the ticket is better).
        gap: a sparser-than-dense round before it did fall short.
        n: number of pairs at that round, or the largest of any round.
        level: of all intervals.
    """

    sparsity: float | None
    low: float
    high: float
    round: int | None
    difference: Interval | None
    gap: bool
    n: int
    level: float = LEVEL

    @property
    def text(self) -> str:
        """What keeps it from being a claim; empty where it is one."""
        if self.sparsity is not None:
            return ""
        return few(self.n) if self.n < MIN_PAIRS else "none: every round is shown to be worse than dense"


def extreme_ticket(
    curves: Mapping[Rep, Curve], dense: Mapping[Rep, float], higher_is_better: bool, level: float = LEVEL
) -> Extreme:
    """The largest achieved sparsity at which the paired interval of ticket minus dense still reaches zero.

    Args:
        curves: by repetition, sparsity and metric of each round; some may have fewer rounds. Rounds that remove nothing
            are no tickets.
        dense: metric of the dense network by repetition.
        higher_is_better: of the metric.
        level: of the intervals.
    """
    reps = sorted(curves.keys() & dense.keys(), key=repr)
    rounds = max((len(curves[rep]) for rep in reps), default=0)
    differences, sparsities = np.full((len(reps), rounds), np.nan), np.full((len(reps), rounds), np.nan)
    for row, rep in enumerate(reps):
        for column, (sparsity, metric) in enumerate(curves[rep]):
            differences[row, column] = (metric - dense[rep]) * (1 if higher_is_better else -1)
            sparsities[row, column] = sparsity
    pairs = np.isfinite(differences).sum(0)
    reached = np.isfinite(sparsities).sum(0)
    mean = np.nansum(sparsities, 0) / np.maximum(reached, 1)
    enough = (pairs >= MIN_PAIRS) & (mean > 0)
    if not enough.any():
        return Extreme(None, math.nan, math.nan, None, None, False, int(pairs.max(initial=0)), level)
    found = [interval(differences[:, number], level) for number in range(rounds)]
    covered = np.array([there.high >= 0 for there in found]) & enough
    low, high = _resampled(differences, np.where(enough, mean, 0.0), level)
    if not covered.any():
        return Extreme(None, low, high, None, None, False, int(pairs.max()), level)
    best = int(np.where(covered, mean, -1.0).argmax())
    gap = bool((enough & ~covered & (mean < mean[best])).any())
    return Extreme(float(mean[best]), low, high, best + 1, found[best], gap, int(pairs[best]), level)


def _resampled(differences: NDArray[Any], sparsity: NDArray[Any], level: float) -> tuple[float, float]:
    """Range of the extreme sparsity over resampled repetitions; rounds of sparsity 0 do not count."""
    random = np.random.default_rng(0)
    n = len(differences)
    counts = random.multinomial(n, np.full(n, 1 / n), size=INNER).astype(float)
    there = np.isfinite(differences)
    filled, cut = np.where(there, differences, 0.0), tail(n, level)
    extremes = []
    for drawn in random.integers(0, n, size=(OUTER, n)):
        # A round is covered where more than the cut-off share of resampled means is not below zero.
        reaching = ((counts @ filled[drawn] >= 0) & (counts @ there[drawn] > 0)).mean(0) > cut
        extremes.append(np.where(reaching, sparsity, 0.0).max())
    # Achieved sparsities, none between two rounds.
    ends = np.quantile(extremes, ((1 - level) / 2, (1 + level) / 2), method="inverted_cdf")
    return float(ends[0]), float(ends[1])
