"""Pruning methods. A method is one class; plug-ins register in the entry-point group ``graphprune.methods``."""

from graphprune.methods.baselines import IMP, Dense, NoEdges, RandomPruning, SmallDense
from graphprune.methods.fit import Fit, FitJob, FitResult, Track, TrainingDiverged
from graphprune.methods.icpg import ICPG
from graphprune.methods.protocol import CLEAN, PAPER, Protocol
from graphprune.methods.registry import Registry
from graphprune.methods.rounds import Found, IterativeMethod, Position

METHODS = Registry(ICPG, IMP, RandomPruning, Dense, NoEdges, SmallDense)

__all__ = [
    "CLEAN",
    "ICPG",
    "IMP",
    "METHODS",
    "PAPER",
    "Dense",
    "Fit",
    "FitJob",
    "FitResult",
    "Found",
    "IterativeMethod",
    "NoEdges",
    "Position",
    "Protocol",
    "RandomPruning",
    "SmallDense",
    "Track",
    "TrainingDiverged",
]
