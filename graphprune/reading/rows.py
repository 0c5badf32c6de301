"""What is told of a chain: its layers in numbers, and its parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PathRow:
    """One layer of a chain in numbers. None of them counts biases.

    Attributes:
        name: of the weight.
        total: weights.
        kept: weights that the mask keeps.
        live: kept weights that lie on a path from an input to an output.
        units: the layer's outputs (of a convolution: channels).
        live_units: outputs that lie on such a path. If the layer has biases, these are the ones that count beside the
            live weights, and in the last layer all of them.
        constant_units: outputs that no input reaches although they reach an output: they pass on what their bias makes.
    """

    name: str
    total: int
    kept: int
    live: int
    units: int
    live_units: int
    constant_units: int


@dataclass(frozen=True)
class Pathway:
    """A part of the network that shares no unit with any other part.

    Attributes:
        units: numbers of its units, level by level: inputs, the outputs of each layer, the network's outputs.
        weights: how many connect them.
    """

    units: tuple[tuple[int, ...], ...]
    weights: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """The inputs it reads."""
        return self.units[0]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The outputs it decides."""
        return self.units[-1]
