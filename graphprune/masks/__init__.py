"""The mask engine: scores in, a segmented exact top-k, boolean masks out. It knows tensors, not graphs."""

from graphprune.masks.attach import Handle
from graphprune.masks.gates import (
    DensityControl,
    Gates,
    GumbelGates,
    HardConcreteGates,
    SigmoidGates,
    STRGates,
    Temperature,
    straight_through,
)
from graphprune.masks.heads import heads_of, keep_heads_
from graphprune.masks.maskset import MaskSet
from graphprune.masks.parameters import LedgerRow, check_ranks, rewind_
from graphprune.masks.schedules import Cubic
from graphprune.masks.scores import Scorer, gradient, magnitude, random, saliency
from graphprune.masks.select import keep_top
from graphprune.masks.stepping import Counts, Pruning, Rule
from graphprune.masks.targets import Selector, Targets, prunable, sparing
from graphprune.masks.tighten import Scope
from graphprune.masks.units import UNITS, Channel, Coupled, Group, Shared, Unit, UnitName, Weight

__all__ = [
    "UNITS",
    "Channel",
    "Counts",
    "Coupled",
    "Cubic",
    "DensityControl",
    "Gates",
    "Group",
    "GumbelGates",
    "Handle",
    "HardConcreteGates",
    "LedgerRow",
    "MaskSet",
    "Pruning",
    "Rule",
    "STRGates",
    "Scope",
    "Scorer",
    "Selector",
    "Shared",
    "SigmoidGates",
    "Targets",
    "Temperature",
    "Unit",
    "UnitName",
    "Weight",
    "check_ranks",
    "gradient",
    "heads_of",
    "keep_heads_",
    "keep_top",
    "magnitude",
    "prunable",
    "random",
    "rewind_",
    "saliency",
    "sparing",
    "straight_through",
]
