"""From groups of runs to what they show: differences to dense, rivals at equal sparsity, extreme tickets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from graphprune.bench.collect import SINGLE, Group, Repetition, Series, Stat
from graphprune.bench.stats import (
    BETTER,
    MIN_PAIRS,
    Comparison,
    Extreme,
    at_sparsity,
    compare,
    extreme_ticket,
    few,
)

# Against how many others each method is set, and how far off a small dense network's size may be.
RIVALS, SAME_SIZE = 2, 0.05


@dataclass(frozen=True)
class Axis:
    """One kind of sparsity.

    Attributes:
        name: edges or weights.
        column: of the results.
        other: column of the other kind.
        text: what is removed.
    """

    name: str
    column: str
    other: str
    text: str


# What a method spares on graphs that it has never seen: that is the claim, and what training graphs lose is not.
EDGES = Axis("edges", "edge_sparsity_test", "weight_sparsity", "edges removed from the test graphs")
WEIGHTS = Axis("weights", "weight_sparsity", "edge_sparsity_test", "weights removed")
AXES = (EDGES, WEIGHTS)


@dataclass(frozen=True)
class Duel:
    """Two series at equal sparsity, or of equal size.

    Attributes:
        axis: what is equal; None: the number of parameters.
        at: the sparsity, or the number of parameters.
        first: one series.
        second: the other.
        metrics: test metric of each, over the common repetitions.
        others: what each has lost of the other kind there; empty where sizes are equal.
        comparison: first against second.
    """

    axis: Axis | None
    at: float
    first: Series
    second: Series
    metrics: tuple[Stat, Stat]
    others: tuple[float, ...]
    comparison: Comparison


@dataclass(frozen=True)
class Standing:
    """How all methods that remove something of a kind stand at the largest sparsity that all of them reach.

    Attributes:
        axis: the kind.
        at: that sparsity; None: there is none that all of them pass.
        metrics: test metric over the repetitions that all of them have, by label; empty without ``at``.
        runs: number of these repetitions.
        winner: the one that is better than every other, if the intervals say so.
        verdict: what may be claimed.
    """

    axis: Axis
    at: float | None
    metrics: Mapping[str, Stat]
    runs: int
    winner: str | None
    verdict: str


@dataclass(frozen=True)
class Findings:
    """All that is compared in one group.

    Attributes:
        group: the group.
        dense: each round of each series against dense, by label and round; series without a dense partner are missing.
        duels: strongest rivals and small dense networks.
        standings: one an axis that at least two methods share.
        extremes: by label and name of the axis.
    """

    group: Group
    dense: Mapping[str, Mapping[int, Comparison]]
    duels: tuple[Duel, ...]
    standings: tuple[Standing, ...]
    extremes: Mapping[str, Mapping[str, Extreme]]


def findings(group: Group) -> Findings:
    """Compare whatever can be compared in a group."""
    dense = {}
    for series in group.series:
        partner = dense_for(group, series)
        if partner is not None and partner is not series:
            dense[series.label] = {
                point.round: compare(point.tests, partner.last.tests, group.higher_is_better) for point in series.points
            }
    standings = tuple(_standing(group, axis, rivals) for axis in AXES if len(rivals := contenders(group, axis)) > 1)
    extremes = {
        series.label: {axis.name: _extreme(group, series, axis) for axis in AXES if series.removes(axis.column)}
        for series in group.series
        if series.label in dense and series.method not in SINGLE and not series.joint
    }
    return Findings(group, dense, (*_rivalries(group), *_twins(group)), standings, extremes)


def contenders(group: Group, axis: Axis) -> list[Series]:
    """Series with a curve along an axis whose test metrics can be compared."""
    return [
        series
        for series in group.series
        if series.method not in SINGLE
        and not series.joint
        and not series.selects_on_test
        and series.removes(axis.column)
    ]


def dense_for(group: Group, series: Series) -> Series | None:
    """The dense network that a series is measured by: of the same protocol, trained as alike as possible."""
    partners = [dense for dense in group.find("dense") if dense.selects_on_test == series.selects_on_test]
    return min(partners, key=lambda dense: len(trained_otherwise(series, dense)), default=None)


def trained_otherwise(series: Series, dense: Series) -> list[str]:
    """Options of training that differ from those of the dense network."""
    mine, others = series.runs[0].config, dense.runs[0].config
    if not mine or not others:
        return []
    names = sorted(name for name in {*mine, *others} if name.startswith("fit."))
    return [
        f"{name.removeprefix('fit.')} {mine.get(name)} instead of {others.get(name)}"
        for name in names
        if mine.get(name) != others.get(name)
    ]


# ---------------------------------------------------------------------- equal sparsity


def common_sparsity(several: Sequence[Series], axis: Axis) -> float | None:
    """The largest sparsity that lies in the achieved range of every complete run of all these series."""
    lows, highs = [], []
    for series in several:
        for run in series.runs:
            if run.rows[-1]["round"] == series.last.round:
                achieved = [row[axis.column] for row in run.rows]
                lows.append(min(achieved))
                highs.append(max(achieved))
    return min(highs) if highs and max(lows) <= min(highs) else None


def at(series: Series, axis: Axis, sparsity: float, metric: str = "test_metric") -> dict[Repetition, float]:
    """The metric at a sparsity in each repetition that reaches it."""
    curves = series.curves(axis.column, metric)
    found = {repetition: at_sparsity(curve, sparsity) for repetition, curve in curves.items()}
    return {repetition: value for repetition, value in found.items() if math.isfinite(value)}


def _rivalries(group: Group) -> Iterator[Duel]:
    """Each method against the strongest others, by the validation metric: the test metric would flatter them."""
    for axis in AXES:
        field, seen = contenders(group, axis), set[frozenset[str]]()
        for series in field:
            rivals = [other for other in field if other is not series]
            rivals.sort(key=_strength(group, series, axis), reverse=True)
            for rival in rivals[:RIVALS]:
                sparsity = common_sparsity([series, rival], axis)
                pair = frozenset((series.label, rival.label))
                if sparsity is not None and pair not in seen:
                    seen.add(pair)
                    values = at(series, axis, sparsity), at(rival, axis, sparsity)
                    yield _duel(group, axis, sparsity, (series, rival), values)


def _strength(group: Group, series: Series, axis: Axis) -> Callable[[Series], float]:
    def strength(rival: Series) -> float:
        sparsity = common_sparsity([series, rival], axis)
        values = at(rival, axis, sparsity, "val_metric").values() if sparsity is not None else ()
        return fmean(values) * (1 if group.higher_is_better else -1) if values else -math.inf

    return strength


def _twins(group: Group) -> Iterator[Duel]:
    """Tickets against small dense networks with as many parameters."""
    for small in group.find("small-dense"):
        if small.selects_on_test:
            continue
        size = small.last["params_kept"].mean
        for series in contenders(group, WEIGHTS):
            twin = min(series.points, key=lambda point: abs(point["params_kept"].mean - size))
            if abs(twin["params_kept"].mean - size) <= SAME_SIZE * size:
                yield _duel(group, None, size, (series, small), (twin.tests, small.last.tests))


def _duel(
    group: Group,
    axis: Axis | None,
    where: float,
    pair: tuple[Series, Series],
    values: tuple[Mapping[Repetition, float], Mapping[Repetition, float]],
) -> Duel:
    a, b = values
    both = [rep for rep in a if rep in b and math.isfinite(a[rep]) and math.isfinite(b[rep])]
    metrics = Stat.of(a[rep] for rep in both), Stat.of(b[rep] for rep in both)
    others = () if axis is None else tuple(fmean(at(one, axis, where, axis.other).values()) for one in pair)
    return Duel(axis, where, *pair, metrics, others, compare(a, b, group.higher_is_better))


def _standing(group: Group, axis: Axis, field: Sequence[Series]) -> Standing:
    # A method of which hardly any runs are there would take the others' runs away too.
    repeated = [series for series in field if series.last["test_metric"].finite >= MIN_PAIRS]
    if len(repeated) > 1:
        absent = [series.label for series in field if series not in repeated]
        field, without = repeated, f"; without {', '.join(absent)}: too few runs" if absent else ""
    else:
        without = ""
    sparsity = common_sparsity(field, axis)
    if sparsity is None:
        return Standing(axis, None, {}, 0, None, "no sparsity that all methods reach" + without)
    found = {series.label: at(series, axis, sparsity) for series in field}
    shared = sorted(set.intersection(*map(set, found.values())))
    values = {label: {rep: metrics[rep] for rep in shared} for label, metrics in found.items()}
    metrics = {label: Stat.of(metrics.values()) for label, metrics in values.items()}
    winner, verdict = _verdict(group, values)
    return Standing(axis, sparsity, metrics, len(shared), winner, verdict + without)


def _verdict(group: Group, values: Mapping[str, Mapping[Repetition, float]]) -> tuple[str | None, str]:
    """The winner over the same repetitions, if there is one, and what may be said."""
    runs = len(next(iter(values.values())))
    if runs < MIN_PAIRS:
        return None, few(runs)
    sign = 1 if group.higher_is_better else -1
    leader = max(values, key=lambda label: sign * fmean(values[label].values()))
    level = [
        label
        for label in values
        if label != leader and compare(values[leader], values[label], group.higher_is_better).verdict != BETTER
    ]
    if not level:
        return leader, f"{leader} is better than every other"
    return None, f"no winner shown: {', '.join(sorted((leader, *level)))} are not told apart"


# ---------------------------------------------------------------------- extreme tickets


def _extreme(group: Group, series: Series, axis: Axis) -> Extreme:
    partner = dense_for(group, series)
    dense = partner.last.tests if partner is not None else {}
    return extreme_ticket(series.curves(axis.column), dense, group.higher_is_better)
