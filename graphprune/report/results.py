"""Runs grouped by what they have in common, with means and spreads over their repetitions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from graphprune.report import labels
from graphprune.report.records import NUMBERS, Run, read_runs
from graphprune.report.stats import Curve, Interval, interval

COLUMNS = (*NUMBERS, "epochs_search", "predictor_passes")
SUMMED = ("epochs_trained", "epochs_search", "seconds")
SINGLE = ("dense", "no-edges", "small-dense")
LOWER_IS_BETTER = frozenset({"rmse"})
# What protocols that choose by the test metric are called.
LEAKING = ("selects on test", "select=test")

Repetition = tuple[int, int]
Row = Mapping[str, Any]


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
    """A round of a series, or one of its densities, over its runs.

    Attributes:
        number: the round, or which density it is, counted from the largest.
        density: what runs of one training were asked for; None where the points are rounds.
        rows: of the results, by repetition.
        values: statistics by column of the results; epochs and seconds are summed up to the round.
        collapsed: names of layers without weights, with the seed.
    """

    number: int
    density: float | None
    rows: Mapping[Repetition, Row]
    values: Mapping[str, Stat]
    collapsed: tuple[str, ...]

    def __getitem__(self, column: str) -> Stat:
        return self.values[column]

    @property
    def kind(self) -> str:
        """What tells it from the other points of its series."""
        return "round" if self.density is None else "density"

    @property
    def short(self) -> str:
        """Its round or its density."""
        return str(self.number) if self.density is None else f"{self.density:g}"

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return f"{self.kind} {self.short}"

    @property
    def tests(self) -> dict[Repetition, float]:
        """The test metric by repetition."""
        return {repetition: float(row["test_metric"]) for repetition, row in self.rows.items()}

    @property
    def runs(self) -> int:
        """Number of runs that have finished it."""
        return len(self.rows)

    @property
    def interval(self) -> Interval:
        """Confidence interval of the mean test metric."""
        return interval(self.tests.values())


@dataclass(frozen=True)
class Series:
    """Runs of one method that differ in seed and fold only and, where it trains once, in the density.

    Attributes:
        label: the method, and the options in which it differs from other series of that method.
        method: its name.
        protocol: as the results have it.
        runs: in the order of their repetitions and points.
        points: one a round, or one a density.
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
        """The last round that any run has reached, or the smallest density."""
        return self.points[-1]

    @property
    def finals(self) -> tuple[Point, ...]:
        """Where runs end: the last round, or each density."""
        return tuple(point for point in self.points if point is self.last or point.density is not None)

    @property
    def repetitions(self) -> tuple[Repetition, ...]:
        """Seeds and folds."""
        return tuple(dict.fromkeys(run.repetition for run in self.runs))

    @property
    def selects_on_test(self) -> bool:
        """Whether epochs were chosen by the test metric, which then is too good."""
        return leaking(self.protocol)

    def removes(self, column: str) -> bool:
        """Whether any point has removed something of this kind."""
        return any(point[column].mean > 0 for point in self.points)

    def curves(self, column: str, metric: str = "test_metric") -> dict[Repetition, Curve]:
        """By repetition, sparsity and metric at each point; NaN for a metric that is not there yet."""
        return {
            repetition: [
                (row[column], row[metric]) if (row := point.rows.get(repetition)) else (point[column].mean, math.nan)
                for point in self.points
            ]
            for repetition in self.repetitions
        }


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
        return " The runs share their split: intervals tell of training, not of the choice of test data."

    @property
    def removes_edges(self) -> bool:
        """Whether any series has removed edges of any graph."""
        columns = ("edge_sparsity_train", "edge_sparsity_test")
        return any(series.removes(column) for series in self.series for column in columns)

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
        ordered = tuple(sorted(members, key=_order))
        label, joint = labels.label(ordered[0], rivals), labels.joint(ordered[0], rivals)
        made.append(Series(label, first["method"], first["protocol"], ordered, _points(ordered), joint))
    return tuple(sorted(made, key=lambda series: (_rank(series.method), series.label)))


def _rank(method: str) -> int:
    return SINGLE.index(method) if method in SINGLE else len(SINGLE)


def _order(run: Run) -> tuple[Repetition, float]:
    return run.repetition, -(labels.density(run) or 0)


def _points(runs: Sequence[Run]) -> tuple[Point, ...]:
    """One for each density and round that is there, the largest density first."""
    reached: dict[tuple[float, int], dict[Repetition, Run]] = {}
    for run in runs:
        for row in run.rows:
            there = reached.setdefault((-(labels.density(run) or 0), row["round"]), {})
            if other := there.get(run.repetition):
                raise ValueError(f"{other.folder} and {run.folder} hold the same run: leave one of them out")
            there[run.repetition] = run
    points = []
    for place, ((_, number), there) in enumerate(sorted(reached.items()), start=1):
        density = labels.density(next(iter(there.values())))
        rows = {key: next(row for row in run.rows if row["round"] == number) for key, run in there.items()}
        values = {name: Stat.of(float(row[name]) for row in rows.values()) for name in COLUMNS}
        for name in SUMMED:
            values[name] = Stat.of(
                sum(row[name] for row in run.rows if row["round"] <= number) for run in there.values()
            )
        collapsed = tuple(
            f"{_repetition(key, runs)}: {', '.join(row['collapsed'])}" for key, row in rows.items() if row["collapsed"]
        )
        points.append(Point(number if density is None else place, density, rows, values, collapsed))
    return tuple(points)


def _repetition(repetition: Repetition, runs: Sequence[Run]) -> str:
    folded = len({run.repetition[1] for run in runs}) > 1
    return f"seed {repetition[0]}" + (f", fold {repetition[1]}" if folded else "")
