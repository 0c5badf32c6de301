"""Which of the points that a search has found become tickets."""

from __future__ import annotations

import numpy as np

from graphprune.search import FloatArray, hypervolume, non_dominated

MARGIN = 1.1  # how far beyond the worst value the corner lies, so that extremes count too


def spread(values: FloatArray, members: int) -> list[int]:
    """So many points, spread over the front: each adds the most hypervolume to those before it.

    The first is that of the least error. Where the front has fewer points, those follow that are on the front without
    it, and so on.

    Args:
        values: ``(n, objectives)``, the error first.
        members: how many, if there are so many.

    Returns:
        Their places, ordered by the second objective, the largest first.
    """
    left, chosen = np.arange(len(values)), list[int]()
    scaled = values / np.maximum(values.max(0) * MARGIN, np.finfo(float).tiny)
    corner = np.ones(values.shape[1])
    while len(left) and len(chosen) < members:
        front = left[non_dominated(values[left])]
        wanted = min(len(front), members - len(chosen))
        picked = [int(min(front, key=lambda place: tuple(values[place])))]
        while len(picked) < wanted:
            rest = [int(place) for place in front if place not in picked]
            picked.append(max(rest, key=lambda place: hypervolume(scaled[[*picked, place]], corner)))
        chosen += picked
        left = np.array([place for place in left if place not in front], dtype=np.int64)
    return sorted(chosen, key=lambda place: tuple(-values[place, 1:]))
