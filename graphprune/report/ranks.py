"""Mean ranks of methods over several settings, and how far they can be trusted; knows numbers only."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import numpy as np
from scipy import stats

from graphprune.report.stats import LEVEL, RESAMPLES, Interval, Rep, tail

Setting = TypeVar("Setting", bound=Hashable)
Method = TypeVar("Method", bound=Hashable)
# Means of equal numbers in another order differ in the last digits and are to tie all the same.
DIGITS = 12


@dataclass(frozen=True)
class Rank:
    """Where a method stands over several settings.

    Attributes:
        mean: of its ranks, 1 is best; NaN without a setting.
        n: number of settings.
        ranks: one a setting.
    """

    mean: float
    n: int
    ranks: tuple[float, ...]


def mean_ranks(table: Mapping[Setting, Mapping[Method, float]], higher_is_better: bool = True) -> dict[Method, Rank]:
    """Mean rank of each method over the settings that have a finite number for all of them; ties share ranks."""
    methods = list(dict.fromkeys(method for values in table.values() for method in values))
    sign = -1 if higher_is_better else 1
    whole = [
        [sign * values[method] for method in methods]
        for values in table.values()
        if all(math.isfinite(values.get(method, math.nan)) for method in methods)
    ]
    ranks = np.array([stats.rankdata(values) for values in whole]).reshape(len(whole), len(methods))
    return {
        method: Rank(float(column.mean()) if len(column) else math.nan, len(column), tuple(column.tolist()))
        for method, column in zip(methods, ranks.T, strict=True)
    }


def rank_intervals(
    table: Mapping[Setting, Mapping[Method, Mapping[Rep, float]]],
    higher_is_better: bool = True,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[Method, Interval]:
    """Mean ranks as :func:`mean_ranks` has them, of the means over the repetitions, and bootstrap intervals of them.

    Each resample draws settings and, in each of them, repetitions, which take all methods' numbers along; settings that
    have as many repetitions share their draw, for a seed may favour a method in all of them. Few settings are
    made up for as in :func:`graphprune.report.stats.interval`.

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
    whole = []
    for values in table.values():
        runs = [values.get(method, {}) for method in methods]
        common = [rep for rep in runs[0] if all(math.isfinite(run.get(rep, math.nan)) for run in runs)] if runs else []
        if common:
            whole.append(np.array([[run[rep] for rep in sorted(common, key=repr)] for run in runs]))
    means = {
        number: {method: round(fmean(row), DIGITS) for method, row in zip(methods, rows.tolist(), strict=True)}
        for number, rows in enumerate(whole)
    }
    found = mean_ranks(means, higher_is_better)
    if len(whole) < 2:
        return {method: Interval(rank.mean, math.nan, math.nan, rank.n, level) for method, rank in found.items()}
    random, sign = np.random.default_rng(seed), -1 if higher_is_better else 1
    drawn = random.random((RESAMPLES, max(rows.shape[1] for rows in whole)))
    resampled = np.stack(
        [
            stats.rankdata(sign * rows[:, (drawn[:, :n] * n).astype(int)].mean(2).round(DIGITS), axis=0)
            for rows in whole
            for n in [rows.shape[1]]
        ]
    )  # settings, methods, resamples
    settings = random.integers(0, len(whole), (len(whole), RESAMPLES))
    over = resampled[settings, :, np.arange(RESAMPLES)].mean(0)
    cut = tail(len(whole), level)
    low, high = np.quantile(over, (cut, 1 - cut), axis=0)
    return {
        method: Interval(found[method].mean, float(low[place]), float(high[place]), len(whole), level)
        for place, method in enumerate(methods)
    }


def critical_difference(methods: int, settings: int, level: float = LEVEL) -> float:
    """By how much two mean ranks must differ to be told apart (Nemenyi's test; Demšar, JMLR 2006).

    Args:
        methods: how many are ranked, at least 2.
        settings: over how many settings.
        level: one minus the share of false alarms over all pairs.
    """
    range_ = stats.studentized_range.ppf(level, methods, math.inf)
    return float(range_ / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * settings)))
