"""Multi-objective search over integers. It knows numbers, not networks."""

from graphprune.search.algorithms import memetic, nsga2, random_search
from graphprune.search.archive import Archive, hypervolume, non_dominated
from graphprune.search.space import BoolArray, Evaluate, FloatArray, IntArray, Space

__all__ = [
    "Archive",
    "BoolArray",
    "Evaluate",
    "FloatArray",
    "IntArray",
    "Space",
    "hypervolume",
    "memetic",
    "non_dominated",
    "nsga2",
    "random_search",
]
