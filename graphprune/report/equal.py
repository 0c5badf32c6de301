"""Series at equal sparsity: which can be compared, where they meet, and their metric there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphprune.report.results import SINGLE, Group, Point, Repetition, Series
from graphprune.report.stats import at_sparsity

# Sparsities that differ by less are one: of other weights protected, the same density is rounded to other counts.
ROUNDING = 1e-4
# How far off a small dense network's number of parameters may be, as a share of it.
SAME_SIZE = 0.05


@dataclass(frozen=True)
class Axis:
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
EDGES = Axis("edges", "edge_sparsity_test", "weight_sparsity", "edges removed from the test graphs")
WEIGHTS = Axis("weights", "weight_sparsity", "edge_sparsity_test", "weights removed")
AXES = (EDGES, WEIGHTS)


def contenders(group: Group, axis: Axis) -> list[Series]:
    """Series with a curve along an axis whose test metrics can be compared."""
    return [
        series
        for series in group.series
        if series.method not in SINGLE
        and not series.joint
        and not series.selects_on_test
        and series.removes(axis.column)
    ]


def of_size(small: Series, lines: Sequence[Series]) -> Point | None:
    """Of all points of these series the one of a small dense network's size; None if none is within 5 % of it."""
    size = small.last["params_kept"].mean
    points = [point for line in lines for point in line.points]
    nearest = min(points, key=lambda point: abs(point["params_kept"].mean - size), default=None)
    return nearest if nearest is not None and abs(nearest["params_kept"].mean - size) <= SAME_SIZE * size else None


def common_sparsity(several: Sequence[Series], axis: Axis) -> float | None:
    """The largest sparsity that lies in the achieved range of every complete run of all these series."""
    lows, highs = [], []
    for series in several:
        curves = series.curves(axis.column)
        for repetition in series.last.rows:
            achieved = [sparsity for sparsity, _ in curves[repetition]]
            lows.append(min(achieved))
            highs.append(max(achieved))
    return min(highs) if highs and max(lows) <= min(highs) else None


def meetings(several: Sequence[Series], axis: Axis) -> dict[float | None, float]:
    """At which sparsities series are compared: by density, or the largest common one where none of them has densities.

    Not every series need reach a density.
    """
    points = [point for series in several for point in series.points if point.density is not None]
    if points:
        points.sort(key=lambda point: point.density or 0, reverse=True)
        return {point.density: point[axis.column].mean for point in points}
    largest = common_sparsity(several, axis)
    return {} if largest is None else {None: largest}


def at(series: Series, axis: Axis, sparsity: float, metric: str = "test_metric") -> dict[Repetition, float]:
    """The metric at a sparsity in each repetition that reaches it.

    Interpolated between the rounds of a run; between densities, which are trainings apart, nothing is.
    """
    found = {}
    for repetition, curve in series.curves(axis.column, metric).items():
        if series.last.density is None:
            value = at_sparsity(curve, sparsity)
        else:
            nearest, there = min(curve, key=lambda point: abs(point[0] - sparsity))
            value = there if abs(nearest - sparsity) < ROUNDING else math.nan
        if math.isfinite(value):
            found[repetition] = value
    return found
