"""The names of the public face, each loaded from here when it is first used."""

from . import (
    compaction as compaction,
    data as data,
    graphs as graphs,
    grids as grids,
    masks as masks,
    measure as measure,
    methods as methods,
    models as models,
    reading as reading,
    report as report,
    runs as runs,
    train as train,
)
from .compaction import compact as compact
from .deployed import (
    Deployed as Deployed,
    deploy as deploy,
)
from .graphs import (
    AddEncodings as AddEncodings,
    EdgeMask as EdgeMask,
    EdgePredictor as EdgePredictor,
    EdgeRule as EdgeRule,
    Encodings as Encodings,
    PrunedDataset as PrunedDataset,
    PruneEdges as PruneEdges,
    SoftEdges as SoftEdges,
    Sparsify as Sparsify,
    check_removal as check_removal,
    register_soft_edges as register_soft_edges,
)
from .masks import (
    GumbelGates as GumbelGates,
    HardConcreteGates as HardConcreteGates,
    MaskSet as MaskSet,
    SigmoidGates as SigmoidGates,
    STRGates as STRGates,
    prunable as prunable,
)
from .methods import (
    CLAD as CLAD,
    FGGP as FGGP,
    GICP as GICP,
    GMP as GMP,
    GSAT as GSAT,
    HAMP as HAMP,
    ICPG as ICPG,
    IMP as IMP,
    SET as SET,
    SNIP as SNIP,
    UGS as UGS,
    AnnealedGMP as AnnealedGMP,
    Condense as Condense,
    Dense as Dense,
    FitJob as FitJob,
    FitResult as FitResult,
    GraNet as GraNet,
    GraSP as GraSP,
    Gumbel as Gumbel,
    MagnitudeAtInit as MagnitudeAtInit,
    NoEdges as NoEdges,
    PGExplainer as PGExplainer,
    Protocol as Protocol,
    RandomAtInit as RandomAtInit,
    RandomPruning as RandomPruning,
    RigL as RigL,
    SmallDense as SmallDense,
    Sparsifier as Sparsifier,
    SynFlow as SynFlow,
)
from .ticket import Ticket as Ticket

__version__: str
