"""Runs grouped by what they have in common, with means and spreads over their repetitions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from graphprune.bench import labels
from graphprune.bench.records import NUMBERS, Run, read_runs
from graphprune.bench.stats import Curve, Interval, interval

COLUMNS = (*NUMBERS, "epochs_search", "predictor_passes")
SUMMED = ("epochs_trained", "epochs_search", "seconds")
SINGLE = ("dense", "no-edges", "small-dense")
LOWER_IS_BETTER = frozenset({"rmse"})
# What protocols that choose by the test metric are called.
LEAKING = ("selects on test", "select=test")

Repetition = tuple[int, int]


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation of the finite values among ``count``."""

    mean: float
    sd: float
    count: int
    finite: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Stat:
        """Of any numbers; mean NaN without a finite one, sd NaN with fewer than two."""
        every = list(values)
        finite = [value for value in every if math.isfinite(value)]
        mean = fmean(finite) if finite else math.nan
        return cls(mean, stdev(finite) if len(finite) > 1 else math.nan, len(every), len(finite))


@dataclass(frozen=True)
class Point:
    """A round of a series, over its runs.

    Attributes:
        round: its number.
        values: statistics by column of the results; epochs and seconds are summed up to the round.
        tests: the test metric by repetition.
        runs: number of runs that have finished it.
        collapsed: names of layers without weights, with the seed.
    """

    round: int
    values: Mapping[str, Stat]
    tests: Mapping[Repetition, float]
    runs: int
    collapsed: tuple[str, ...]

    def __getitem__(self, column: str) -> Stat:
        return self.values[column]

    @property
    def interval(self) -> Interval:
        """Confidence interval of the mean test metric."""
        return interval(self.tests.values())


@dataclass(frozen=True)
class Series:
    """Runs of one method that differ in seed and fold only.

    Attributes:
        label: the method, and the options in which it differs from other series of that method.
        method: its name.
        protocol: as the results have it.
        runs: the repetitions.
        points: one a round.
        joint: the grid of edge rates times weight rates that it is part of; empty: none.
    """

    label: str
    method: str
    protocol: str
    runs: tuple[Run, ...]
    points: tuple[Point, ...]
    joint: str = ""

    @property
    def last(self) -> Point:
        """The last round that any run has reached."""
        return self.points[-1]

    @property
    def selects_on_test(self) -> bool:
        """Whether epochs were chosen by the test metric, which then is too good."""
        return leaking(self.protocol)

    def removes(self, column: str) -> bool:
        """Whether any round has removed something of this kind."""
        return any(point[column].mean > 0 for point in self.points)

    def curves(self, column: str, metric: str = "test_metric") -> dict[Repetition, Curve]:
        """By repetition, sparsity and metric of each round."""
        return {run.repetition: [(row[column], row[metric]) for row in run.rows] for run in self.runs}


@dataclass(frozen=True)
class Group:
    """Series on one data set with one model: a setting in which methods can be compared.

    Attributes:
        title: data set and model, and what tells the group from others on the same two.
        data: name of the data set.
        model: class of the model.
        metric: what is measured.
        series: baselines first.
    """

    title: str
    data: str
    model: str
    metric: str
    series: tuple[Series, ...]

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is the better one."""
        return self.metric not in LOWER_IS_BETTER

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for series in self.series for run in series.runs]

    @property
    def folded(self) -> bool:
        """Whether the repetitions are folds of a cross-validation."""
        return len({run.repetition[1] for run in self.runs}) > 1

    @property
    def caveat(self) -> str:
        """What intervals over these repetitions leave out."""
        if self.folded:
            return (
                " The runs are folds of a cross-validation: their training sets overlap, so that their metrics are not "
                "independent and the intervals too narrow."
            )
        return " The runs share their split: intervals tell of training, not of the choice of test graphs."

    def find(self, *methods: str) -> list[Series]:
        """The series of these methods."""
        return [series for series in self.series if series.method in methods]


def leaking(text: str) -> bool:
    """Whether a protocol, or a label that names it, stands for selection on the test set."""
    return any(word in text for word in LEAKING)


def collect(folders: Sequence[Path]) -> tuple[Group, ...]:
    """Read every ``results.json`` in and below these folders.

    Raises:
        FileNotFoundError: there is none, or a folder is missing.
        ValueError: a file is damaged or has no results of runs, the same run is there twice, or different data go by
            one name; the text names the folders.
    """
    groups = _split(
        read_runs(folders),
        lambda run: (run.rows[0]["data"], run.rows[0]["model"], run.rows[0]["metric"], _key(labels.setting(run))),
    )
    made = []
    for (data, model, metric, key), members in sorted(groups.items()):
        others = [json.loads(other[3]) for other in groups if other[:2] == (data, model)]
        title = labels.title(data, model, json.loads(key), others)
        made.append(Group(title, data, model, metric, _series(members)))
    return tuple(made)


def _split(runs: Iterable[Run], key: Callable[[Run], Any]) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _key(*parts: Any) -> str:
    return json.dumps(parts[0] if len(parts) == 1 else parts, sort_keys=True, default=str)


def _series(runs: list[Run]) -> tuple[Series, ...]:
    alike = _split(runs, lambda run: _key(run.rows[0]["method"], run.rows[0]["protocol"], labels.options(run)))
    made = []
    for members in alike.values():
        first = members[0].rows[0]
        rivals = [other[0] for other in alike.values() if other[0].rows[0]["method"] == first["method"]]
        ordered = tuple(sorted(members, key=lambda run: run.repetition))
        for one, other in pairwise(ordered):
            if one.repetition == other.repetition:
                raise ValueError(f"{one.folder} and {other.folder} hold the same run: leave one of them out")
        label, joint = labels.label(ordered[0], rivals), labels.joint(ordered[0], rivals)
        made.append(Series(label, first["method"], first["protocol"], ordered, _points(ordered), joint))
    return tuple(sorted(made, key=lambda series: (_rank(series.method), series.label)))


def _rank(method: str) -> int:
    return SINGLE.index(method) if method in SINGLE else len(SINGLE)


def _points(runs: Sequence[Run]) -> tuple[Point, ...]:
    points = []
    for number in sorted({row["round"] for run in runs for row in run.rows}):
        reached = {run.repetition: run for run in runs if any(row["round"] == number for row in run.rows)}
        rows = {key: next(row for row in run.rows if row["round"] == number) for key, run in reached.items()}
        values = {name: Stat.of(float(row[name]) for row in rows.values()) for name in COLUMNS}
        for name in SUMMED:
            values[name] = Stat.of(
                sum(row[name] for row in run.rows if row["round"] <= number) for run in reached.values()
            )
        tests = {key: float(row["test_metric"]) for key, row in rows.items()}
        collapsed = tuple(
            f"{_repetition(key, runs)}: {', '.join(row['collapsed'])}" for key, row in rows.items() if row["collapsed"]
        )
        points.append(Point(number, values, tests, len(rows), collapsed))
    return tuple(points)


def _repetition(repetition: Repetition, runs: Sequence[Run]) -> str:
    folded = len({run.repetition[1] for run in runs}) > 1
    return f"seed {repetition[0]}" + (f", fold {repetition[1]}" if folded else "")
