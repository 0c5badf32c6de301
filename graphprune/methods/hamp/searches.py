"""The searches by name, two of which know of networks: one ratio for all layers, NetAdapt's path; what is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from graphprune.search import (
    Archive,
    Evaluate,
    FloatArray,
    IntArray,
    Space,
    hypervolume,
    memetic,
    non_dominated,
    nsga2,
    random_search,
)

Search = Literal["memetic", "nsga2", "random", "netadapt", "uniform"]
EVOLVING = ("memetic", "nsga2")

CUT = 0.05  # of the dense network's resource that goes in NetAdapt's first iterations
DECAY = 0.98  # of that step from iteration to iteration (Yang et al., ECCV 2018, decay it too)
MARGIN = 1.1  # how far beyond the worst value the corner of a hypervolume lies, so that extremes count too


def find(
    search: Search,
    evaluate: Evaluate,
    space: Space,
    *,
    budget: int,
    population: int,
    portfolio: bool,
    surrogate: bool,
    seed: int,
    found: Sequence[tuple[int, ...]] = (),
) -> Archive:
    """Search as :class:`graphprune.HAMP` is told; evolutionary and random searches begin with uniform points.

    A search that has ended gives all that it has ``found``. It is not run again: with a library that rounds in another
    way other points might follow.
    """
    if len(found) == min(budget, space.size):
        archive = Archive(evaluate, space, budget)
        archive.ask(found)
        return archive
    if search == "uniform":
        return uniform(evaluate, space, budget=budget)
    if search == "netadapt":
        return netadapt(evaluate, space, budget=budget)
    initial = uniform_points(space, max(1, population // 2))[:budget]
    if search == "random":
        return random_search(evaluate, space, budget=budget, initial=initial, seed=seed)
    if search == "nsga2":
        return nsga2(evaluate, space, budget=budget, population=population, initial=initial, seed=seed)
    options = {"portfolio": portfolio, "surrogate": surrogate}
    return memetic(evaluate, space, budget=budget, population=population, initial=initial, seed=seed, **options)


def fewest(search: Search, space: Space, budget: int) -> int:
    """How many points a search finds at least."""
    if search == "uniform":
        return len(uniform_points(space, budget))
    # NetAdapt lowers every gene that can be lowered by itself, at the worst all the way, then the others again.
    free = sum(high > low for low, high in _bounds(space))
    return min(budget, 1 + free * (free + 1) // 2 if search == "netadapt" else space.size)


def uniform_points(space: Space, most: int) -> list[tuple[int, ...]]:
    """Points with the same share of every gene, at most so many that differ, the largest first."""
    finest = max(space.upper)
    shares = np.linspace(1, 1 / finest, min(most, finest))
    every = [tuple(max(low, round(share * high)) for low, high in _bounds(space)) for share in shares.tolist()]
    return list(dict.fromkeys(every))


def uniform(evaluate: Evaluate, space: Space, *, budget: int) -> Archive:
    """Evaluate uniform shares, as many as differ and the budget allows."""
    archive = Archive(evaluate, space, budget)
    archive.ask(np.array(uniform_points(space, budget)))
    return archive


def netadapt(evaluate: Evaluate, space: Space, *, budget: int) -> Archive:
    """The path of NetAdapt (Yang et al., ECCV 2018) from the dense point, without its short fine-tuning.

    Each iteration wants the second objective lower by a step. For each gene there is a proposal in which it alone is
    lowered, just far enough; the one of the lowest first objective is where the next iteration begins. How far that is
    the authors read off a table of each layer's latencies; here it is guessed from what a level of the gene has saved
    before (at first, all alike), and a proposal that does not save enough is lowered further. All evaluations count.

    The upper bounds of the space are the dense network; see :class:`graphprune.search.Archive`.
    """
    archive = Archive(evaluate, space, budget)
    state, lower = np.array(space.upper), np.array(space.lower)
    cost = float(archive.ask(state[None])[0, 1])
    cut, least = CUT * cost, cost / 1000
    saving = np.full(len(space), cost / (state - lower).sum())  # of a level
    while archive.left and (state > lower).any():
        target, proposals = cost - cut, list[_Proposal]()
        for gene in np.flatnonzero(state > lower).tolist():
            made, resource = state.copy(), cost
            while made[gene] > lower[gene] and resource > target:
                further = max(1, round((resource - target) / saving[gene]))
                made[gene] = max(lower[gene], made[gene] - further)
                if not archive.left and made not in archive:
                    break
                error, resource = (float(value) for value in archive.ask(made[None])[0, :2])
                saving[gene] = max((cost - resource) / (state[gene] - made[gene]), least)
                proposals.append(_Proposal(error, resource, made.copy()))
        if not proposals:
            break
        # Of proposals that save enough the most accurate; where none does, the one that saves most.
        enough = [one for one in proposals if one.resource <= target]
        best = min(enough, key=lambda one: one.error) if enough else min(proposals, key=lambda one: one.resource)
        state, cost, cut = best.point, min(cost, best.resource), cut * DECAY
    return archive


def diverse(values: FloatArray, many: int) -> list[int]:
    """So many points, spread over the front: each adds the most hypervolume to those before it.

    The first is that of the least error. Where the front has fewer points, those follow that are on the front without
    it, and so on. ``values`` are ``(n, objectives)``, the error first; the places of those that are chosen are ordered
    by the second objective, the largest first.
    """
    left, chosen = np.arange(len(values)), list[int]()
    scaled = values / np.maximum(values.max(0) * MARGIN, np.finfo(float).tiny)
    corner = np.ones(values.shape[1])
    while len(left) and len(chosen) < many:
        front = left[non_dominated(values[left])]
        wanted = min(len(front), many - len(chosen))
        picked = [int(min(front, key=lambda place: tuple(values[place])))]
        while len(picked) < wanted:
            rest = [int(place) for place in front if place not in picked]
            picked.append(max(rest, key=lambda place: hypervolume(scaled[[*picked, place]], corner)))
        chosen += picked
        left = np.array([place for place in left if place not in front], dtype=np.int64)
    return sorted(chosen, key=lambda place: tuple(-values[place, 1:]))


class _Proposal(NamedTuple):
    error: float
    resource: float
    point: IntArray


def _bounds(space: Space) -> list[tuple[int, int]]:
    return list(zip(space.lower, space.upper, strict=True))
