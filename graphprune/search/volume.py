"""Dominance, and the volume that a front dominates. Everything is minimised."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from graphprune.search.space import BoolArray, FloatArray, IntArray


def non_dominated(f: FloatArray) -> BoolArray:
    """``(n,)``: which rows of ``f`` (n, objectives) no other row dominates. Equal rows do not dominate each other."""
    keep = np.ones(len(f), dtype=np.bool_)
    for index in np.argsort(f.sum(axis=1), kind="stable"):  # those that dominate most come first
        if keep[index]:
            keep &= ~((f >= f[index]).all(axis=1) & (f > f[index]).any(axis=1))
    return keep


def fronts_of(f: FloatArray, count: int) -> list[IntArray]:
    """Places of the non-dominated rows, then of those that only these dominate, until there are ``count``."""
    left, fronts = np.arange(len(f)), list[IntArray]()
    while len(left) and sum(map(len, fronts)) < count:
        best = non_dominated(f[left])
        fronts.append(left[best])
        left = left[~best]
    return fronts


def hypervolume(f: FloatArray, reference: ArrayLike) -> float:
    """The exact volume between a reference point and what ``f`` (n, objectives) dominates.

    Points that are not below the reference in every objective count nothing.

    Raises:
        ValueError: the reference has another number of objectives, or is not finite.
    """
    corner = check_reference(reference, f.shape[1])
    return _volume(f[(f < corner).all(axis=1)], corner)


def gain(point: FloatArray, front: FloatArray, reference: FloatArray) -> float:
    """The volume that a point (objectives,) adds to what ``front`` (n, objectives) dominates."""
    if not (point < reference).all():
        return 0.0
    shared = np.maximum(front, point)
    return float(np.prod(reference - point)) - _volume(shared[(shared < reference).all(axis=1)], reference)


def check_reference(reference: ArrayLike, objectives: int) -> FloatArray:
    """A reference point (objectives,) as numbers, or ValueError."""
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (objectives,) or not np.isfinite(corner).all():
        raise ValueError(f"the reference must be {objectives} finite numbers, got {reference!r}")
    return corner


def _volume(f: FloatArray, corner: FloatArray) -> float:
    """Slices along the last objective, down to two objectives; all points are below the corner."""
    if not len(f):
        return 0.0
    if f.shape[1] == 1:
        return float(corner[0] - f.min())
    if f.shape[1] == 2:
        first, second = f[np.lexsort((f[:, 1], f[:, 0]))].T
        floor = np.minimum.accumulate(second)
        return float(np.diff(first, append=corner[0]) @ (corner[1] - floor))
    f = f[non_dominated(f)]
    f = f[np.argsort(f[:, -1], kind="stable")]
    thick = np.diff(f[:, -1], append=corner[-1])
    slices: Sequence[float] = [_volume(f[: i + 1, :-1], corner[:-1]) if thick[i] else 0.0 for i in range(len(f))]
    return float(thick @ np.asarray(slices))
