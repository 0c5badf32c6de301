"""From groups of runs to what they show: differences to dense, rivals at equal sparsity, extreme tickets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from graphprune.report.equal import AXES, WEIGHTS, Axis, at, contenders, meetings, of_size
from graphprune.report.results import SINGLE, Group, Repetition, Series, Stat
from graphprune.report.standings import Standing, standings
from graphprune.report.stats import (
    Comparison,
    Extreme,
    compare,
    extreme_ticket,
)

RIVALS = 2  # against how many others each method is set


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
class Findings:
    """All that is compared in one group.

    Attributes:
        group: the group.
        dense: each point of each series against dense, by label and number; series without a dense partner are missing.
        duels: strongest rivals and small dense networks.
        standings: one for each density or, without any, one an axis, where at least two methods share it.
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
                point.number: compare(point.tests, partner.last.tests, group.higher_is_better)
                for point in series.points
            }
    standing = tuple(one for axis in AXES for one in standings(group, axis))
    extremes = {
        series.label: {axis.name: _extreme(group, series, axis) for axis in AXES if series.removes(axis.column)}
        for series in group.series
        if series.label in dense and series.method not in SINGLE and not series.joint
    }
    return Findings(group, dense, (*_rivalries(group), *_twins(group)), standing, extremes)


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


def _rivalries(group: Group) -> Iterator[Duel]:
    """Each method against the strongest others, by the validation metric: the test metric would flatter them."""
    for axis in AXES:
        field, seen = contenders(group, axis), set[tuple[float | None, frozenset[str]]]()
        for series in field:
            for density, rivals in _rivals(group, series, field, axis).items():
                for rival, sparsity in rivals[:RIVALS]:
                    pair = density, frozenset((series.label, rival.label))
                    if pair not in seen:
                        seen.add(pair)
                        values = at(series, axis, sparsity), at(rival, axis, sparsity)
                        yield _duel(group, axis, sparsity, (series, rival), values)


def _rivals(
    group: Group, series: Series, field: Sequence[Series], axis: Axis
) -> dict[float | None, list[tuple[Series, float]]]:
    """For each density, or for None, those that reach a sparsity that the series reaches, the strongest first."""
    found: dict[float | None, list[tuple[Series, float]]] = {}
    for rival in [other for other in field if other is not series]:
        for density, sparsity in meetings([series, rival], axis).items():
            if all(at(one, axis, sparsity, axis.other) for one in (series, rival)):
                found.setdefault(density, []).append((rival, sparsity))

    def strength(place: tuple[Series, float]) -> float:
        values = at(place[0], axis, place[1], "val_metric").values()
        return fmean(values) * (1 if group.higher_is_better else -1) if values else -math.inf

    return {density: sorted(rivals, key=strength, reverse=True) for density, rivals in found.items()}


def _twins(group: Group) -> Iterator[Duel]:
    """Tickets against small dense networks with as many parameters."""
    for small in group.find("small-dense"):
        if small.selects_on_test:
            continue
        size = small.last["params_kept"].mean
        for series in contenders(group, WEIGHTS):
            if (twin := of_size(small, [series])) is not None:
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


# ---------------------------------------------------------------------- extreme tickets


def _extreme(group: Group, series: Series, axis: Axis) -> Extreme:
    partner = dense_for(group, series)
    dense = partner.last.tests if partner is not None else {}
    return extreme_ticket(series.curves(axis.column), dense, group.higher_is_better)
