"""Local search from good points, by a model of what their neighbours would be worth."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from graphprune.search.archive import Archive
from graphprune.search.rules import scalarised
from graphprune.search.space import FloatArray, IntArray, Space, needed

_LENGTHS = (0.3, 0.6, 1.2, 2.4)  # over the root of the number of genes, which is the diagonal of the unit cube
_NOISES = (1e-6, 1e-3, 1e-1)  # variances, over the process's own


@dataclass(frozen=True)
class LocalSearch:
    """For a random weighting of the objectives, climb from the front's best point over neighbours in a model.

    Every proposal is the end of a climb, a point that is not evaluated yet; a true evaluation has to follow.

    Attributes:
        searches: climbs a generation.
        nearest: evaluated points that a model is made of.
        moves: the most moves of a climb.
        transfers: random transfers among the neighbours of a point.
    """

    searches: int
    nearest: int = 150
    moves: int = 8
    transfers: int = 60

    def propose(self, archive: Archive, rng: np.random.Generator) -> IntArray:
        """Up to ``searches`` distinct new points (n, genes)."""
        x, f, front = archive.x, archive.f, archive.front
        unit = archive.space.unit(x)
        low = f[front].min(axis=0)
        scaled = (f - low) / np.maximum(f[front].max(axis=0) - low, 1e-12)
        found: dict[bytes, IntArray] = {}
        for weights in rng.dirichlet(np.ones(f.shape[1]), size=(self.searches, 1)):
            start = front[scalarised(scaled[front], weights)[0].argmin()]
            near = np.argsort(((unit - unit[start]) ** 2).sum(axis=1), kind="stable")[: self.nearest]
            end = self._climb(x[start], GaussianProcesses(unit[near], scaled[near]), weights, archive, rng)
            if end is not None:
                found[end.tobytes()] = end
        return np.array(list(found.values()), dtype=np.int64).reshape(-1, x.shape[1])

    def _climb(
        self,
        point: IntArray,
        model: GaussianProcesses,
        weights: FloatArray,
        archive: Archive,
        rng: np.random.Generator,
    ) -> IntArray | None:
        """The end of the way over new points, always to the best; None if all neighbours of the start are known."""
        value, end = np.inf, None
        for _ in range(self.moves):
            around = neighbours(point, archive.space, self.transfers, rng)
            around = around[archive.new(around)]
            if not len(around):
                break
            values = scalarised(model.predict(archive.space.unit(around)), weights)[0]
            best = values.argmin()
            if values[best] >= value:
                break
            value, point = values[best], around[best]
            end = point
        return end


def neighbours(point: IntArray, space: Space, transfers: int, rng: np.random.Generator) -> IntArray:
    """``(n, genes)``: one gene 1, 2, 4, .. up or down, and random transfers of 1 from a gene to another, inside."""
    one = np.eye(len(space), dtype=np.int64)
    steps = 2 ** np.arange(int(space.span.max()).bit_length())
    giver, taker = rng.integers(len(space), size=(2, transfers))
    moves = np.concatenate([*(step * one for step in steps), *(-step * one for step in steps), one[taker] - one[giver]])
    around = point + moves
    inside = ((around >= space.lower) & (around <= space.upper)).all(axis=1) & moves.any(axis=1)
    found: IntArray = around[inside]
    return found


class GaussianProcesses:
    """One an objective: a linear trend, and a Gaussian process (Matérn 5/2) for what that leaves.

    Each takes the most likely of a few lengths and noises, with the variance that is most likely for these.

    Args:
        x: ``(n, genes)`` in [0, 1].
        f: ``(n, objectives)``, which may be noisy.

    Raises:
        ImportError: scikit-learn is missing.
    """

    def __init__(self, x: FloatArray, f: FloatArray) -> None:
        process, linear = needed("sklearn.gaussian_process"), needed("sklearn.linear_model")
        count, genes = x.shape
        self._trend = linear.Ridge(alpha=1e-3 * count).fit(x, f)
        left = f - self._trend.predict(x)
        least = 1e-12 * np.maximum(left.var(axis=0), 1e-12)
        likelihoods, self._processes = list[FloatArray](), list[Any]()
        for length in _LENGTHS:
            kernel = process.kernels.Matern(length * sqrt(genes), nu=2.5)
            for noise in _NOISES:
                found = process.GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(x, left)
                variance = np.maximum((left * found.alpha_).sum(axis=0) / count, least)
                likelihoods.append(-0.5 * count * np.log(variance) - np.log(np.diag(found.L_)).sum())
                self._processes.append(found)
        self._best = np.argmax(likelihoods, axis=0)

    def predict(self, x: FloatArray) -> FloatArray:
        """``(n, objectives)``: what to expect at ``(n, genes)`` points."""
        values: FloatArray = self._trend.predict(x)
        for objective, best in enumerate(self._best):
            values[:, objective] += self._processes[best].predict(x)[:, objective]
        return values
