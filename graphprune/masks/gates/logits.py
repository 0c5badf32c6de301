"""Gates with one logit for each unit."""

from __future__ import annotations

from abc import abstractmethod
from math import log
from typing import Unpack

import torch
from torch import Tensor, nn

from graphprune.masks.gates.base import GateOptions, Gates
from graphprune.masks.units import SINGLE_WEIGHTS, Unit


class UnitOptions(GateOptions, total=False):
    """What every kind of gates on units passes on to `LogitGates`."""

    unit: Unit


class LogitGates(Gates):
    """Gates that hold a logit for each unit, single precision for weights in half precision.

    Attributes:
        logits: by name of a parameter, of a group by its first, with ``/`` for the dots; each of shape ``(units,)``.
    """

    def __init__(
        self, model: nn.Module, *, start: float = 0.5, unit: Unit = SINGLE_WEIGHTS, **options: Unpack[GateOptions]
    ) -> None:
        super().__init__(model, unit=unit, **options)
        if not 0.0 < start < 1.0:
            raise ValueError(f"start must be a probability between 0 and 1, got {start}")
        self.logits = nn.ParameterDict()
        for name in self._units:
            weight = self._weight(name).detach()
            units, dtype = self._units[name], torch.promote_types(weight.dtype, torch.float32)
            logits = torch.randn(units, dtype=dtype, device=weight.device) * (2 * len(weight) / max(weight.numel(), 1))
            self.logits[key(name)] = nn.Parameter(logits + log(start / (1 - start)))

    def logit(self, name: str) -> Tensor:
        """``(units,)`` logits of one parameter, or of a group.

        Raises:
            TypeError: they were brought to half precision, which is too coarse for logits and for their noise.
        """
        logits: Tensor = self.logits[key(name)]
        if logits.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"the gates of {name!r} are {logits.dtype}: keep them in single precision, gates.float(); the model "
                "may be in half precision without them"
            )
        return logits

    def margin(self, name: str) -> Tensor:
        """The logits."""
        return self.logit(name)

    def pressure(self) -> Tensor:
        """The expected share of units that are kept."""
        sums = [self.expected(name).sum() for name in self._units]
        return torch.stack([each.to(sums[0].device) for each in sums]).sum() / self.total

    @abstractmethod
    def expected(self, name: str) -> Tensor:
        """``(units,)``: with which probability a unit is let through in training, or how much of it; differentiable."""


def key(name: str) -> str:
    """A parameter's name as the key of a ParameterDict, which takes no dots."""
    return name.replace(".", "/")
