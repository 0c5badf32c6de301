"""Where the units of a layered drawing go: connected components apart, few crossings within each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.reading.paths import Chain, Pathway

Places = tuple[dict[int, float], ...]
"""For each level, the height of each live unit, from 0 (bottom) to 1 (top)."""

# Sweeps get better for about as many rounds, and where they end depends on where they start: the best of all is taken.
SWEEPS, STARTS = 24, 16

Ranks = NDArray[np.int64]


def places(chain: Chain) -> Places:
    """Heights of all live units.

    Each pathway has a band of its own, as high as its fullest level needs; the largest is on top. Within a band the
    units of a level are spread evenly, in the order that barycentre sweeps find (Sugiyama et al., IEEE SMC 1981).
    """
    found: Places = tuple({} for _ in chain.alive)
    pathways = chain.pathways()
    room = np.array([max(len(units) for units in pathway.units) for pathway in pathways], dtype=np.float64)
    tops = 1 - np.concatenate([[0], room.cumsum()]) / max(room.sum(), 1)
    links = [mask.any(2).numpy() for mask in chain.grouped(chain.live)]
    for pathway, top, bottom in zip(pathways, tops[:-1], tops[1:], strict=True):
        for level, units in zip(found, ordered(pathway, links), strict=True):
            heights = top - (np.arange(len(units)) + 0.5) / max(len(units), 1) * (top - bottom)
            level.update(zip(units, heights.tolist(), strict=True))
    return found


def ordered(pathway: Pathway, links: Sequence[NDArray[np.bool_]]) -> tuple[tuple[int, ...], ...]:
    """The units of a pathway, level by level, in an order with few crossings.

    Args:
        pathway: whose units.
        links: for each layer, which of its outputs reads which unit of the level before, ``(outputs, inputs)``.
    """
    units = [np.array(level, dtype=np.int64) for level in pathway.units]
    within = [link[np.ix_(after, before)] for link, before, after in zip(links, units[:-1], units[1:], strict=True)]
    draw = np.random.default_rng(0)  # the same network is always drawn the same way
    found = [_swept(within, [draw.permutation(len(level)) for level in units]) for _ in range(STARTS)]
    _, best = min(found, key=lambda one: one[0])
    return tuple(tuple(level[rank.argsort()].tolist()) for level, rank in zip(units, best, strict=True))


def _swept(within: Sequence[NDArray[np.bool_]], ranks: list[Ranks]) -> tuple[int, list[Ranks]]:
    """The fewest crossings that sweeps through all levels, backward and forward in turn, find from these ranks."""
    fewest, best = crossings(within, ranks), list(ranks)
    for sweep in range(SWEEPS):
        forward = bool(sweep % 2)
        for level in range(1, len(ranks)) if forward else range(len(ranks) - 2, -1, -1):
            link, other = (within[level - 1], level - 1) if forward else (within[level].T, level + 1)
            ranks[level] = _by_barycentre(link, ranks[other], ranks[level])
        if (crossed := crossings(within, ranks)) < fewest:
            fewest, best = crossed, list(ranks)
    return fewest, best


def crossings(links: Sequence[NDArray[np.bool_]], ranks: Sequence[Ranks]) -> int:
    """How many pairs of edges cross, if the units of each level stand in the order of their ranks."""
    total = 0
    for link, before, after in zip(links, ranks[:-1], ranks[1:], strict=True):
        # Of two edges that cross, one starts higher and ends lower: for each edge, those in the corner above it.
        table = np.zeros(link.shape, dtype=np.int64)
        table[np.ix_(after, before)] = link
        above = table[::-1].cumsum(0)[::-1].cumsum(1)
        total += int((table[:-1, 1:] * above[1:, :-1]).sum())
    return total


def _by_barycentre(link: NDArray[np.bool_], neighbours: Ranks, ranks: Ranks) -> Ranks:
    """New ranks of the rows of ``link`` by the mean rank of what they connect to; ties stay in their order."""
    means = (link * neighbours).sum(1) / link.sum(1)
    order = np.lexsort((ranks, means))
    new = np.empty_like(ranks)
    new[order] = np.arange(len(ranks))
    return new
