"""Gates that are trained with the weights and harden into masks."""

from graphprune.masks.gates.base import Gates
from graphprune.masks.gates.control import DensityControl
from graphprune.masks.gates.gumbel import GumbelGates, straight_through
from graphprune.masks.gates.relatives import HardConcreteGates, SigmoidGates, STRGates
from graphprune.masks.gates.shadow import Shadow
from graphprune.masks.gates.temperature import Temperature

__all__ = [
    "DensityControl",
    "Gates",
    "GumbelGates",
    "HardConcreteGates",
    "STRGates",
    "Shadow",
    "SigmoidGates",
    "Temperature",
    "straight_through",
]
