"""Pruning methods. A method is one class; plug-ins register in the entry-point group ``graphprune.methods``."""

from graphprune.methods.baselines import IMP, Dense, NoEdges, RandomPruning, SmallDense
from graphprune.methods.fit import Fit, FitJob, FitResult, Track, TrainingDiverged
from graphprune.methods.icpg import ICPG
from graphprune.methods.protocol import CLEAN, PAPER, UGS_PAPER, Protocol
from graphprune.methods.registry import Registry
from graphprune.methods.rounds import Found, IterativeMethod, Position
from graphprune.methods.sparsifier import Sparsifier
from graphprune.methods.ugs import UGS

METHODS = Registry(ICPG, UGS, IMP, RandomPruning, Sparsifier, Dense, NoEdges, SmallDense)

__all__ = [
    "CLEAN",
    "ICPG",
    "IMP",
    "METHODS",
    "PAPER",
    "UGS",
    "UGS_PAPER",
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
    "Sparsifier",
    "Track",
    "TrainingDiverged",
]
