"""Pictures of searches over channels: the front among all points, hypervolume over evaluations, channels kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from graphprune.methods.hamp.journal import EVALUATIONS, JOURNAL, Record, read
from graphprune.report.records import Run
from graphprune.report.results import Group, Series
from graphprune.report.style import INK, SMALL, WIDTH, End, height_for, label_ends, panels, styles
from graphprune.search import hypervolume, non_dominated

Floats = NDArray[np.float64]
FAR = "#b8b8b8"  # dominated points
BEYOND = 1.1  # times the dense network's costs: where hypervolumes end
# What a cost is called, and what its numbers are divided by.
COSTS = {
    "latency": ("latency of a batch (ms)", 1e-3),
    "peak": ("memory of a batch (KiB)", 1024.0),
    "params": ("parameters", 1.0),
    "macs": ("MACs of a batch (millions)", 1e6),
}


def front(record: Record, members: Sequence[Sequence[int]] = ()) -> Figure:
    """Error against each cost: dominated points, those that no other dominates, and those that became tickets.

    Args:
        record: of the search.
        members: points of the tickets.
    """
    values = np.array(record.values())
    best = non_dominated(values)
    chosen = [number for number, one in enumerate(record.evaluations) if list(one.point) in [list(m) for m in members]]
    figure, every = panels(len(record.objectives))
    colour = styles(["front"])["front"].colour
    for axes, name, cost in zip(every, record.objectives, values[:, 1:].T, strict=True):
        text, unit = COSTS[name]
        axes.scatter(cost[~best] / unit, values[~best, 0], s=10, color=FAR, linewidth=0, label="dominated")
        order = np.flatnonzero(best)[np.argsort(cost[best])]
        # With several costs a point may be on the front for the sake of another one: no line would be a front then.
        style = "-" if len(record.objectives) == 1 else "none"
        axes.plot(
            cost[order] / unit,
            values[order, 0],
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1,
            linestyle=style,
            drawstyle="steps-post",
            label="front",
        )
        axes.scatter(
            cost[chosen] / unit, values[chosen, 0], s=70, facecolor="none", edgecolor=INK, zorder=4, label="tickets"
        )
        axes.set_xlabel(text)
    every[0].set_ylabel("error of the proxy, held out")
    every[-1].legend(frameon=False, fontsize=SMALL)
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


def progress(curves: Mapping[str, Sequence[Floats]]) -> Figure:
    """Hypervolume over evaluations, one line a search; its range over the seeds as a band.

    Args:
        curves: of each search, one array a seed; lengths may differ.
    """
    looks = styles(curves)
    figure, [axes] = panels(height=height_for(len(curves)))
    ends = []
    for name, seeds in curves.items():
        style, size = looks[name], max(map(len, seeds))
        # A search that had no more points stays where it was.
        full = np.stack([np.pad(one, (0, size - len(one)), mode="edge") for one in seeds])
        x, mean = np.arange(1, size + 1), full.mean(0)
        axes.plot(x, mean, color=style.colour, linestyle=style.dash, linewidth=1.4)
        if len(seeds) > 1:
            axes.fill_between(x, full.min(0), full.max(0), color=style.colour, alpha=0.1, linewidth=0)
        ends.append(End(float(size), float(mean[-1]), name, style))
    axes.set_xlabel("true evaluations")
    axes.set_ylabel("hypervolume, share of the box")
    axes.margins(x=0.02)
    label_ends(axes, ends)
    return figure


def channels(record: Record, points: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Percent of each group's channels that points keep, a row a group (and edges), a column a point.

    Args:
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
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(percent)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(percent, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(labels)), labels, fontsize=SMALL)
    names = [gene.name.removesuffix(".weight") + (f" ({gene.size})" if gene.size else "") for gene in record.genes]
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_xlabel("ticket")
    if len(labels) <= 12:
        for (row, column), value in np.ndenumerate(percent):
            ink = "#000000" if value > 50 else "#ffffff"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=axes, label="kept (%)", shrink=0.9)
    return figure


def illustrations(group: Group) -> list[tuple[str, str, str, Figure]]:
    """File name, title, caption and figure of what the searches of a group have found; nothing where none has searched.

    Front and channels are those of the first run of the first series.
    """
    found = {series.label: searched for series in group.series if (searched := list(_searched(series)))}
    if not found:
        return []
    label, [(run, record), *_] = next(iter(found.items()))
    points = [row["point"] for row in run.rows]
    seed = f"{label}, seed {run.rows[0]['seed']}"
    curves = {name: [grown(one) for _, one in searched] for name, searched in found.items()}
    runs = "; bands are the range of the runs" if any(len(one) > 1 for one in curves.values()) else ""
    return [
        (
            "front",
            "Error and cost of all points",
            f"{seed}: every evaluated point, by the error of its network before any further training, on training "
            "samples that were held out. Circles are the points that became tickets.",
            front(record, points),
        ),
        (
            "hypervolume",
            "What the search has found, over its evaluations",
            f"Hypervolume of all points so far, as a share of the box from 0 to {BEYOND} times the dense network's "
            f"costs and to an error of 1{runs}.",
            progress(curves),
        ),
        (
            "channels",
            "Channels kept by the tickets",
            f"{seed}: percent of the channels of each group of layers (how many there are in brackets, named by the "
            "first of the layers that give them) that each ticket keeps.",
            channels(record, points, [str(row["round"]) for row in run.rows]),
        ),
    ]


def _searched(series: Series) -> Iterator[tuple[Run, Record]]:
    for run in series.runs:
        folder = run.folder / JOURNAL
        if (folder / EVALUATIONS).exists():
            yield run, read(Path(os.path.relpath(folder)))
