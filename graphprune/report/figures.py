"""Figures of a report: metric against sparsity, against cost, over a joint grid, and the density of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from graphprune.report.results import WEIGHTS, Group, Point, Series, SparsityKind
from graphprune.report.stats import WORSE, Comparison
from graphprune.report.style import (
    INK,
    SMALL,
    WIDTH,
    End,
    Style,
    height_for,
    label_ends,
    panels,
    spread_near,
)

WIDE = 4  # costs and errors that differ by more than this factor are spread by a logarithmic axis
SPARSE = 95  # where more percent are removed, what is left says more, and so do its orders of magnitude

Ledger = Mapping[str, Sequence[float]]
Styles = Mapping[str, Style]


def tradeoff(group: Group, kind: SparsityKind, styles: Styles) -> Figure | None:
    """Test metric against a sparsity, one line a method, its confidence interval as a band, baselines as levels.

    Args:
        group: what to draw; joint grids have figures of their own.
        kind: of sparsity.
        styles: by label.

    Returns:
        The figure; None where no method has removed anything of this kind.
    """
    lines = _lines(group, kind)
    if not lines:
        return None
    levels = list(filter(_defined, group.find("dense", "no-edges")))
    pairs = [(series, point) for series, point in matched(group) if point is not None] if kind is WEIGHTS else []
    figure, [axes] = panels(height=height_for(len(lines) + len(levels) + len(pairs)))
    ends = []
    for series in lines:
        style, x = styles[series.label], [100 * point[kind.column].mean for point in series.points]
        found = [point.interval for point in series.points]
        mean = [one.mean for one in found]
        axes.fill_between(
            x, [one.low for one in found], [one.high for one in found], color=style.colour, alpha=0.12, linewidth=0
        )
        axes.plot(x, mean, color=style.colour, marker=style.marker, linestyle=style.dash, markersize=5)
        last = max(number for number, value in enumerate(mean) if math.isfinite(value))
        ends.append(_end(series, x[last], mean[last], style))
    removed = [100 * point[kind.column].mean for series in lines for point in series.points]
    axes.margins(x=0.03)
    if max(removed) > SPARSE:
        spread_near(axes, "x", 100)
    if max(removed) <= SPARSE or min(removed) < 50:
        axes.set_xlim(left=0)
    left, right = axes.get_xlim()
    for series in levels:
        ends.append(_level(axes, series, right, styles))
    for series, point in pairs:
        ends.append(_diamond(axes, 100 * point[kind.column].mean, series, styles))
    axes.set_xlim(left, right)
    _spread_metric(axes, group, [*lines, *levels, *(series for series, _ in pairs)])
    axes.set_xlabel(f"{kind.text} (%)")
    axes.set_ylabel(f"test {group.metric_label}")
    label_ends(axes, ends)
    return figure


def matched(group: Group) -> list[tuple[Series, Point | None]]:
    """The small dense networks, each with the ticket of its size among those with a curve; None where there is none."""
    found: list[tuple[Series, Point | None]] = []
    for small in filter(_defined, group.find("size-matched")):
        size = small.last["params_kept"].mean
        points = [point for line in _lines(group, WEIGHTS) if (point := line.of_size(size)) is not None]
        found.append((small, min(points, key=lambda point: abs(point["params_kept"].mean - size), default=None)))
    return found


def cost(group: Group, styles: Styles) -> Figure | None:
    """Test metric of each last round against its epochs and its seconds; None where there is nothing to compare."""
    shown = [series for series in group.series if not series.joint and series.last["test_metric"].finite]
    if len(shown) < 2 or all(series.baseline for series in shown):
        return None
    figure, (left, right) = panels(2, height=height_for(len(shown)))
    ends = []
    for axes, column in ((left, "epochs_trained"), (right, group.clock)):
        for series in shown:
            style = styles[series.label]
            x = series.last[column].mean
            mean = _bar(axes, x, series, style, markersize=6, linewidth=1)
            if axes is right:
                ends.append(_end(series, x, mean, style))
        words = {"epochs_trained": "epochs", "seconds": "seconds", "cpu_seconds": "CPU seconds"}
        axes.set_xlabel(f"{words[column]}, all rounds")
        costs = [series.last[column].mean for series in shown]
        if min(costs) > 0 and max(costs) > WIDE * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        _spread_metric(axes, group, shown)
    right.tick_params(axis="y", length=0)
    left.set_ylabel(f"test {group.metric_label}")
    label_ends(right, ends)
    return figure


def heat(cells: Sequence[tuple[Series, Point]], against: Mapping[str, Mapping[int, Comparison]]) -> Figure | None:
    """Difference to dense over a grid of edge rates times weight rates, achieved sparsities along the sides.

    Args:
        cells: the last round of each series of the grid.
        against: comparisons with dense, by label and number of the point.

    Returns:
        The figure; cells whose interval lies below dense are hatched. None without a comparison.
    """
    rates = [
        (series.runs[0].config["method.edge_rate"], series.runs[0].config["method.weight_rate"]) for series, _ in cells
    ]
    columns, rows = (sorted({pair[side] for pair in rates}) for side in (0, 1))
    difference = np.full((len(rows), len(columns)), np.nan)
    achieved: dict[str, dict[Any, list[float]]] = {"edge": {}, "weight": {}}
    worse = []
    for (edge, weight), (series, point) in zip(rates, cells, strict=True):
        column, row = columns.index(edge), rows.index(weight)
        achieved["edge"].setdefault(edge, []).append(100 * point["edge_sparsity_test"].mean)
        achieved["weight"].setdefault(weight, []).append(100 * point["weight_sparsity"].mean)
        if point.number in against.get(series.label, {}):
            found = against[series.label][point.number]
            difference[row, column] = found.difference.mean
            if found.verdict == WORSE:
                worse.append((row, column))
    if np.isnan(difference).all():
        return None
    figure = Figure(figsize=(min(WIDTH, 2.6 + 0.85 * len(columns)), 1.4 + 0.5 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bound = float(np.nanmax(np.abs(difference))) or 1.0
    image = axes.imshow(difference, cmap="PuOr_r", vmin=-bound, vmax=bound, aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(difference):
        ink = "#ffffff" if abs(value) > 0.6 * bound else INK
        text = "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")
        mark = "\n▼" if (row, column) in worse else ""
        axes.text(column, row, text + mark, ha="center", va="center", fontsize=SMALL, color=ink)
    for set_ticks, values, name in ((axes.set_xticks, columns, "edge"), (axes.set_yticks, rows, "weight")):
        set_ticks(range(len(values)), [f"{np.mean(achieved[name][value]):.1f}" for value in values])
    axes.set_xlabel("edges removed from the test graphs (%)")
    axes.set_ylabel("weights removed (%)")
    figure.colorbar(image, ax=axes, label="difference to dense")
    return figure


def layers(ledgers: Sequence[tuple[Series, Ledger]]) -> Figure:
    """Share of weights kept, a row for each layer and a column for each point, side by side for each method.

    Args:
        ledgers: of each method, for each layer its density at the points that the first repetition has got to. Methods
            may mask other parameters, in another order; what one of them does not mask is blank.
    """
    rows = list(dict.fromkeys(name for _, ledger in ledgers for name in ledger))
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, len(ledgers), squeeze=False)[0]
    for axes, (series, ledger) in zip(every, ledgers, strict=True):
        points = [point for point in series.points if series.repetitions[0] in point.rows]
        blank = [np.nan] * len(next(iter(ledger.values())))
        percent = 100 * np.array([ledger.get(name, blank) for name in rows])
        image = axes.imshow(percent, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        shown = range(0, len(points), 1 + len(points) // 10)
        axes.set_xticks(shown, [points[number].short for number in shown], fontsize=SMALL)
        names = [name.removesuffix(".weight") for name in rows] if axes is every[0] else [""] * len(rows)
        axes.set_yticks(np.arange(len(rows)), names, fontsize=SMALL)
        axes.set_xlabel(points[0].kind)
        axes.set_title(fill(series.label, 64 // len(ledgers)), fontsize=SMALL)
        if len(points) <= 8:
            for (row, column), value in np.ndenumerate(percent):
                if np.isnan(value):
                    continue
                ink, text = "#000000" if value > 50 else "#ffffff", f"{value:.1g}" if 0 < value < 1 else f"{value:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=list(every), label="weights kept (%)", shrink=0.9)
    return figure


# ---------------------------------------------------------------------- lines


def _lines(group: Group, kind: SparsityKind) -> list[Series]:
    """What has a curve against a sparsity."""
    return [series for series in group.lines if series.removes(kind.column) and _defined(series)]


def _defined(series: Series) -> bool:
    return any(point["test_metric"].finite for point in series.points)


def _spread_metric(axes: Axes, group: Group, shown: Sequence[Series]) -> None:
    """Tell errors apart that are small beside others, as of one method that breaks down."""
    errors = [
        1 - point["test_metric"].mean for series in shown for point in series.points if point["test_metric"].finite
    ]
    if group.higher_is_better and 0 < WIDE * min(errors) < max(errors):
        spread_near(axes, "y", 1, (1, 0.7, 0.5, 0.3, 0.2, 0.15))


def _level(axes: Axes, series: Series, right: float, styles: Styles) -> End:
    style, found = styles[series.label], series.last.interval
    if math.isfinite(found.low):
        axes.axhspan(found.low, found.high, color=style.colour, alpha=0.08, linewidth=0)
    axes.axhline(found.mean, color=style.colour, linestyle=style.dash, linewidth=1.4)
    return _end(series, right, found.mean, style)


def _diamond(axes: Axes, x: float, series: Series, styles: Styles) -> End:
    """A diamond where the ticket of as many parameters stands."""
    style = styles[series.label]
    look = {"markerfacecolor": "white", "markersize": 7, "capsize": 3, "linestyle": "none", "zorder": 5}
    return _end(series, x, _bar(axes, x, series, style, **look), style)


def _bar(axes: Axes, x: float, series: Series, style: Style, **look: Any) -> float:
    """A marker with the interval of the last test metric as its bar; returns the mean."""
    found = series.last.interval
    bar = None if math.isnan(found.low) else [[found.mean - found.low], [found.high - found.mean]]
    axes.errorbar(x, found.mean, yerr=bar, color=style.colour, marker=style.marker, **look)
    return found.mean


def _end(series: Series, x: float, y: float, style: Style) -> End:
    runs = len(series.repetitions)
    return End(x, y, f"{series.label}, {runs} run{'s' if runs > 1 else ''}", style)
