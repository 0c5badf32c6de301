"""The tables of a chapter: what was measured, what can be compared, what it cost. A table is a list of columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from graphprune.methods.core.shown import Table
from graphprune.report.compare import Findings, PairedComparison, frontier
from graphprune.report.extreme import Extreme
from graphprune.report.format import PERCENT, ends, mean_sd, percent, share, signed, table
from graphprune.report.results import Group, Point, Series, leaking
from graphprune.report.stats import MIN_PAIRS, Comparison

Item = TypeVar("Item")

# How a graph that no run has seen loses its edges.
UNSEEN = {"predictor": "by a learned predictor", "scorer": "by a score", "random": "at random"}
UNSEEN |= {"dense": "not pruned", "none": "not pruned", "": "–"}


@dataclass(frozen=True)
class Column(Generic[Item]):
    """A column of a table.

    Attributes:
        head: its name; ``{metric}`` and ``{point}`` stand for what these are called in the group.
        cell: its text for a row.
        of_edges: it is left out where no run has removed edges.
        of_cpu: it is left out where runs do not know their processor times, as older ones.
    """

    head: str
    cell: Callable[[Item], str]
    of_edges: bool = False
    of_cpu: bool = False


@dataclass(frozen=True)
class At:
    """A row of a table: a point of a series."""

    found: Findings
    series: Series
    point: Point

    @property
    def label(self) -> str:
        """The series, marked if its metric is too good."""
        marked = self.series.selects_on_test and not leaking(self.series.label)
        return self.series.label + " [selects on test]" * marked

    @property
    def parameters(self) -> str:
        """How many are left."""
        return f"{self.point['params_kept'].mean:,.0f} of {self.point['params_total'].mean:,.0f}"

    @property
    def validated(self) -> str:
        """The validation metric, which there is none of where the test split validates."""
        stat = self.point["val_metric"]
        return "–" if self.series.selects_on_test and not stat.finite else mean_sd(stat)

    @property
    def unseen(self) -> str:
        """What becomes of unseen graphs."""
        rule = "" if self.series.baseline else str(self.series.runs[0].rows[-1]["unseen"])
        return UNSEEN.get(rule, rule)

    @property
    def times_dense(self) -> str:
        """Its seconds, of the processor if all runs know them, as a multiple of the dense network's."""
        group = self.found.group
        dense = next((series.last[group.clock].mean for series in group.find("dense")), math.nan)
        return f"{self.point[group.clock].mean / dense:,.1f}" if dense > 0 else "–"

    def against(self, tell: Callable[[Comparison], str]) -> str:
        """What its comparison with dense tells, if there is one."""
        comparison = self.found.dense.get(self.series.label, {}).get(self.point.number)
        return "–" if comparison is None else tell(comparison)


METHOD = Column[At]("method", lambda at: at.label)
POINT = Column[At]("{point}", lambda at: "" if at.series.baseline else at.point.short)
EDGES_TRAIN = Column[At]("edges removed, train", lambda at: percent(at.point["edge_sparsity_train"]), of_edges=True)
EDGES_TEST = Column[At]("edges removed, test", lambda at: percent(at.point["edge_sparsity_test"]), of_edges=True)
WEIGHTS = Column[At]("weights removed", lambda at: percent(at.point["weight_sparsity"]))
PARAMETERS = Column[At]("parameters", lambda at: at.parameters)
VAL = Column[At]("val {metric}", lambda at: at.validated)
TEST = Column[At]("test {metric}", lambda at: mean_sd(at.point["test_metric"]))
TEST_INTERVAL = Column[At](f"test {{metric}}, {PERCENT} interval", lambda at: ends(at.point.interval))
RUNS = Column[At]("runs", lambda at: str(at.point.runs))
EPOCHS = Column[At]("epochs", lambda at: f"{at.point['epochs_trained'].mean:,.0f}")
SECONDS = Column[At]("seconds", lambda at: f"{at.point['seconds'].mean:,.0f}")
AGAINST_DENSE = (
    Column[At](f"minus dense, {PERCENT} interval", lambda at: at.against(lambda found: signed(found.difference))),
    Column[At]("pairs", lambda at: at.against(lambda found: str(found.difference.n))),
    Column[At]("verdict", lambda at: at.against(lambda found: found.text)),
)
MEASURED = (METHOD, POINT, EDGES_TRAIN, EDGES_TEST, WEIGHTS, PARAMETERS, VAL, TEST)
COST = (
    METHOD,
    POINT,
    Column[At]("epochs, search", lambda at: f"{at.point['epochs_search'].mean:,.0f}"),
    Column[At](
        "epochs, tickets", lambda at: f"{at.point['epochs_trained'].mean - at.point['epochs_search'].mean:,.0f}"
    ),
    Column[At]("seconds", lambda at: f"{at.point['seconds'].mean:,.1f}"),
    Column[At]("CPU seconds", lambda at: f"{at.point['cpu_seconds'].mean:,.1f}", of_cpu=True),
    Column[At]("times dense", lambda at: at.times_dense),
    Column[At]("predictor passes", lambda at: f"{at.point['predictor_passes'].mean:,.0f}", of_edges=True),
    Column[At]("unseen graphs", lambda at: at.unseen, of_edges=True),
    RUNS,
)
PAIRS = (
    Column[PairedComparison]("method", lambda pair: pair.first.label),
    Column[PairedComparison]("rival", lambda pair: pair.second.label),
    Column[PairedComparison](
        "equal in",
        lambda pair: f"{pair.at:,.0f} parameters" if pair.kind is None else f"{share(pair.at)} of {pair.kind.name}",
    ),
    Column[PairedComparison](f"difference, {PERCENT} interval", lambda pair: signed(pair.comparison.difference)),
    Column[PairedComparison]("pairs", lambda pair: str(pair.comparison.difference.n)),
    Column[PairedComparison]("verdict", lambda pair: pair.comparison.text),
    Column[PairedComparison]("test {metric}", lambda pair: mean_sd(pair.metrics[0])),
    Column[PairedComparison]("rival's test {metric}", lambda pair: mean_sd(pair.metrics[1])),
    Column[PairedComparison]("also lost, of the other kind", lambda pair: _also_lost(pair), of_edges=True),
)
Sparsest = tuple[Series, str, Extreme]
EXTREME = (
    Column[Sparsest]("method", lambda row: row[0].label),
    Column[Sparsest]("of", lambda row: row[1]),
    Column[Sparsest]("sparsity", lambda row: "–" if row[2].sparsity is None else share(row[2].sparsity)),
    Column[Sparsest](
        f"{PERCENT} range",
        lambda row: "–" if math.isnan(row[2].low) else f"[{share(row[2].low)}, {share(row[2].high)}]",
    ),
    Column[Sparsest]("{point}", lambda row: "–" if row[2].round is None else row[0].points[row[2].round - 1].short),
    Column[Sparsest](
        f"minus dense, {PERCENT} interval",
        lambda row: "–" if row[2].difference is None else signed(row[2].difference),
    ),
    Column[Sparsest]("pairs", lambda row: str(row[2].n)),
    Column[Sparsest]("remark", lambda row: row[2].text or "a denser one fell short" * row[2].gap),
)


def _also_lost(pair: PairedComparison) -> str:
    if pair.kind is None:
        return "–"
    kind = "weights" if pair.kind.name == "edges" else "edges"
    return f"{kind}: {' and '.join(map(share, pair.others))}"


def _table(group: Group, title: str, caption: str, columns: Sequence[Column[Item]], items: Iterable[Item]) -> Table:
    left_out = {column for column in columns if column.of_edges and not group.removes_edges}
    left_out |= {column for column in columns if column.of_cpu and group.clock == "seconds"}
    shown = [column for column in columns if column not in left_out]
    kinds = {point.kind for series in group.series for point in series.points if not series.baseline}
    names = {"metric": group.metric_label, "point": " or ".join(sorted(kinds, reverse=True)) or "round"}
    rows = ([column.cell(item) for column in shown] for item in items)
    return table(title, caption, [column.head.format(**names) for column in shown], rows)


def results(found: Findings) -> Table:
    """The last round of each series, or each of its densities."""
    group = found.group
    caption = (
        f"Mean ± sample standard deviation; {PERCENT} bootstrap interval of the mean, of at least {MIN_PAIRS} runs."
        f"{group.caveat}"
    )
    densities = any(point.density is not None for series in group.series for point in series.points)
    title = "Last rounds" + ", every density" * densities
    return _table(group, title, caption, (*MEASURED, TEST_INTERVAL, RUNS, EPOCHS, SECONDS), _finals(found))


def rounds(found: Findings) -> Table:
    """Every round of each series; empty where there are no others than the last ones."""
    several = any(series.points != series.finals for series in found.group.series)
    every = [At(found, series, point) for series in found.group.series for point in series.points] if several else []
    return _table(found.group, "All rounds", "", (*MEASURED, RUNS, EPOCHS, SECONDS, *AGAINST_DENSE), every)


def comparisons(found: Findings) -> Iterator[Table]:
    """All tables but those of the plain numbers; some may be empty."""
    group = found.group
    yield _table(
        group,
        "Against the dense network",
        f"Test {group.metric_label} minus that of the dense network in the same run, positive where the method is "
        f"better, after the last round of a run; {PERCENT} bootstrap interval over the pairs. Fewer than {MIN_PAIRS} "
        f"pairs claim nothing, and “no difference shown” is no proof of equality.{group.caveat}",
        (METHOD, POINT, EDGES_TEST, WEIGHTS, *AGAINST_DENSE),
        (at for at in _finals(found) if at.series.label in found.dense),
    )
    yield _table(
        group,
        "At equal sparsity",
        "Pairs of runs at each density that one of the methods was run at and the other reaches, else at the largest "
        "sparsity that both reach, interpolated between rounds, never beyond them. Rivals are the two that are "
        "strongest by the validation metric there, and small dense networks of the same size (to 5 %). "
        f"Intervals are not corrected for the number of comparisons.{group.caveat}",
        PAIRS,
        found.pairs,
    )
    series = {one.label: one for one in group.series}
    yield _table(
        group,
        "Extreme tickets",
        f"The largest achieved sparsity{' (edges: of test graphs)' * group.removes_edges} at which the {PERCENT} "
        "interval of the difference to dense still reaches zero; its range when the runs are resampled (0: no "
        "ticket). How far the interval reaches below zero tells how much may have been lost." + group.caveat,
        EXTREME,
        [(series[label], name, one) for label, by_kind in found.extremes.items() for name, one in by_kind.items()],
    )
    yield _table(
        group,
        "Extreme tickets of joint grids",
        f"Of each joint grid the cells at which the {PERCENT} interval of the difference to dense still reaches zero, "
        f"without those that another such cell surpasses in both edges and weights.{group.caveat}",
        (METHOD, EDGES_TEST, WEIGHTS, *AGAINST_DENSE),
        (At(found, one, one.last) for one in frontier(found)),
    )
    yield _table(
        group,
        "Cost",
        "All rounds together, or one training at the smallest density; mean over the runs."
        + " CPU seconds are of all threads; times dense is by them." * (group.clock == "cpu_seconds")
        + " Predictor passes: how often a learned edge scorer runs over a graph that is new, to prune it."
        * group.removes_edges,
        COST,
        (At(found, one, one.last) for one in group.series),
    )


def _finals(found: Findings) -> Iterator[At]:
    return (At(found, series, point) for series in found.group.series for point in series.finals)
