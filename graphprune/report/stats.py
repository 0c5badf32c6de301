"""Statistics of repeated runs: intervals, paired comparisons, equal sparsity and mean ranks.

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
Curve = Sequence[tuple[float, float]]  # sparsity and metric
Setting = TypeVar("Setting", bound=Hashable)
Method = TypeVar("Method", bound=Hashable)

LEVEL = 0.95
# With fewer pairs not even differences of one sign throughout would be rare by chance: 2 * 0.5**4 is 12.5 %.
MIN_PAIRS = 5
RESAMPLES = 9_999
# Means of equal numbers in another order differ in the last digits and are to tie all the same.
DIGITS = 12

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
    # A zero has no sign here: equal values are to have one interval, and which was asked for first is not to matter.
    return _interval(tuple(float(value) + 0.0 for value in values if math.isfinite(value)), level, seed)


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


# ---------------------------------------------------------------------- mean ranks


def rank_intervals(
    table: Mapping[Setting, Mapping[Method, Mapping[Rep, float]]],
    higher_is_better: bool = True,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[Method, Interval]:
    """Mean rank of each method over the settings, 1 is best, and its bootstrap interval; ties share ranks.

    A setting ranks means over repetitions. Each resample draws settings and, in each of them, repetitions, which take
    all methods' numbers along; settings that have as many repetitions share their draw, for a seed may favour a method
    in all of them. Few settings are made up for as in :func:`interval`.

    Args:
        table: by setting and method, the metric by repetition. Settings without all methods count no more than
            repetitions without a finite number for all of them.
        higher_is_better: of the metric.
        level: between 0 and 1.
        seed: of the resampling.

    Returns:
        By method, with the number of settings; without an interval for fewer than two.
    """
    methods = list(dict.fromkeys(method for values in table.values() for method in values))
    sign, whole = -1 if higher_is_better else 1, []
    for values in table.values():
        runs = [values.get(method, {}) for method in methods]
        common = [rep for rep in runs[0] if all(math.isfinite(run.get(rep, math.nan)) for run in runs)] if runs else []
        if common:
            whole.append(sign * np.array([[run[rep] for rep in sorted(common, key=repr)] for run in runs]))
    if not whole:
        return {method: Interval(math.nan, math.nan, math.nan, 0, level) for method in methods}
    mean = np.mean([_ranked(metrics) for metrics in whole], axis=0)
    low = high = np.full(len(methods), math.nan)
    if len(whole) > 1:
        random = np.random.default_rng(seed)
        drawn = random.random((RESAMPLES, max(metrics.shape[1] for metrics in whole)))
        resampled = np.stack(
            [_ranked(metrics[:, (drawn[:, : metrics.shape[1]] * metrics.shape[1]).astype(int)]) for metrics in whole]
        )  # settings, methods, resamples
        settings = random.integers(0, len(whole), (len(whole), RESAMPLES))
        over = resampled[settings, :, np.arange(RESAMPLES)].mean(0)
        cut = tail(len(whole), level)
        low, high = np.quantile(over, (cut, 1 - cut), axis=0)
    return {
        method: Interval(float(mean[place]), float(low[place]), float(high[place]), len(whole), level)
        for place, method in enumerate(methods)
    }


def _ranked(metrics: NDArray[Any]) -> NDArray[Any]:
    """Ranks of methods, along the first axis, by their means over repetitions, along the last; the smallest first."""
    return np.asarray(stats.rankdata(metrics.mean(-1).round(DIGITS), axis=0))


def critical_difference(methods: int, settings: int, level: float = LEVEL) -> float:
    """By how much two mean ranks must differ to be told apart (Nemenyi's test; Demšar, JMLR 2006).

    Args:
        methods: how many are ranked, at least 2.
        settings: over how many settings.
        level: one minus the share of false alarms over all pairs.
    """
    range_ = stats.studentized_range.ppf(level, methods, math.inf)
    return float(range_ / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * settings)))
