"""Pruning methods. A method is one class; plug-ins register in the entry-point group ``graphprune.methods``."""

from graphprune.masks.networks import TrainingDiverged
from graphprune.methods.at_init import SNIP, GraSP, MagnitudeAtInit, RandomAtInit, SynFlow
from graphprune.methods.baselines import IMP, Dense, NoEdges, RandomPruning, SmallDense
from graphprune.methods.clad import CLAD
from graphprune.methods.condense import Condense
from graphprune.methods.core.edge_gates import with_loss
from graphprune.methods.core.fit import Fit, FitJob, FitResult, Track
from graphprune.methods.core.in_training import InTraining, OneTraining
from graphprune.methods.core.iterative import IterativeMethod
from graphprune.methods.core.learned import LearnedEdges
from graphprune.methods.core.method import Method
from graphprune.methods.core.protocol import CLEAN, PAPER, UGS_PAPER, Protocol
from graphprune.methods.core.state import Decision, RunState
from graphprune.methods.gicp import GICP
from graphprune.methods.gradual import FGGP, GMP, AnnealedGMP, GraNet
from graphprune.methods.gsat import GSAT
from graphprune.methods.gumbel import Gumbel
from graphprune.methods.hamp import HAMP
from graphprune.methods.icpg import ICPG
from graphprune.methods.pg_explainer import PGExplainer
from graphprune.methods.sparse import SET, RigL
from graphprune.methods.sparsifier import Sparsifier
from graphprune.methods.ugs import UGS
from graphprune.registry import Registry

_OWN: tuple[type[Method], ...] = (
    ICPG,
    GICP,
    UGS,
    GSAT,
    PGExplainer,
    IMP,
    RandomPruning,
    Sparsifier,
    FGGP,
    GMP,
    AnnealedGMP,
    GraNet,
    Gumbel,
    CLAD,
    HAMP,
    RigL,
    SET,
    RandomAtInit,
    MagnitudeAtInit,
    SNIP,
    GraSP,
    SynFlow,
    Dense,
    NoEdges,
    SmallDense,
)


def _is_method(name: str, thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Method) and thing.name == name


# The names of the command line and of tickets.
METHODS = Registry(
    "graphprune.methods", {method.name: method for method in _OWN}, _is_method, "a Method with name = {name!r}"
)

__all__ = [
    "CLAD",
    "CLEAN",
    "FGGP",
    "GICP",
    "GMP",
    "GSAT",
    "HAMP",
    "ICPG",
    "IMP",
    "METHODS",
    "PAPER",
    "SET",
    "SNIP",
    "UGS",
    "UGS_PAPER",
    "AnnealedGMP",
    "Condense",
    "Decision",
    "Dense",
    "Fit",
    "FitJob",
    "FitResult",
    "GraNet",
    "GraSP",
    "Gumbel",
    "InTraining",
    "IterativeMethod",
    "LearnedEdges",
    "MagnitudeAtInit",
    "Method",
    "NoEdges",
    "OneTraining",
    "PGExplainer",
    "Protocol",
    "RandomAtInit",
    "RandomPruning",
    "RigL",
    "RunState",
    "SmallDense",
    "Sparsifier",
    "SynFlow",
    "Track",
    "TrainingDiverged",
    "with_loss",
]
