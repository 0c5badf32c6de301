"""From groups of runs to what they show: differences to dense, rivals at equal sparsity, rankings, extreme tickets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import ge
from statistics import fmean

from graphprune.report.extreme import Extreme, extreme_ticket
from graphprune.report.results import KINDS, WEIGHTS, Group, Point, Repetition, Series, SparsityKind, Stat
from graphprune.report.stats import BETTER, MIN_PAIRS, NO_DIFFERENCE, Comparison, compare, few

RIVALS = 2  # against how many others each method is set


@dataclass(frozen=True)
class PairedComparison:
    """Two series at equal sparsity, or of equal size.

    Attributes:
        kind: the sparsity that is equal; None: the number of parameters is.
        at: the sparsity, or the number of parameters.
        first: one series.
        second: the other.
        metrics: test metric of each, over the common repetitions.
        others: what each has lost of the other kind there; empty where sizes are equal.
        comparison: first against second.
    """

    kind: SparsityKind | None
    at: float
    first: Series
    second: Series
    metrics: tuple[Stat, Stat]
    others: tuple[float, ...]
    comparison: Comparison


@dataclass(frozen=True)
class Ranking:
    """How all methods that remove something of a kind stand at one sparsity.

    Attributes:
        kind: of sparsity.
        at: that of a density that some of them were run at, with all methods that reach it, else the largest sparsity
            that all of them reach; None: there is none.
        values: test metric by label, over the repetitions that all of them have; empty without ``at``.
        leader: the one with the best mean; None where runs are too few.
        level: those that are not told apart from it.
        verdict: what may be claimed.
    """

    kind: SparsityKind
    at: float | None
    values: Mapping[str, Mapping[Repetition, float]]
    leader: str | None
    level: tuple[str, ...]
    verdict: str

    @property
    def winner(self) -> str | None:
        """The one that is better than every other, if the intervals say so."""
        return None if self.level else self.leader

    @property
    def metrics(self) -> dict[str, Stat]:
        """The test metric by label."""
        return {label: Stat.of(values.values()) for label, values in self.values.items()}

    @property
    def runs(self) -> int:
        """Number of repetitions that all methods have."""
        return len(next(iter(self.values.values()), ()))


@dataclass(frozen=True)
class Findings:
    """All that is compared in one group.

    Attributes:
        group: the group.
        dense: each point of each series against dense, by label and number; series without a dense partner are missing.
        pairs: strongest rivals, and tickets with small dense networks of their size.
        rankings: one for each density or, without any, one a kind of sparsity, where at least two methods share it.
        extremes: by label and name of the kind.
    """

    group: Group
    dense: Mapping[str, Mapping[int, Comparison]]
    pairs: tuple[PairedComparison, ...]
    rankings: tuple[Ranking, ...]
    extremes: Mapping[str, Mapping[str, Extreme]]


def findings(group: Group) -> Findings:
    """Compare whatever can be compared in a group."""
    better, dense, extremes = group.higher_is_better, {}, {}
    for series in group.series:
        partner = dense_for(group, series)
        if partner is None or partner is series:
            continue
        tests = partner.last.tests
        dense[series.label] = {point.number: compare(point.tests, tests, better) for point in series.points}
        if not series.baseline and not series.joint:
            extremes[series.label] = {
                kind.name: extreme_ticket(series.curves(kind.column), tests, better)
                for kind in KINDS
                if series.removes(kind.column)
            }
    rankings = tuple(ranking for kind in KINDS for ranking in _rankings(group, kind))
    return Findings(group, dense, (*_rivalries(group), *_size_matched(group)), rankings, extremes)


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


def joint_grids(group: Group) -> dict[str, list[tuple[Series, Point]]]:
    """The last round of each series of each grid of edge rates times weight rates."""
    grids: dict[str, list[tuple[Series, Point]]] = {}
    for series in group.series:
        if series.joint:
            grids.setdefault(series.joint, []).append((series, series.last))
    return grids


def frontier(found: Findings) -> list[Series]:
    """Series of joint grids not shown to be worse than dense, and not surpassed in both sparsities by another one."""
    kept: list[Series] = []
    for cells in joint_grids(found.group).values():
        level = [
            (tuple(point[kind.column].mean for kind in KINDS), series)
            for series, point in cells
            if (comparison := found.dense.get(series.label, {}).get(point.number)) is not None
            and comparison.verdict in (BETTER, NO_DIFFERENCE)
        ]
        kept += [
            series
            for mine, series in level
            if not any(other != mine and all(map(ge, other, mine)) for other, _ in level)
        ]
    return kept


# ---------------------------------------------------------------------- pairs


def _rivalries(group: Group) -> Iterator[PairedComparison]:
    """Each method against the strongest others, by the validation metric: the test metric would flatter them."""
    for kind in KINDS:
        field, seen = group.contenders(kind), set[tuple[float | None, frozenset[str]]]()
        for series in field:
            for density, rivals in _rivals(group, series, field, kind).items():
                for rival, sparsity in rivals[:RIVALS]:
                    pair = density, frozenset((series.label, rival.label))
                    if pair not in seen:
                        seen.add(pair)
                        values = series.at(kind, sparsity), rival.at(kind, sparsity)
                        yield _paired(group, kind, sparsity, (series, rival), values)


def _rivals(
    group: Group, series: Series, field: Sequence[Series], kind: SparsityKind
) -> dict[float | None, list[tuple[Series, float]]]:
    """For each density, or for None, those that reach a sparsity that the series reaches, the strongest first."""
    found: dict[float | None, list[tuple[Series, float]]] = {}
    for rival in [other for other in field if other is not series]:
        for density, sparsity in meetings([series, rival], kind).items():
            if all(one.at(kind, sparsity, kind.other) for one in (series, rival)):
                found.setdefault(density, []).append((rival, sparsity))

    def strength(place: tuple[Series, float]) -> float:
        values = place[0].at(kind, place[1], "val_metric").values()
        return fmean(values) * (1 if group.higher_is_better else -1) if values else -math.inf

    return {density: sorted(rivals, key=strength, reverse=True) for density, rivals in found.items()}


def _size_matched(group: Group) -> Iterator[PairedComparison]:
    """Tickets against small dense networks with as many parameters."""
    for small in group.find("size-matched"):
        size = small.last["params_kept"].mean
        for series in group.contenders(WEIGHTS) if not small.selects_on_test else ():
            if (ticket := series.of_size(size)) is not None:
                yield _paired(group, None, size, (series, small), (ticket.tests, small.last.tests))


def _paired(
    group: Group,
    kind: SparsityKind | None,
    where: float,
    pair: tuple[Series, Series],
    values: tuple[Mapping[Repetition, float], Mapping[Repetition, float]],
) -> PairedComparison:
    a, b = values
    both = [rep for rep in a if rep in b and math.isfinite(a[rep]) and math.isfinite(b[rep])]
    metrics = Stat.of(a[rep] for rep in both), Stat.of(b[rep] for rep in both)
    others = () if kind is None else tuple(fmean(one.at(kind, where, kind.other).values()) for one in pair)
    return PairedComparison(kind, where, *pair, metrics, others, compare(a, b, group.higher_is_better))


# ---------------------------------------------------------------------- rankings


def common_sparsity(several: Sequence[Series], kind: SparsityKind) -> float | None:
    """The largest sparsity that lies in the achieved range of every complete run of all these series."""
    achieved = [
        [sparsity for sparsity, _ in series.curves(kind.column)[repetition]]
        for series in several
        for repetition in series.last.rows
    ]
    largest = min(map(max, achieved), default=-math.inf)
    return largest if achieved and max(map(min, achieved)) <= largest else None


def meetings(several: Sequence[Series], kind: SparsityKind) -> dict[float | None, float]:
    """At which sparsities series are compared: by density, or the largest common one where none of them has densities.

    Not every series need reach a density.
    """
    points = [point for series in several for point in series.points if point.density is not None]
    if points:
        points.sort(key=lambda point: point.density or 0, reverse=True)
        return {point.density: point[kind.column].mean for point in points}
    largest = common_sparsity(several, kind)
    return {} if largest is None else {None: largest}


def _rankings(group: Group, kind: SparsityKind) -> Iterator[Ranking]:
    """At each density or, without any, at the largest sparsity that all methods reach."""
    field: Sequence[Series] = group.contenders(kind)
    densities = {density: sparsity for density, sparsity in meetings(field, kind).items() if density is not None}
    if len(field) > 1 and not densities:
        field, without = _repeated(field, {series.label: series.last["test_metric"].finite for series in field})
        sparsity = common_sparsity(field, kind)
        if sparsity is None:
            yield Ranking(kind, None, {}, None, (), "no sparsity that all methods reach" + without)
        else:
            yield _ranking(group, kind, sparsity, field, without)
    for sparsity in densities.values():
        there = {series.label: len(series.at(kind, sparsity)) for series in field}
        reaching, without = _repeated([series for series in field if there[series.label]], there)
        if len(reaching) > 1:
            yield _ranking(group, kind, sparsity, reaching, without)


def _repeated(field: Sequence[Series], runs: Mapping[str, int]) -> tuple[Sequence[Series], str]:
    """Without methods of which hardly any runs are there, which would take the others' runs away, and their names."""
    repeated = [series for series in field if runs[series.label] >= MIN_PAIRS]
    if len(repeated) < 2:
        return field, ""
    absent = [series.label for series in field if series not in repeated]
    return repeated, f"; without {', '.join(absent)}: too few runs" if absent else ""


def _ranking(group: Group, kind: SparsityKind, sparsity: float, field: Sequence[Series], without: str) -> Ranking:
    found = {series.label: series.at(kind, sparsity) for series in field}
    shared = sorted(set.intersection(*map(set, found.values())))
    values = {label: {rep: metrics[rep] for rep in shared} for label, metrics in found.items()}
    leader, verdict = None, few(len(shared))
    level: tuple[str, ...] = ()
    if len(shared) >= MIN_PAIRS:
        sign = 1 if group.higher_is_better else -1
        leader = max(values, key=lambda label: sign * fmean(values[label].values()))
        level = tuple(
            label
            for label in values
            if label != leader and compare(values[leader], values[label], group.higher_is_better).verdict != BETTER
        )
        verdict = f"{leader} is better than every other"
        if level:
            verdict = f"no winner shown: {', '.join(sorted((leader, *level)))} are not told apart"
    return Ranking(kind, sparsity, values, leader, level, verdict + without)
