"""Figures of a report: metric against sparsity with the spread over seeds, and the density of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from graphprune.bench.collect import Group, Point, Series

METRIC = {"rocauc": "ROC-AUC", "ap": "average precision", "accuracy": "accuracy", "rmse": "RMSE"}
INK, FAINT = "#222222", "#dddddd"
# Okabe & Ito's palette, which colour-blind readers can tell apart; every series has its own marker too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINES = {"dense": ("#222222", "-"), "no-edges": ("#8a8a8a", "--")}

Ledger = Mapping[str, Sequence[float]]


def tradeoff(group: Group, column: str) -> Figure | None:
    """Test metric against a sparsity, one line a method, its spread as a band, dense and no edges as levels.

    Args:
        group: what to draw.
        column: ``"edge_sparsity_test"`` or ``"weight_sparsity"``.

    Returns:
        The figure; None where no method has removed anything of this kind.
    """
    pruned = [series for series in group.series if series.method not in (*BASELINES, "small-dense")]
    # Numbered before any is left out: a method looks the same in every figure.
    lines = {
        number: series for number, series in enumerate(pruned) if any(point[column].mean > 0 for point in series.points)
    }
    if not lines:
        return None
    figure, axes = _panel(7.2, 4.4)
    for series in group.find(*BASELINES):
        _level(axes, series)
    for number, series in lines.items():
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        x = np.array([100 * point[column].mean for point in series.points])
        mean, low, high = _band(series.points)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, mean, color=colour, marker=marker, markersize=5, label=_legend(series))
    if column == "weight_sparsity":
        for series in group.find("small-dense"):
            _small_dense(axes, group, series)
    what = "edges removed from the test graphs" if column.startswith("edge") else "weights removed"
    axes.set_xlabel(f"{what} (%)")
    axes.set_xlim(left=0)
    axes.set_ylabel(f"test {METRIC.get(group.metric, group.metric)}")
    axes.margins(x=0.03)
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, 100 // (8 + max(map(len, labels))))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, 3), frameon=False, fontsize=9)
    return figure


def layers(ledgers: Mapping[str, Ledger]) -> Figure:
    """Share of weights kept, a row for each layer and a column for each round, side by side for each method.

    Args:
        ledgers: by method, for each layer its density round by round.
    """
    tallest = max(len(ledger) for ledger in ledgers.values())
    figure = Figure(figsize=(7.2, 1.3 + 0.3 * tallest), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(ledgers), squeeze=False)[0]
    for axes, (title, ledger) in zip(panels, ledgers.items(), strict=True):
        percent = 100 * np.array(list(ledger.values()))
        rows, rounds = percent.shape
        cells = (0.5, rounds + 0.5, rows - 0.5, -0.5)  # so that x is the number of the round
        image = axes.imshow(percent, vmin=0, vmax=100, cmap="cividis", aspect="auto", extent=cells)
        axes.set_xticks(range(1, rounds + 1, 1 + rounds // 10))
        names = [name.removesuffix(".weight") for name in ledger] if axes is panels[0] else [""] * len(ledger)
        axes.set_yticks(np.arange(len(ledger)), names, fontsize=8)
        axes.set_xlabel("round")
        axes.set_title(title, fontsize=10)
        if rounds <= 8:
            for (row, column), value in np.ndenumerate(percent):
                ink = "#000000" if value > 50 else "#ffffff"
                axes.text(column + 1, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=list(panels), label="weights kept (%)", shrink=0.9)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write ``path`` as .png (for the screen) and .pdf (for print); returns the .png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    png = path.with_suffix(".png")
    figure.savefig(png, dpi=160, facecolor="white", metadata={"Software": None})
    figure.savefig(path.with_suffix(".pdf"), facecolor="white", metadata={"CreationDate": None})
    return png


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _level(axes: Axes, series: Series) -> None:
    point, (colour, style) = series.points[-1], BASELINES[series.method]
    (mean,), (low,), (high,) = _band([point])
    axes.axhspan(low, high, color=colour, alpha=0.08, linewidth=0)
    axes.axhline(mean, color=colour, linestyle=style, linewidth=1.4, label=_legend(series))


def _small_dense(axes: Axes, group: Group, series: Series) -> None:
    """A diamond where the ticket of as many parameters stands."""
    point = series.points[-1]
    rivals = [other for line in group.series if line.method not in ("small-dense", *BASELINES) for other in line.points]
    if not rivals:
        return
    size = point["params_kept"].mean
    twin = min(rivals, key=lambda other: abs(other["params_kept"].mean - size))
    test = point["test_metric"]
    axes.errorbar(
        100 * twin["weight_sparsity"].mean,
        test.mean,
        yerr=None if np.isnan(test.sd) else test.sd,
        color=INK,
        marker="D",
        markerfacecolor="white",
        markersize=7,
        capsize=3,
        linestyle="none",
        zorder=5,
        label=_legend(series),
    )


def _band(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean = np.array([point["test_metric"].mean for point in points])
    sd = np.nan_to_num(np.array([point["test_metric"].sd for point in points]))
    return mean, mean - sd, mean + sd


def _legend(series: Series) -> str:
    runs = len(series.runs)
    return f"{series.label}, {runs} run{'s' if runs > 1 else ''}"
