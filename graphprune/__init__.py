"""The public face of graphprune: names only, each loaded when it is first used.

``import graphprune as gp`` imports nothing else, neither torch nor any optional package: the command line
answers at once, and a missing extra is reported by the part that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "CLAD",
    "FGGP",
    "GICP",
    "GMP",
    "HAMP",
    "ICPG",
    "IMP",
    "SET",
    "SNIP",
    "UGS",
    "AnnealedGMP",
    "Dense",
    "EdgeMask",
    "EdgePredictor",
    "EdgeRule",
    "FitJob",
    "FitResult",
    "GraNet",
    "GraSP",
    "Gumbel",
    "GumbelGates",
    "HardConcreteGates",
    "MagnitudeAtInit",
    "MaskSet",
    "NoEdges",
    "Protocol",
    "PruneEdges",
    "PrunedDataset",
    "RandomAtInit",
    "RandomPruning",
    "RigL",
    "STRGates",
    "SigmoidGates",
    "SmallDense",
    "SoftEdges",
    "Sparsifier",
    "SynFlow",
    "Ticket",
    "__version__",
    "check_removal",
    "compact",
    "compaction",
    "data",
    "graphs",
    "grids",
    "masks",
    "measure",
    "methods",
    "models",
    "prunable",
    "reading",
    "register_soft_edges",
    "report",
    "runs",
    "train",
]

if TYPE_CHECKING:
    from graphprune import (
        compaction,
        data,
        graphs,
        grids,
        masks,
        measure,
        methods,
        models,
        reading,
        report,
        runs,
        train,
    )
    from graphprune.compaction import compact
    from graphprune.graphs import (
        EdgeMask,
        EdgePredictor,
        EdgeRule,
        PrunedDataset,
        PruneEdges,
        SoftEdges,
        check_removal,
        register_soft_edges,
    )
    from graphprune.masks import GumbelGates, HardConcreteGates, MaskSet, SigmoidGates, STRGates, prunable
    from graphprune.methods import (
        CLAD,
        FGGP,
        GICP,
        GMP,
        HAMP,
        ICPG,
        IMP,
        SET,
        SNIP,
        UGS,
        AnnealedGMP,
        Dense,
        FitJob,
        FitResult,
        GraNet,
        GraSP,
        Gumbel,
        MagnitudeAtInit,
        NoEdges,
        Protocol,
        RandomAtInit,
        RandomPruning,
        RigL,
        SmallDense,
        Sparsifier,
        SynFlow,
    )
    from graphprune.ticket import Ticket
else:
    _FLOORS = "compaction data graphs grids masks measure methods models reading report runs train"
    _HOLDS = {
        "compaction": "compact",
        "graphs": "EdgeMask EdgePredictor EdgeRule PruneEdges PrunedDataset SoftEdges check_removal "
        "register_soft_edges",
        "masks": "GumbelGates HardConcreteGates MaskSet STRGates SigmoidGates prunable",
        "methods": "CLAD FGGP GICP GMP HAMP ICPG IMP SET SNIP UGS AnnealedGMP Dense FitJob FitResult GraNet GraSP "
        "Gumbel MagnitudeAtInit NoEdges Protocol RandomAtInit RandomPruning RigL SmallDense Sparsifier SynFlow",
        "ticket": "Ticket",
    }
    _HOME = {name: module for module, names in _HOLDS.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name in _FLOORS.split():
            return import_module(f"graphprune.{name}")
        if name in _HOME:
            return getattr(import_module(f"graphprune.{_HOME[name]}"), name)
        raise AttributeError(f"module 'graphprune' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
