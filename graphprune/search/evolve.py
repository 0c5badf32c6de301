"""Evolution on pymoo's operators, one generation after another until the budget is spent."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np

from graphprune.search.archive import Archive, gain
from graphprune.search.rules import Portfolio
from graphprune.search.space import FloatArray, IntArray

try:
    from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.mating import Mating
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.selection.tournament import TournamentSelection
except ImportError as error:
    raise ImportError("this search needs pymoo: pip install 'graphprune[search]'") from error


def evolve(
    archive: Archive,
    start: IntArray,
    *,
    population: int,
    seed: int,
    portfolio: Portfolio | None = None,
    propose: Callable[[Archive, np.random.Generator], IntArray] | None = None,
) -> None:
    """NSGA-II from the points of ``start`` (n, genes), until the archive has no evaluations left.

    Args:
        archive: takes the evaluations.
        start: the first generation.
        population: points that survive a generation.
        seed: of all randomness.
        portfolio: decides who survives, instead of rank and crowding.
        propose: finds new points beside the children, of which there are half as many then: its model learns sooner.
    """
    values = archive.ask(start)
    space = archive.space
    survival = {} if portfolio is None else {"survival": portfolio}
    algorithm = NSGA2(
        pop_size=population,
        n_offsprings=population if propose is None else population // 2,
        sampling=Population.new("X", start),
        mating=_Mating(),
        termination=NoTermination(),
        seed=seed,
        **survival,
    )
    algorithm.setup(Problem(n_var=len(space), n_obj=values.shape[1], xl=space.lower, xu=space.upper, vtype=int))
    _tell(algorithm, archive, algorithm.ask())
    rng = np.random.default_rng([seed, 1])  # the operators have their own
    while archive.left:
        if propose is not None and len(better := propose(archive, rng)):
            _tell(algorithm, archive, Population.new("X", better))
        children = algorithm.ask()
        if children is None or not len(archive.new(_points(children))):
            children = Population.new("X", archive.unseen(population, rng))
        _tell(algorithm, archive, children, portfolio)


class _Mating(Mating):  # type: ignore[misc]
    """pymoo's operators for integers, with the settings of its manual; children know the keepers of their parents."""

    def __init__(self) -> None:
        operators = {"prob": 1.0, "eta": 3.0, "vtype": float, "repair": RoundingRepair()}
        super().__init__(
            TournamentSelection(func_comp=binary_tournament),
            SBX(**operators),
            PM(**operators),
            eliminate_duplicates=DefaultDuplicateElimination(),
        )

    def _do(self, problem: Any, pop: Population, n_offsprings: int, **rest: Any) -> Population:
        pairs = self.selection(problem, pop, ceil(n_offsprings / 2), n_parents=2, **rest)
        children = super()._do(problem, pop, n_offsprings, parents=pairs, **rest)
        for place, child in enumerate(children):  # the first child of every pair, then the second of every pair
            child.set("keepers", [parent.get("keeper") for parent in pairs[place % len(pairs)]])
        return children


def _tell(algorithm: NSGA2, archive: Archive, children: Population, portfolio: Portfolio | None = None) -> None:
    """Evaluate as many of the children as may be, credit those that kept their parents; the fittest survive."""
    points = _points(children)
    dear = archive.new(points)[archive.left :]
    children, points = np.delete(children, dear), np.delete(points, dear, axis=0)
    if not len(children):
        return
    front = archive.f[archive.front]
    values = archive.ask(points)
    children.set("F", values)
    keepers = [child.get("keepers") for child in children]
    if portfolio is not None and all(keeper is not None for keeper in keepers):
        portfolio.reward(np.array(keepers), _gains(values, front))
    algorithm.tell(infills=children)


def _gains(values: FloatArray, front: FloatArray) -> FloatArray:
    """``(n,)``: the hypervolume that each row would add to the front, in units of the front's extent."""
    low, high = front.min(axis=0), front.max(axis=0)
    extent = np.maximum(high - low, 1e-12)
    reference = np.full(front.shape[1], 1.1)
    return np.array([gain((row - low) / extent, (front - low) / extent, reference) for row in values])


def _points(children: Population) -> IntArray:
    points: IntArray = children.get("X").astype(np.int64)
    return points
