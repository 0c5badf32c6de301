"""What a search has evaluated, and what that has found: dominance and hypervolume. Everything is minimised."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from graphprune.checks import whole
from graphprune.search.space import BoolArray, Evaluate, FloatArray, IntArray, Space, needed


class Archive:
    """Every true evaluation of a search, in order, no point twice.

    Args:
        evaluate: called with distinct points that it was never asked for, as many at once as there are.
        space: what is searched.
        budget: how many points may be evaluated; never more than the space has.

    Attributes:
        space: as given.
    """

    def __init__(self, evaluate: Evaluate, space: Space, budget: int) -> None:
        self.space = space
        self._evaluate = evaluate
        self._budget = min(whole("budget", budget, 1), space.size)
        self._places: dict[bytes, int] = {}
        self._x = np.empty((0, len(space)), dtype=np.int64)
        self._f = np.empty((0, 0), dtype=np.float64)

    def __len__(self) -> int:
        return len(self._x)

    def __contains__(self, point: ArrayLike) -> bool:
        return _keys(np.asarray(point)[None])[0] in self._places

    @property
    def x(self) -> IntArray:
        """``(n, genes)``: the points, in the order of their evaluation."""
        return self._x.copy()

    @property
    def f(self) -> FloatArray:
        """``(n, objectives)``: their values; ``(0, 0)`` before any."""
        return self._f.copy()

    @property
    def left(self) -> int:
        """How many points may still be evaluated."""
        return self._budget - len(self)

    @property
    def front(self) -> IntArray:
        """Ascending places of the points that no other dominates."""
        return np.flatnonzero(non_dominated(self._f))

    def new(self, points: IntArray) -> IntArray:
        """Places in ``points`` (n, genes) of those that are not evaluated yet, each point once."""
        first: dict[bytes, int] = {}
        for place, key in enumerate(_keys(points)):
            first.setdefault(key, place)
        return np.array([place for key, place in first.items() if key not in self._places], dtype=np.int64)

    def unseen(self, count: int, rng: np.random.Generator) -> IntArray:
        """Up to ``count`` random points (n, genes), distinct and not evaluated yet; fewer only if there are no more."""
        if self.space.size <= 4 * (len(self) + count):
            points = self.space.every()
            return rng.permutation(points[self.new(points)])[:count]
        points = self.space.sample(2 * count, rng)
        while len(places := self.new(points)) < count:
            points = np.concatenate([points, self.space.sample(count, rng)])
        return points[places[:count]]

    def ask(self, points: ArrayLike) -> FloatArray:
        """``(n, objectives)`` values of points (n, genes); those known already cost nothing.

        Raises:
            RuntimeError: more new points than the budget allows.
            ValueError: points that are not in the space, or values that are none: another shape than
                (points, objectives), fewer than two objectives or another number than before, NaN or infinite.
        """
        wanted = self.space.check(points)
        fresh = wanted[self.new(wanted)]
        if len(fresh) > self.left:
            raise RuntimeError(f"{len(fresh)} new points asked for, {self.left} evaluations are left")
        if len(fresh):
            values = self._checked(fresh, self._evaluate(fresh.copy()))
            self._places |= {key: len(self) + place for place, key in enumerate(_keys(fresh))}
            self._f = np.concatenate([self._f.reshape(-1, values.shape[1]), values])
            self._x = np.concatenate([self._x, fresh])
        return self._f[[self._places[key] for key in _keys(wanted)]]

    def hypervolume(self, reference: ArrayLike) -> float:
        """The volume between the reference (objectives,) and the front; ValueError if that is no such point."""
        progress = self.progress(reference)
        return float(progress[-1]) if len(progress) else 0.0

    def progress(self, reference: ArrayLike) -> FloatArray:
        """``(n,)``: the hypervolume after each evaluation."""
        corner = _corner(reference, self._f.shape[1])
        gains, front = np.zeros(len(self)), self._f[:0]
        for place, point in enumerate(self._f):
            gains[place] = gain(point, front, corner)
            if gains[place] > 0:
                front = np.concatenate([front[~(front >= point).all(axis=1)], point[None]])
        return np.cumsum(gains)

    def _checked(self, points: IntArray, values: FloatArray) -> FloatArray:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or len(array) != len(points):
            raise ValueError(
                f"evaluate must return ({len(points)}, objectives) for {len(points)} points: {array.shape}"
            )
        if array.shape[1] < 2:
            raise ValueError(f"a multi-objective search needs two objectives or more, evaluate returned {array.shape}")
        if len(self) and array.shape[1] != self._f.shape[1]:
            raise ValueError(f"evaluate returned {self._f.shape[1]} objectives before and {array.shape[1]} now")
        for point, row in zip(points, array, strict=True):
            if not np.isfinite(row).all():
                raise ValueError(f"evaluate returned {row.tolist()} for {self.space.named(point)}")
        return array


def _keys(points: IntArray) -> list[bytes]:
    width = 8 * points.shape[1]
    everything = points.astype(np.int64).tobytes()
    return [everything[begin : begin + width] for begin in range(0, len(everything), width)]


def non_dominated(f: FloatArray) -> BoolArray:
    """``(n,)``: which rows of ``f`` (n, objectives) no other row dominates. Equal rows do not dominate each other."""
    return needed("moocore").is_nondominated(f, keep_weakly=True)  # type: ignore[no-any-return]


def hypervolume(f: FloatArray, reference: ArrayLike) -> float:
    """The exact volume between a reference point and what ``f`` (n, objectives) dominates.

    Points that are not below the reference in every objective count nothing.

    Raises:
        ImportError: moocore is missing.
        ValueError: the reference has another number of objectives, or is not finite.
    """
    return float(needed("moocore").hypervolume(f, ref=_corner(reference, f.shape[1])))


def gain(point: FloatArray, front: FloatArray, reference: FloatArray) -> float:
    """The volume that a point (objectives,) adds to what ``front`` (n, objectives) dominates."""
    if not (point < reference).all() or (front <= point).all(axis=1).any():
        return 0.0
    return float(np.prod(reference - point)) - hypervolume(np.maximum(front, point), reference)


def _corner(reference: ArrayLike, objectives: int) -> FloatArray:
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (objectives,) or not np.isfinite(corner).all():
        raise ValueError(f"the reference must be {objectives} finite numbers, got {reference!r}")
    return corner
