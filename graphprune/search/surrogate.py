"""A model of the objectives from points that were evaluated."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from graphprune.search.space import FloatArray

_LENGTHS = (0.3, 0.6, 1.2, 2.4)  # over the root of the number of genes, which is the diagonal of the unit cube
_NOISES = (1e-6, 1e-3, 1e-1)  # variances, over the process's own


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
