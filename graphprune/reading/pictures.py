"""Pictures of what a sparse network learned: its pathways, the inputs it looks at, and the map of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Literal

import numpy as np
from torch import Tensor

from graphprune.reading.layout import Places, places
from graphprune.reading.paths import Chain
from graphprune.reading.symmetry import symmetry

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
except ImportError as error:
    raise ImportError("pictures need matplotlib: pip install 'graphprune[report]'") from error

INK, FAINT = "#222222", "#bbbbbb"
# Of Okabe & Ito's palette, which colour-blind readers can tell apart.
POSITIVE, NEGATIVE = "#D55E00", "#0072B2"
SIGNED = LinearSegmentedColormap.from_list("signed", [NEGATIVE, "#ffffff", POSITIVE])
AMOUNT = LinearSegmentedColormap.from_list("amount", ["#ffffff", "#8fd0b8", "#009E73", "#00291e"])
SMALL, TITLE = 7.0, 8.0  # points
WIDTH, ABOVE, BELOW = 7.2, 0.5, 0.75  # inches: a page's width, and the margins of a drawing
MOST = 2_000  # weights: with more a drawing of pathways is a grey surface
NAMED = 40  # units of a level that can have a name each

Shape = tuple[int, int, int]
Side = Literal["over", "under", "left", "right"]
_SIDES: dict[
    Side, tuple[float, tuple[float, float], Literal["left", "center", "right"], Literal["top", "center", "bottom"]]
] = {
    "over": (1, (0, 7), "center", "bottom"),
    "under": (0, (0, -7), "center", "top"),
    "left": (0, (-7, 0), "right", "center"),
    "right": (0, (7, 0), "left", "center"),
}


def draw_pathways(
    chain: Chain,
    weights: Mapping[str, Tensor],
    *,
    shape: Shape | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> Figure:
    """The live network, level by level from left to right: all its weights, and only units that lie on a path.

    Pathways that share no unit have bands of their own, the one of most weights on top. Lines are coloured by sign, and
    as thick as the weight is large within its layer.

    Args:
        chain: of any method, of at most 2,000 live weights.
        weights: see :meth:`Chain.path_strengths`, which also says what is raised.
        shape: channels, height and width of images that the inputs are the pixels of. A small map then shows where the
            live pixels lie, in the colours that they have in the drawing.
        inputs: names of the inputs; None: numbers.
        outputs: names of the outputs; None: numbers.

    Raises:
        ValueError: no path or too many weights, a shape of another number of pixels, or another number of names.
    """
    graph = chain.graph(weights)
    if not 1 <= graph.number_of_edges() <= MOST:
        raise ValueError(
            f"a drawing of pathways is readable for 1 to {MOST:,} live weights, this chain has "
            f"{graph.number_of_edges():,}"
        )
    if shape is not None:
        _check(shape, len(chain.alive[0]))
    where, last = places(chain), len(chain.layers)
    names = {0: _names("inputs", inputs, chain), last: _names("outputs", outputs, chain)}
    figure, axes = _canvas(where, shape, names)
    colours = dict(zip(where[0], colormaps["viridis"](list(where[0].values())).tolist(), strict=True))
    for level, row in enumerate(chain.ledger):
        edges = [(u[1], v[1], w) for u, v, w in graph.edges(data="weight") if u[0] == level]
        axes.add_collection(_lines(level, where, edges))
        _beside(axes, level + 0.5, f"{row.name.removesuffix('.weight')}\n{row.live:,} weights", "under")
    for level, heights in enumerate(where):
        fill = [colours[unit] for unit in heights] if shape is not None and level == 0 else "white"
        size, edge = min(34.0, 2600 / len(heights)), "none" if fill != "white" and len(heights) > NAMED else INK
        axes.scatter([level] * len(heights), [*heights.values()], size, fill, clip_on=False, zorder=3, lw=0.6, ec=edge)
        kind = {0: "inputs" if shape is None else "pixels", last: "outputs"}.get(level, "units")
        _beside(axes, level, f"{len(heights):,} of {len(chain.alive[level]):,}\n{kind}", "over")
        if level in names and len(heights) <= NAMED:
            for unit, height in heights.items():
                _beside(axes, level, names[level][unit], "left" if level == 0 else "right", height)
    if shape is not None:
        _thumbnail(figure, shape, colours)
    signs = {"positive weight": POSITIVE, "negative weight": NEGATIVE}
    handles = [Line2D([], [], color=colour, label=name) for name, colour in signs.items()]
    figure.legend(handles=handles, loc="lower left", ncols=2, frameon=False, fontsize=SMALL)
    return figure


def draw_importance(importance: Tensor, shape: Shape, *, label: str = "live paths") -> Figure:
    """A map of how much a network looks at each pixel; pixels at 0 are white. Its symmetry is written below.

    Args:
        importance: shape ``(inputs,)`` and not negative, such as ``chain.path_counts().sum(0)``.
        shape: channels, height and width; channels are added up.
        label: what the numbers are.

    Raises:
        ValueError: another number of pixels, or values that are negative or not finite.
    """
    if importance.ndim != 1 or not bool((importance.isfinite() & (importance >= 0)).all()):
        raise ValueError(
            f"importance must be one finite number for each input, none below 0, got shape {tuple(importance.shape)}"
        )
    image = _image(importance, shape).sum(0)
    figure = Figure(figsize=(3.4, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    # On a square root's scale: a few pixels have most of the paths, and the others are to be seen beside them.
    norm = PowerNorm(0.5, vmin=0, vmax=float(image.max()) or 1.0)
    drawn = axes.imshow(image.numpy(), cmap=AMOUNT, norm=norm, interpolation="nearest")
    _frame(axes)
    figure.colorbar(drawn, ax=axes, shrink=0.85).ax.tick_params(labelsize=SMALL)
    axes.set_title(label, fontsize=TITLE)
    found = symmetry(image)
    text = f"{int((image > 0).sum()):,} of {image.numel():,} pixels; symmetry {found.left_right:.2f} left-right, "
    axes.set_xlabel(f"{text}{found.up_down:.2f} up-down", fontsize=SMALL)
    return figure


def draw_class_maps(products: Tensor, shape: Shape, *, outputs: Sequence[str] | None = None) -> Figure:
    """A map for each class: which pixels speak for it and which against it.

    Each map has a scale of its own, from minus to plus its largest value, and colours go by the square root.

    Args:
        products: shape ``(outputs, inputs)``, :meth:`Chain.path_products`.
        shape: channels, height and width; channels are added up.
        outputs: names of the classes; None: numbers.

    Raises:
        ValueError: another number of pixels or names, or values that are not finite.
    """
    if products.ndim != 2 or not bool(products.isfinite().all()):
        raise ValueError(f"products must be finite and of shape (outputs, inputs), got {tuple(products.shape)}")
    names = [str(number) for number in range(len(products))] if outputs is None else list(outputs)
    if len(names) != len(products):
        raise ValueError(f"outputs has {len(names)} names for {len(products)} outputs")
    columns = min(5, len(names))
    rows = ceil(len(names) / columns)
    figure = Figure(figsize=(WIDTH * (columns + 0.6) / 5.6, WIDTH / 5.6 * 1.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    used = panels[: len(names)]
    for axes, values, name in zip(used, products, names, strict=True):
        image = _image(values, shape).sum(0)
        scale = float(image.abs().max()) or 1.0
        shown = (image.sign() * (image.abs() / scale).sqrt()).numpy()
        drawn = axes.imshow(shown, cmap=SIGNED, vmin=-1, vmax=1, interpolation="nearest")
        _frame(axes)
        axes.set_title(name, fontsize=TITLE, pad=3)
    bar = figure.colorbar(drawn, ax=panels, shrink=0.7, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.set_yticklabels(["−1 (against)", "−¼", "0", "¼", "1 (for)"], fontsize=SMALL)
    return figure


def _canvas(where: Places, shape: Shape | None, names: Mapping[int, Sequence[str]]) -> tuple[Figure, Axes]:
    """A figure as high as its fullest levels need, with margins for the map of pixels and for names."""
    most, named = max(map(len, where)), [len(where[level]) for level in names if len(where[level]) <= NAMED]
    height = min(max(2.0, 0.03 * most, 0.17 * max(named, default=0)), 7.5)
    figure = Figure(figsize=(WIDTH, height + ABOVE + BELOW))
    FigureCanvasAgg(figure)
    before, after = (
        0.04 + 0.009 * max((len(name) for name in called if len(where[level]) <= NAMED), default=0)
        for level, called in sorted(names.items())
    )
    left, right = max(before, 0.07 if shape is None else 0.3), max(after, 0.07)
    whole = figure.get_figheight()
    axes = figure.add_axes((left, BELOW / whole, 1 - left - right, height / whole))
    axes.set_axis_off()
    axes.set_xlim(0, len(where) - 1)
    axes.set_ylim(0, 1)
    return figure, axes


def _beside(axes: Axes, x: float, text: str, side: Side, y: float | None = None) -> None:
    """Write over or under the drawing, or on the left or right of a unit at height ``y``."""
    edge, offset, across, along = _SIDES[side]
    axes.annotate(
        text,
        (x, edge if y is None else y),
        xytext=offset,
        textcoords="offset points",
        ha=across,
        va=along,
        fontsize=SMALL,
        annotation_clip=False,
    )


def _lines(level: int, where: Places, edges: Sequence[tuple[int, int, float]]) -> LineCollection:
    """The weights between two levels, the largest in front, as curves that leave and arrive horizontally."""
    edges = sorted(edges, key=lambda edge: abs(edge[2]))
    share = np.linspace(0, 1, 24)
    bend = share**2 * (3 - 2 * share)
    largest = abs(edges[-1][2]) or 1.0
    widest = min(2.0, 30 / len(edges) ** 0.5)  # points; more lines are thinner lines
    curves = [
        np.column_stack([level + share, where[level][u] + bend * (where[level + 1][v] - where[level][u])])
        for u, v, _ in edges
    ]
    return LineCollection(
        curves,
        colors=[POSITIVE if weight > 0 else NEGATIVE for _, _, weight in edges],
        linewidths=[widest * (0.2 + 0.8 * abs(weight) / largest) for _, _, weight in edges],
        alpha=0.75,
        clip_on=False,
    )


def _thumbnail(figure: Figure, shape: Shape, colours: Mapping[int, list[float]]) -> None:
    """The image with its live pixels in the colours of the drawing; a pixel of several channels has their mean."""
    height, width = shape[1:]
    flat = np.zeros((prod(shape), 4))
    for unit, colour in colours.items():
        flat[unit] = colour
    painted = flat.reshape(*shape, 4)
    count = painted[..., 3].sum(0)[..., None]
    image = np.where(count > 0, painted.sum(0) / np.maximum(count, 1), 1.0)
    high = 0.2 * WIDTH / figure.get_figheight() * height / width
    axes = figure.add_axes((0.02, 0.5 - high / 2, 0.2, high))
    axes.imshow(image, interpolation="nearest")
    _frame(axes)
    axes.set_xlabel("live pixels, coloured\nas on the right", fontsize=SMALL)


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)


def _names(what: str, names: Sequence[str] | None, chain: Chain) -> Sequence[str]:
    count = len(chain.alive[0 if what == "inputs" else -1])
    if names is not None and len(names) != count:
        raise ValueError(f"{what} has {len(names)} names for {count} {what}")
    return [str(number) for number in range(count)] if names is None else names


def _check(shape: Shape, inputs: int) -> None:
    if len(shape) != 3 or inputs != prod(shape):
        raise ValueError(f"images of shape {shape} have {prod(shape)} pixels, the network reads {inputs} inputs")


def _image(values: Tensor, shape: Shape) -> Tensor:
    _check(shape, values.numel())
    return values.detach().cpu().double().view(shape)
