"""The searches: memetic, and the two it is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from graphprune.search.archive import Archive
from graphprune.search.local import LocalSearch
from graphprune.search.rules import Portfolio
from graphprune.search.space import Evaluate, IntArray, Space


def memetic(
    evaluate: Evaluate,
    space: Space,
    *,
    budget: int,
    population: int = 20,
    portfolio: bool = True,
    surrogate: bool = True,
    initial: ArrayLike | None = None,
    seed: int = 0,
) -> Archive:
    """HAMP-style search (after Hong et al., Fundamental Research 2024; the details are ours).

    Evolution with NSGA-II's operators, in which a portfolio of rules selects (see ``Portfolio``), and a local search
    in surrogate models adds points of its own to every generation (see ``LocalSearch``). On one machine the same seed
    and the same answers of ``evaluate`` give the same sequence of points, whatever numpy's global state.

    Args:
        evaluate: the objectives; asked for distinct points only, a generation or a local search's proposals at once.
        space: what is searched.
        budget: true evaluations. All are used, or all of the space.
        population: points that survive a generation. It has as many children, or with a surrogate half as many and
            up to a quarter from the local search.
        portfolio: False: rank and crowding select, as in NSGA-II.
        surrogate: False: no local search.
        initial: points (n, genes) to begin with; random ones fill them up to a population.
        seed: of all randomness.

    Raises:
        ImportError: pymoo or moocore is missing.
        ValueError: a budget below the population or the initial points, a population below two, points that are not in
            the space, or values of ``evaluate`` that are none (see ``Archive.ask``).
    """
    if population < 2:
        raise ValueError(f"a population has two points or more, got {population}")
    from graphprune.search.evolve import evolve  # needs pymoo

    archive = Archive(evaluate, space, budget)
    evolve(
        archive,
        _start(archive, budget, population, initial, seed),
        population=population,
        seed=seed,
        portfolio=Portfolio() if portfolio else None,
        propose=LocalSearch(searches=max(population // 4, 2)).propose if surrogate else None,
    )
    return archive


def nsga2(
    evaluate: Evaluate,
    space: Space,
    *,
    budget: int,
    population: int = 20,
    initial: ArrayLike | None = None,
    seed: int = 0,
) -> Archive:
    """Pymoo's NSGA-II (Deb et al., 2002), with its operators for integers. Arguments and errors are ``memetic``'s."""
    return memetic(
        evaluate,
        space,
        budget=budget,
        population=population,
        portfolio=False,
        surrogate=False,
        initial=initial,
        seed=seed,
    )


def random_search(
    evaluate: Evaluate,
    space: Space,
    *,
    budget: int,
    initial: ArrayLike | None = None,
    seed: int = 0,
) -> Archive:
    """Distinct uniform points, after the initial ones. Arguments and errors are ``memetic``'s; needs no package."""
    archive = Archive(evaluate, space, budget)
    archive.ask(_start(archive, budget, budget, initial, seed))
    return archive


def _start(archive: Archive, budget: int, population: int, initial: ArrayLike | None, seed: int) -> IntArray:
    """The first generation (n, genes): the distinct initial points, and random ones up to a population."""
    if budget < population:
        raise ValueError(f"the budget must pay for a population: {budget} evaluations, {population} points")
    given = archive.space.check(np.empty((0, len(archive.space))) if initial is None else initial)
    given = given[archive.new(given)]
    if budget < len(given):
        raise ValueError(f"the budget must pay for the initial points: {budget} evaluations, {len(given)} points")
    points = np.concatenate([given, archive.unseen(population, np.random.default_rng([seed, 0]))])
    return points[archive.new(points)][: max(population, len(given))]
