"""Statistics of repeated runs: intervals, paired comparisons, equal sparsity, extreme tickets and mean ranks.

Plain numbers in, plain numbers out; docs/report.md explains each statistic and what it assumes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Rep = TypeVar("Rep", bound=Hashable)
Curve = Sequence[tuple[float, float]]

LEVEL = 0.95
# With fewer pairs not even differences of one sign throughout would be rare by chance: 2 * 0.5**4 is 12.5 %.
MIN_PAIRS = 5
RESAMPLES = 9_999
# For the uncertainty of an extreme ticket every resample of the repetitions is resampled once more.
OUTER, INNER = 200, 999

BETTER, WORSE, NO_DIFFERENCE, TOO_FEW = "better", "worse", "no difference shown", "too few"


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap confidence interval.

    Attributes:
        mean: of the finite values, NaN without any.
        low: lower end, NaN for fewer than two values.
        high: upper end.
        n: number of finite values.
        level: nominal coverage.
    """

    mean: float
    low: float
    high: float
    n: int
    level: float = LEVEL


def interval(values: Iterable[float], level: float = LEVEL, seed: int = 0) -> Interval:
    """Confidence interval of a mean: the percentile bootstrap, widened for small samples.

    The plain percentile interval is too narrow for the handful of seeds that an experiment has. Its level is therefore
    raised until it is as wide, for normal values, as Student's interval (Hesterberg, "What Teachers Should Know About
    the Bootstrap", The American Statistician 2015, "expanded percentile"). It never leaves the range of the values.

    Args:
        values: one a repetition; those that are not finite are left out.
        level: between 0 and 1.
        seed: of the resampling.

    Raises:
        ValueError: a level that is none.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return _interval(tuple(float(value) for value in values if math.isfinite(value)), level, seed)


@lru_cache(maxsize=8192)
def _interval(values: tuple[float, ...], level: float, seed: int) -> Interval:
    if len(values) < 2:
        return Interval(values[0] if values else math.nan, math.nan, math.nan, len(values), level)
    mean = math.fsum(values) / len(values)
    if len(set(values)) == 1:
        return Interval(values[0], values[0], values[0], len(values), level)
    found = stats.bootstrap(
        (np.array(values),),
        np.mean,
        confidence_level=1 - 2 * tail(len(values), level),
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(values), level)


def tail(n: int, level: float = LEVEL) -> float:
    """Share of resampled means that :func:`interval` cuts off at either end, for ``n`` values."""
    student = stats.t.ppf((1 + level) / 2, n - 1)
    return float(stats.norm.cdf(-math.sqrt(n / (n - 1)) * student))


@dataclass(frozen=True)
class Comparison:
    """What the common repetitions of two methods show.

    Attributes:
        difference: mean of first minus second, with the sign turned so that positive means the first is better.
        verdict: ``"better"``, ``"worse"``, ``"no difference shown"`` or ``"too few"``.
    """

    difference: Interval
    verdict: str

    @property
    def text(self) -> str:
        """The verdict as it is printed."""
        return few(self.difference.n) if self.verdict == TOO_FEW else self.verdict


def few(n: int) -> str:
    """Why nothing is claimed."""
    return f"too few runs ({n} of at least {MIN_PAIRS})"


def compare(
    a: Mapping[Rep, float],
    b: Mapping[Rep, float],
    higher_is_better: bool,
    level: float = LEVEL,
) -> Comparison:
    """Compare two methods over the repetitions that both have, pair by pair.

    Args:
        a: metric by repetition; what is not finite counts as missing.
        b: as ``a``.
        higher_is_better: of the metric.
        level: of the interval.

    Returns:
        A verdict other than "too few" from ``MIN_PAIRS`` pairs on, and "better" or "worse" only where the interval
        leaves zero out.
    """
    sign = 1 if higher_is_better else -1
    # In a fixed order, so that exchanging a and b turns the sign and nothing else.
    common = sorted(a.keys() & b.keys(), key=repr)
    difference = interval((sign * (a[rep] - b[rep]) for rep in common), level)
    return Comparison(difference, _verdict(difference))


def _verdict(difference: Interval) -> str:
    if difference.n < MIN_PAIRS:
        return TOO_FEW
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else NO_DIFFERENCE


def at_sparsity(points: Curve, target: float) -> float:
    """The metric at a sparsity, by linear interpolation between the achieved ones; never beyond them.

    Args:
        points: sparsity and metric, in the order of the rounds; where a sparsity comes twice the later one counts.
        target: the sparsity asked for.

    Returns:
        NaN outside the achieved range, and beside a point without a metric.
    """
    curve = dict(points)
    if not curve or not min(curve) <= target <= max(curve):
        return math.nan
    if target in curve:
        return curve[target]
    sparsities = sorted(curve)
    return float(np.interp(target, sparsities, [curve[sparsity] for sparsity in sparsities]))


# ---------------------------------------------------------------------- extreme tickets


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
