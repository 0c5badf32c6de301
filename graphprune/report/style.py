"""What the figures of a report have in common: panels, colours, labels beside lines, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from graphprune.files import make_folder, new_file
from graphprune.methods.core.shown import Role

INK, FAINT = "#222222", "#dddddd"
WIDTH, HEIGHT, SMALL = 7.2, 4.0, 8.0  # inches, inches, points
# Okabe & Ito's palette, which colour-blind readers can tell apart, then colours as far as possible from these and from
# one another; markers and dashes tell lines apart without them.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00"),
    *("#771188", "#AACC22", "#882222", "#3333EE", "#FF0066", "#22CC33", "#FFAA88", "#00515C", "#FF00DD", "#CC99FF"),
    *("#8A5A44", "#00C2B2", "#FF2200"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p")
DASHES = ("-", "--", ":", "-.")
# How near the whole an axis still tells shares apart that it spreads there.
NEAREST = 1e-5


@dataclass(frozen=True)
class Style:
    """How a series looks in every figure of a report."""

    colour: str
    marker: str
    dash: str


BASELINES: Mapping[Role, Style] = {
    "dense": Style(INK, "*", "-"),
    "no-edges": Style("#8a8a8a", "x", "--"),
    "size-matched": Style(INK, "D", ""),
}


def styles(labels: Mapping[str, Role]) -> dict[str, Style]:
    """A style for each of several series, by label and role, the same wherever its label comes again.

    The first baseline of a role looks as such a baseline does in every report.
    """
    looks: dict[str, Style] = {}
    for label, role in labels.items():
        number = sum(look not in BASELINES.values() for look in looks.values())
        if role in BASELINES and BASELINES[role] not in looks.values():
            looks[label] = BASELINES[role]
        else:
            looks[label] = Style(
                COLOURS[number % len(COLOURS)],
                BASELINES[role].marker if role in BASELINES else MARKERS[number % len(MARKERS)],
                DASHES[number // 7 % len(DASHES)],
            )
    return looks


def panels(columns: int = 1, height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    """A figure of panels that share their vertical axis."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    every: list[Axes] = figure.subplots(1, columns, sharey=True, squeeze=False)[0].tolist()
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, every


def spread_near(axes: Axes, name: Literal["x", "y"], whole: float, missing: Sequence[float] = (1, 0.5, 0.2)) -> None:
    """Give what is missing to a whole a logarithmic scale: from 90 to 99 % is as far as from 99 to 99.9 %.

    Args:
        axes: a panel.
        name: which of its axes.
        whole: what all is in its numbers: 1 or 100.
        missing: marks, as what is missing to the whole, of the first decade; repeated in the others.
    """

    def forward(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.log10(np.maximum(1 - np.asarray(value) / whole, NEAREST))

    def inverse(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return whole * (1 - 10 ** -np.asarray(value))

    scale, axis = {"x": (axes.set_xscale, axes.xaxis), "y": (axes.set_yscale, axes.yaxis)}[name]
    scale("function", functions=(forward, inverse))
    axis.set_major_locator(FixedLocator([whole * (1 - share / 10**decade) for decade in range(5) for share in missing]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


@dataclass(frozen=True)
class End:
    """Where a line ends, what is to be written beside it, and how the line looks."""

    x: float
    y: float
    text: str
    style: Style


def height_for(labels: int) -> float:
    """Inches in which so many labels find room, one above the other."""
    return max(HEIGHT, 1.0 + 1.4 * SMALL / 72 * labels)


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Write names to the right of a panel, each at the height of its line or as near as the others allow."""
    figure = axes.get_figure()
    axes.autoscale_view()  # else it waits for the drawing, and the places below would be those of older limits
    inches = (figure.get_figheight() if isinstance(figure, Figure) else HEIGHT) - 0.8
    points = (axes.transScale + axes.transLimits).transform([(end.x, end.y) for end in ends])
    order = points[:, 1].argsort(kind="stable")
    places = spread_out(points[order, 1], 1.35 * SMALL / 72 / inches)
    for number, place in zip(order, places, strict=True):
        end, (x, y) = ends[number], points[number]
        aside = {"transform": axes.transAxes, "clip_on": False, "color": end.style.colour}
        axes.plot([x, 1.03], [y, place], linewidth=0.5, alpha=0.6, **aside)
        axes.plot([1.05], [place], marker=end.style.marker, markersize=4.5, **aside)
        # In black: some of the colours are too light for letters.
        axes.annotate(
            end.text,
            (1.05, place),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK,
        )


def spread_out(places: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Ascending places, moved as little as needed to be ``gap`` apart: what is too near shares its middle."""
    blocks: list[list[float]] = []  # sum of wanted places, members
    for number, place in enumerate(places):
        blocks.append([place - number * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, members = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += members
    middles = [total / members for total, members in blocks for _ in range(int(members))]
    return np.array(middles, dtype=np.float64) + gap * np.arange(len(middles))


@dataclass(frozen=True)
class Lent:
    """The canvas that methods draw figures of their own on.

    Attributes:
        looks: style by label.
    """

    looks: Mapping[str, Style]
    ink: str = INK
    faint: str = "#b8b8b8"
    small: float = SMALL
    width: float = WIDTH

    def colour(self, label: str) -> str:
        """The colour of a series, the same in all figures."""
        return self.looks[label].colour

    def dash(self, label: str) -> str:
        """Its line style."""
        return self.looks[label].dash or "-"

    def panels(self, columns: int = 1, labels: int = 0) -> tuple[Figure, list[Axes]]:
        """A figure of panels side by side, high enough for so many labels beside its lines."""
        return panels(columns, height_for(labels))

    def label_ends(self, axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
        """Write the labels of lines beside the panel, each at the height at which its line ends."""
        label_ends(axes, [End(x, y, label, self.looks[label]) for label, (x, y) in ends.items()])


def save(figure: Figure, path: Path) -> Path:
    """Write ``path`` as .png (for the screen) and .pdf (for print); returns the .png."""
    make_folder(path.parent)
    png = path.with_name(path.name + ".png")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it is laid out now, and need not be for each file
    with new_file(png) as part:
        figure.savefig(part, dpi=160, facecolor="white", metadata={"Software": None})
    pdf = path.with_name(path.name + ".pdf")
    with matplotlib.rc_context({"pdf.fonttype": 42}), new_file(pdf) as part:  # TrueType: some publishers refuse Type 3
        figure.savefig(part, facecolor="white", metadata={"CreationDate": None})
    return png
