"""How all methods of a group stand at one sparsity, who wins there, and how they rank over many such settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from graphprune.report.equal import Axis, at, common_sparsity, contenders, meetings
from graphprune.report.results import Group, Repetition, Series, Stat
from graphprune.report.stats import BETTER, MIN_PAIRS, compare, few


@dataclass(frozen=True)
class Standing:
    """How all methods that remove something of a kind stand at one sparsity.

    Attributes:
        axis: the kind.
        at: that of a density that some of them were run at, with all methods that reach it, else the largest sparsity
            that all of them reach; None: there is none.
        values: test metric by label, over the repetitions that all of them have; empty without ``at``.
        winner: the one that is better than every other, if the intervals say so.
        verdict: what may be claimed.
    """

    axis: Axis
    at: float | None
    values: Mapping[str, Mapping[Repetition, float]]
    winner: str | None
    verdict: str

    @property
    def metrics(self) -> dict[str, Stat]:
        """The test metric by label."""
        return {label: Stat.of(values.values()) for label, values in self.values.items()}

    @property
    def runs(self) -> int:
        """Number of repetitions that all methods have."""
        return len(next(iter(self.values.values()), ()))


def standings(group: Group, axis: Axis) -> Iterator[Standing]:
    """How the methods of a group stand: at each density or, without any, at the largest sparsity that all reach."""
    field: Sequence[Series] = contenders(group, axis)
    densities = {density: sparsity for density, sparsity in meetings(field, axis).items() if density is not None}
    if len(field) > 1 and not densities:
        field, without = _repeated(field, {series.label: series.last["test_metric"].finite for series in field})
        sparsity = common_sparsity(field, axis)
        if sparsity is None:
            yield Standing(axis, None, {}, None, "no sparsity that all methods reach" + without)
        else:
            yield _standing(group, axis, sparsity, field, without)
    for sparsity in densities.values():
        there = {series.label: len(at(series, axis, sparsity)) for series in field}
        reaching, without = _repeated([series for series in field if there[series.label]], there)
        if len(reaching) > 1:
            yield _standing(group, axis, sparsity, reaching, without)


def _repeated(field: Sequence[Series], runs: Mapping[str, int]) -> tuple[Sequence[Series], str]:
    """Without methods of which hardly any runs are there, which would take the others' runs away, and their names."""
    repeated = [series for series in field if runs[series.label] >= MIN_PAIRS]
    if len(repeated) < 2:
        return field, ""
    absent = [series.label for series in field if series not in repeated]
    return repeated, f"; without {', '.join(absent)}: too few runs" if absent else ""


def _standing(group: Group, axis: Axis, sparsity: float, field: Sequence[Series], without: str) -> Standing:
    found = {series.label: at(series, axis, sparsity) for series in field}
    shared = sorted(set.intersection(*map(set, found.values())))
    values = {label: {rep: metrics[rep] for rep in shared} for label, metrics in found.items()}
    winner, verdict = _verdict(group, values)
    return Standing(axis, sparsity, values, winner, verdict + without)


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
