"""Figures of HAMP's searches: the front among all points, hypervolume over evaluations, channels kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphprune.methods.core.shown import Canvas, FinishedRun, Illustration
from graphprune.methods.hamp.journal import EVALUATIONS, JOURNAL, Record, read
from graphprune.search import hypervolume, non_dominated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
BEYOND = 1.1  # times the dense network's costs: where hypervolumes end
# What a cost is called, and what its numbers are divided by.
COSTS = {
    "latency": ("latency of a batch (ms)", 1e-3),
    "peak": ("memory of a batch (KiB)", 1024.0),
    "params": ("parameters", 1.0),
    "macs": ("MACs of a batch (millions)", 1e6),
}


def front(canvas: Canvas, label: str, record: Record, members: Sequence[Sequence[int]] = ()) -> Figure:
    """Error against each cost: dominated points, those that no other dominates, and those that became tickets.

    Args:
        canvas: what the figure looks like.
        label: of the series.
        record: of the search.
        members: points of the tickets.
    """
    values = np.array(record.values())
    best = non_dominated(values)
    chosen = [number for number, one in enumerate(record.evaluations) if list(one.point) in [list(m) for m in members]]
    figure, every = canvas.panels(len(record.objectives))
    for axes, name, cost in zip(every, record.objectives, values[:, 1:].T, strict=True):
        text, unit = COSTS[name]
        axes.scatter(cost[~best] / unit, values[~best, 0], s=10, color=canvas.faint, linewidth=0, label="dominated")
        order = np.flatnonzero(best)[np.argsort(cost[best])]
        # With several costs a point may be on the front for the sake of another one: no line would be a front then.
        style = "-" if len(record.objectives) == 1 else "none"
        axes.plot(
            cost[order] / unit,
            values[order, 0],
            color=canvas.colour(label),
            marker="o",
            markersize=4,
            linewidth=1,
            linestyle=style,
            drawstyle="steps-post",
            label="front",
        )
        axes.scatter(
            cost[chosen] / unit,
            values[chosen, 0],
            s=70,
            facecolor="none",
            edgecolor=canvas.ink,
            zorder=4,
            label="tickets",
        )
        axes.set_xlabel(text)
    every[0].set_ylabel("error of the proxy, held out")
    every[-1].legend(frameon=False, fontsize=canvas.small)
    return figure


def grown(record: Record) -> Floats:
    """``(n,)``: hypervolume after each evaluation, as a share of the box that ends a little beyond the dense network.

    It ends at 1.1 times its costs, and at an error of 1 (or twice the dense network's, if that is more).
    """
    values, whole = np.array(record.values()), tuple(gene.levels for gene in record.genes)
    (dense,) = (values[number] for number, one in enumerate(record.evaluations) if one.point == whole)
    scaled = values / np.maximum([max(1.0, 2 * dense[0]), *(BEYOND * dense[1:])], np.finfo(float).tiny)
    ones = np.ones(values.shape[1])
    return np.array([hypervolume(scaled[: size + 1], ones) for size in range(len(scaled))])


def progress(canvas: Canvas, curves: Mapping[str, Sequence[Floats]]) -> Figure:
    """Hypervolume over evaluations, one line a search; its range over the seeds as a band.

    Args:
        canvas: what the figure looks like.
        curves: of each search, one array a seed; lengths may differ.
    """
    figure, [axes] = canvas.panels(labels=len(curves))
    ends = {}
    for name, seeds in curves.items():
        colour, size = canvas.colour(name), max(map(len, seeds))
        # A search that had no more points stays where it was.
        full = np.stack([np.pad(one, (0, size - len(one)), mode="edge") for one in seeds])
        x, mean = np.arange(1, size + 1), full.mean(0)
        axes.plot(x, mean, color=colour, linestyle=canvas.dash(name), linewidth=1.4)
        if len(seeds) > 1:
            axes.fill_between(x, full.min(0), full.max(0), color=colour, alpha=0.1, linewidth=0)
        ends[name] = float(size), float(mean[-1])
    axes.set_xlabel("true evaluations")
    axes.set_ylabel("hypervolume, share of the box")
    axes.margins(x=0.02)
    canvas.label_ends(axes, ends)
    return figure


def channels(canvas: Canvas, record: Record, points: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Percent of each group's channels that points keep, a row a group (and edges), a column a point.

    Args:
        canvas: what the figure looks like.
        record: of the search.
        points: which.
        labels: what they are called.
    """
    percent = np.array(
        [
            [100 * (gene.kept(level) / gene.size if gene.size else level / gene.levels) for level in column]
            for gene, column in zip(record.genes, zip(*points, strict=True), strict=True)
        ]
    )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(canvas.width, 1.3 + 0.3 * len(percent)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(percent, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(labels)), labels, fontsize=canvas.small)
    names = [gene.name.removesuffix(".weight") + (f" ({gene.size})" if gene.size else "") for gene in record.genes]
    axes.set_yticks(range(len(names)), names, fontsize=canvas.small)
    axes.set_xlabel("ticket")
    if len(labels) <= 12:
        for (row, column), value in np.ndenumerate(percent):
            ink = "#000000" if value > 50 else "#ffffff"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=axes, label="kept (%)", shrink=0.9)
    return figure


def figures(runs: Mapping[str, Sequence[FinishedRun]], canvas: Canvas) -> Iterator[Illustration]:
    """What searches have found; nothing where none has searched.

    Front and channels are those of the first run of the first series.
    """
    found = {label: searched for label, members in runs.items() if (searched := list(_searched(members)))}
    if not found:
        return
    label, [(run, record), *_] = next(iter(found.items()))
    points = [row["point"] for row in run.rows]
    seed = f"{label}, seed {run.rows[0]['seed']}"
    curves = {name: [grown(one) for _, one in searched] for name, searched in found.items()}
    bands = "; bands are the range of the runs" if any(len(one) > 1 for one in curves.values()) else ""
    yield Illustration(
        "front",
        "Error and cost of all points",
        f"{seed}: every evaluated point, by the error of its network before any further training, on training "
        "samples that were held out. Circles are the points that became tickets.",
        front(canvas, label, record, points),
    )
    yield Illustration(
        "hypervolume",
        "What the search has found, over its evaluations",
        f"Hypervolume of all points so far, as a share of the box from 0 to {BEYOND} times the dense network's "
        f"costs and to an error of 1{bands}.",
        progress(canvas, curves),
    )
    yield Illustration(
        "channels",
        "Channels kept by the tickets",
        f"{seed}: percent of the channels of each group of layers (how many there are in brackets, named by the "
        "first of the layers that give them) that each ticket keeps.",
        channels(canvas, record, points, [str(row["round"]) for row in run.rows]),
    )


def _searched(runs: Sequence[FinishedRun]) -> Iterator[tuple[FinishedRun, Record]]:
    for run in runs:
        folder = run.folder / JOURNAL
        if (folder / EVALUATIONS).exists():
            # As seen from here: errors end up in the report, and where this machine keeps its files does not.
            yield run, read(Path(os.path.relpath(folder)))
