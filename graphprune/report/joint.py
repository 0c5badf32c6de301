"""Joint grids of edge rates times weight rates, and their sparsest cells."""

from __future__ import annotations

from operator import ge

from graphprune.report.compare import Findings
from graphprune.report.equal import AXES
from graphprune.report.results import Group, Point, Series
from graphprune.report.stats import BETTER, NO_DIFFERENCE


def joint_grids(group: Group) -> dict[str, list[tuple[Series, Point]]]:
    """The last round of each series of each grid of edge rates times weight rates."""
    grids: dict[str, list[tuple[Series, Point]]] = {}
    for series in group.series:
        if series.joint:
            grids.setdefault(series.joint, []).append((series, series.last))
    return grids


def frontier(found: Findings) -> list[Series]:
    """Series of joint grids not shown to be worse than dense, and not surpassed in both sparsities by another one."""
    kept: list[Series] = []
    for cells in joint_grids(found.group).values():
        level = [
            (tuple(point[axis.column].mean for axis in AXES), series)
            for series, point in cells
            if (comparison := found.dense.get(series.label, {}).get(point.number)) is not None
            and comparison.verdict in (BETTER, NO_DIFFERENCE)
        ]
        kept += [
            series
            for mine, series in level
            if not any(other != mine and all(map(ge, other, mine)) for other, _ in level)
        ]
    return kept
