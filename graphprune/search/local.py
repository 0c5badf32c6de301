"""Local search from good points, by a model of what their neighbours would be worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from graphprune.search.archive import Archive
from graphprune.search.rules import scalarised
from graphprune.search.space import FloatArray, IntArray, Space

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
    """

    def __init__(self, x: FloatArray, f: FloatArray) -> None:
        self._x, (count, genes) = x, x.shape
        self._centre, self._middle = x.mean(axis=0), f.mean(axis=0)
        slopes, target = x - self._centre, f - self._middle
        self._slope = np.linalg.solve(slopes.T @ slopes + 1e-3 * count * np.eye(genes), slopes.T @ target)
        left = target - slopes @ self._slope
        least = 1e-12 * np.maximum(left.var(axis=0), 1e-12)
        best = np.full(f.shape[1], -np.inf)
        self._lengths, self._weights = np.ones_like(best), np.zeros_like(left)
        apart = _apart(x, x)
        for length in np.sqrt(genes) * np.array(_LENGTHS):
            kernel = _matern(apart / length)
            for noise in _NOISES:
                factor = cho_factor(kernel + noise * np.eye(count), lower=True)
                weights = cho_solve(factor, left)
                variance = np.maximum((left * weights).sum(axis=0) / count, least)
                likelihood = -0.5 * count * np.log(variance) - np.log(np.diag(factor[0])).sum()
                better = likelihood > best
                best[better], self._lengths[better] = likelihood[better], length
                self._weights[:, better] = weights[:, better]

    def predict(self, x: FloatArray) -> FloatArray:
        """``(n, objectives)``: what to expect at ``(n, genes)`` points."""
        apart = _apart(x, self._x)
        values: FloatArray = (x - self._centre) @ self._slope + self._middle
        for length in np.unique(self._lengths):
            of = self._lengths == length
            values[:, of] += _matern(apart / length) @ self._weights[:, of]
        return values


def _apart(x: FloatArray, y: FloatArray) -> FloatArray:
    """Distances ``(n, m)`` of rows, by one product."""
    squares = -2.0 * x @ y.T
    squares += (x * x).sum(axis=1)[:, None]
    squares += (y * y).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)


def _matern(apart: FloatArray) -> FloatArray:
    """In place of the distances, over the length; the arrays are too large to make one for every step."""
    apart *= np.sqrt(5.0)
    trend = apart * apart
    trend /= 3.0
    trend += apart
    trend += 1.0
    np.exp(np.negative(apart, out=apart), out=apart)
    apart *= trend
    return apart
