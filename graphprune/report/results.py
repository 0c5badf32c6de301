"""What runs have shown: points of series, series of groups, and where the series of a group meet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from graphprune.data.metrics import METRICS, MetricInfo
from graphprune.methods.core.shown import Points, Role
from graphprune.report.records import Run
from graphprune.report.stats import Curve, Interval, at_sparsity, interval

Repetition = tuple[int, int]
Row = Mapping[str, Any]

# What methods are compared with comes first, in this order.
BASELINES: tuple[Role, ...] = ("dense", "no-edges", "size-matched")
# What protocols that choose by the test metric are called.
LEAKING = ("selects on test", "select=test")
# Sparsities that differ by less are one: of other weights protected, the same density is rounded to other counts.
ROUNDING = 1e-4
# How far off a small dense network's number of parameters may be, as a share of it.
SAME_SIZE = 0.05


@dataclass(frozen=True)
class SparsityKind:
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
EDGES = SparsityKind("edges", "edge_sparsity_test", "weight_sparsity", "edges removed from the test graphs")
WEIGHTS = SparsityKind("weights", "weight_sparsity", "edge_sparsity_test", "weights removed")
KINDS = (EDGES, WEIGHTS)


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
    def kind(self) -> Points:
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
        role: what it is in comparisons.
        protocol: as the results have it.
        runs: in the order of their repetitions and points.
        points: one a round, or one a density.
        joint: the grid of edge rates times weight rates that it is part of; empty: none.
    """

    label: str
    method: str
    role: Role
    protocol: str
    runs: tuple[Run, ...]
    points: tuple[Point, ...]
    joint: str = ""

    @property
    def baseline(self) -> bool:
        """Whether it is there to compare methods with."""
        return self.role in BASELINES

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

    def at(self, kind: SparsityKind, sparsity: float, metric: str = "test_metric") -> dict[Repetition, float]:
        """The metric at a sparsity in each repetition that reaches it.

        Interpolated between the rounds of a run; between densities, which are trainings apart, nothing is.
        """
        found = {}
        for repetition, curve in self.curves(kind.column, metric).items():
            if self.last.density is None:
                value = at_sparsity(curve, sparsity)
            else:
                nearest, there = min(curve, key=lambda point: abs(point[0] - sparsity))
                value = there if abs(nearest - sparsity) < ROUNDING else math.nan
            if math.isfinite(value):
                found[repetition] = value
        return found

    def of_size(self, size: float) -> Point | None:
        """The point whose number of parameters is nearest to a size; None if none is within 5 % of it."""
        nearest = min(self.points, key=lambda point: abs(point["params_kept"].mean - size))
        return nearest if abs(nearest["params_kept"].mean - size) <= SAME_SIZE * size else None


@dataclass(frozen=True)
class Group:
    """Series on one data set with one model: a setting in which methods can be compared.

    Attributes:
        title: data set and model, and what tells the group from others on the same two.
        metric: what is measured.
        series: baselines first.
    """

    title: str
    metric: str
    series: tuple[Series, ...]

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is the better one."""
        info = _info(self.metric)
        return info is None or info.higher_is_better

    @property
    def metric_label(self) -> str:
        """The metric's name in print."""
        info = _info(self.metric)
        return self.metric if info is None else info.label

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

    @property
    def clock(self) -> str:
        """The column of what costs are compared in: ``"cpu_seconds"`` if all runs know them, else ``"seconds"``."""
        known = (series.last["cpu_seconds"] for series in self.series)
        return "cpu_seconds" if all(stat.finite == stat.count for stat in known) else "seconds"

    def find(self, *roles: Role) -> list[Series]:
        """The series of these roles."""
        return [series for series in self.series if series.role in roles]

    @property
    def lines(self) -> list[Series]:
        """Methods, each with a curve of its own; cells of joint grids have none."""
        return [series for series in self.series if not series.baseline and not series.joint]

    def contenders(self, kind: SparsityKind) -> list[Series]:
        """Those that remove something of a kind and whose test metrics can be compared."""
        return [series for series in self.lines if not series.selects_on_test and series.removes(kind.column)]


def _info(metric: str) -> MetricInfo | None:
    try:
        return METRICS[metric]
    except (KeyError, ImportError, TypeError):  # not installed, or a plug-in that is broken
        return None


def leaking(text: str) -> bool:
    """Whether a protocol, or a label that names it, stands for selection on the test set."""
    return any(word in text for word in LEAKING)
