"""The tables of a chapter: what was measured, what can be compared, what it cost."""

from __future__ import annotations

import math

from graphprune.report.compare import Duel, Findings
from graphprune.report.joint import frontier
from graphprune.report.results import SINGLE, Group, Point, Series, leaking
from graphprune.report.stats import MIN_PAIRS
from graphprune.report.style import METRIC
from graphprune.report.tables import PERCENT, Table, ends, percent, share, signed, spread

EDGES = ("edges removed, train", "edges removed, test")
# What is left out where no run has removed edges.
OF_EDGES = (*EDGES, "also lost, of the other kind", "predictor passes", "unseen graphs")
HEAD = (
    "method",
    "{point}",
    *EDGES,
    "weights removed",
    "parameters",
    "val {metric}",
    "test {metric}",
    "runs",
    "epochs",
    "seconds",
)
# How a graph that no run has seen loses its edges.
UNSEEN = {"predictor": "by a learned predictor", "scorer": "by a score", "random": "at random"}
UNSEEN |= {"dense": "not pruned", "none": "not pruned", "": "–"}


def comparisons(found: Findings) -> tuple[Table, ...]:
    """All tables but those of the plain numbers; some may be empty."""
    tables = _dense(found), _duels(found), _extremes(found), _frontier(found), _cost(found.group)
    return tuple(_fitting(table, found.group) for table in tables)


def _fitting(table: Table, group: Group) -> Table:
    return table if group.removes_edges else table.without(OF_EDGES)


def _point(group: Group) -> str:
    """What the points of the series are called in the head of a table."""
    kinds = {point.kind for series in group.series for point in series.points if series.method not in SINGLE}
    return " or ".join(sorted(kinds, reverse=True)) or "round"


def _head(group: Group) -> list[str]:
    return [text.format(metric=_metric(group), point=_point(group)) for text in HEAD]


def _metric(group: Group) -> str:
    """The metric's name in print."""
    return METRIC.get(group.metric, group.metric)


def results(found: Findings) -> Table:
    """The last round of each series, or each of its densities."""
    group = found.group
    head = _head(group)
    head.insert(8, f"test {_metric(group)}, {PERCENT} interval")
    rows = []
    for series in group.series:
        for point in series.finals:
            row = _row(series, point)
            row.insert(8, ends(point.interval))
            rows.append(row)
    caption = (
        f"Mean ± sample standard deviation; {PERCENT} bootstrap interval of the mean, with fewer than {MIN_PAIRS} runs "
        f"no more than their range.{group.caveat}"
    )
    densities = any(point.density is not None for series in group.series for point in series.points)
    return _fitting(Table("Last rounds" + ", every density" * densities, caption, head, rows), group)


def rounds(found: Findings) -> Table:
    """Every round of each series; empty where there are no others than the last ones."""
    group = found.group
    head = [*_head(group), f"minus dense, {PERCENT} interval", "pairs", "verdict"]
    rows = [
        [*_row(series, point), *_against(found, series, point)] for series in group.series for point in series.points
    ]
    several = any(series.points != series.finals for series in group.series)
    return _fitting(Table("All rounds", "", head, rows if several else ()), group)


def _row(series: Series, point: Point) -> list[str]:
    kept, total = point["params_kept"].mean, point["params_total"].mean
    marked = series.selects_on_test and not leaking(series.label)
    return [
        series.label + (" [selects on test]" if marked else ""),
        "" if series.method in SINGLE else point.short,
        percent(point["edge_sparsity_train"]),
        percent(point["edge_sparsity_test"]),
        percent(point["weight_sparsity"]),
        f"{kept:,.0f} of {total:,.0f}",
        "–" if series.selects_on_test and not point["val_metric"].finite else spread(point["val_metric"]),
        spread(point["test_metric"]),
        str(point.runs),
        f"{point['epochs_trained'].mean:,.0f}",
        f"{point['seconds'].mean:,.0f}",
    ]


def _against(found: Findings, series: Series, point: Point) -> tuple[str, str, str]:
    compared = found.dense.get(series.label, {}).get(point.number)
    if compared is None:
        return "–", "–", "–"
    return signed(compared.difference), str(compared.difference.n), compared.text


def _dense(found: Findings) -> Table:
    group = found.group
    rows = [
        [
            series.label,
            "" if series.method in SINGLE else point.short,
            percent(point["edge_sparsity_test"]),
            percent(point["weight_sparsity"]),
            *_against(found, series, point),
        ]
        for series in group.series
        if series.label in found.dense
        for point in series.finals
    ]
    head = (
        "method",
        _point(group),
        "edges removed, test",
        "weights removed",
        f"minus dense, {PERCENT} interval",
        "pairs",
    )
    caption = (
        f"Test {_metric(group)} minus that of the dense network in the same run, positive where the method is better, "
        f"after the last round of a run; {PERCENT} bootstrap interval over the pairs. Fewer than {MIN_PAIRS} pairs "
        f"claim nothing, and “no difference shown” is no proof of equality.{group.caveat}"
    )
    return Table("Against the dense network", caption, (*head, "verdict"), rows)


def _duels(found: Findings) -> Table:
    name = _metric(found.group)
    head = ("method", "rival", "equal in", f"difference, {PERCENT} interval", "pairs", "verdict")
    caption = (
        "Pairs of runs at each density that one of the methods was run at and the other reaches, else at the largest "
        "sparsity that both reach, interpolated between rounds, never beyond them. Rivals are the two that are "
        "strongest by the validation metric there, and small dense networks of the same size (to 5 %). "
        f"Intervals are not corrected for the number of comparisons.{found.group.caveat}"
    )
    return Table(
        "At equal sparsity",
        caption,
        (*head, f"test {name}", f"rival's test {name}", "also lost, of the other kind"),
        [_duel(duel) for duel in found.duels],
    )


def _duel(duel: Duel) -> list[str]:
    if duel.axis is None:
        equal, lost = f"{duel.at:,.0f} parameters", "–"
    else:
        kind = "weights" if duel.axis.name == "edges" else "edges"
        equal, lost = f"{share(duel.at)} of {duel.axis.name}", f"{kind}: {' and '.join(map(share, duel.others))}"
    difference, metrics = duel.comparison.difference, map(spread, duel.metrics)
    names = duel.first.label, duel.second.label
    return [*names, equal, signed(difference), str(difference.n), duel.comparison.text, *metrics, lost]


def _extremes(found: Findings) -> Table:
    rows, series = [], {one.label: one for one in found.group.series}
    for label, by_axis in found.extremes.items():
        for name, extreme in by_axis.items():
            rows.append(
                [
                    label,
                    name,
                    "–" if extreme.sparsity is None else share(extreme.sparsity),
                    "–" if math.isnan(extreme.low) else f"[{share(extreme.low)}, {share(extreme.high)}]",
                    "–" if extreme.round is None else series[label].points[extreme.round - 1].short,
                    "–" if extreme.difference is None else signed(extreme.difference),
                    str(extreme.n),
                    extreme.text or ("a denser one fell short" if extreme.gap else ""),
                ]
            )
    head = (
        "method",
        "of",
        "sparsity",
        f"{PERCENT} range",
        _point(found.group),
        f"minus dense, {PERCENT} interval",
        "pairs",
        "remark",
    )
    which = " (edges: of test graphs)" if found.group.removes_edges else ""
    caption = (
        f"The largest achieved sparsity{which} at which the {PERCENT} interval of the difference to dense still "
        "reaches zero; its range when the runs are resampled (0: no ticket). How far the interval reaches below zero "
        f"tells how much may have been lost.{found.group.caveat}"
    )
    return Table("Extreme tickets", caption, head, rows)


def _frontier(found: Findings) -> Table:
    rows = [
        [
            series.label,
            percent(series.last["edge_sparsity_test"]),
            percent(series.last["weight_sparsity"]),
            *_against(found, series, series.last),
        ]
        for series in frontier(found)
    ]
    head = ("method", "edges removed, test", "weights removed", f"minus dense, {PERCENT} interval", "pairs", "verdict")
    caption = (
        f"Of each joint grid the cells at which the {PERCENT} interval of the difference to dense still reaches zero, "
        f"without those that another such cell surpasses in both edges and weights.{found.group.caveat}"
    )
    return Table("Extreme tickets of joint grids", caption, head, rows)


def _cost(group: Group) -> Table:
    dense = next((series.last["seconds"].mean for series in group.find("dense")), math.nan)
    rows = []
    for series in group.series:
        point, unseen = series.last, "" if series.method in SINGLE else str(series.runs[0].rows[-1]["unseen"])
        total, search = point["epochs_trained"].mean, point["epochs_search"].mean
        seconds = point["seconds"].mean
        rows.append(
            [
                series.label,
                "" if series.method in SINGLE else point.short,
                f"{search:,.0f}",
                f"{total - search:,.0f}",
                f"{seconds:,.1f}",
                f"{seconds / dense:,.1f}" if dense > 0 else "–",
                f"{point['predictor_passes'].mean:,.0f}",
                UNSEEN.get(unseen, unseen),
                str(point.runs),
            ]
        )
    head = ("method", _point(group), "epochs, search", "epochs, tickets", "seconds", "times dense", "predictor passes")
    caption = "All rounds together, or one training at the smallest density; mean over the runs." + (
        " Predictor passes: how often a learned edge scorer runs over a graph that is new, to prune it."
        * group.removes_edges
    )
    return Table("Cost", caption, (*head, "unseen graphs", "runs"), rows)
