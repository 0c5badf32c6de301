"""Other trained gates on the interface of the Gumbel gates: hard concrete, annealed sigmoids, learned thresholds."""

from __future__ import annotations

from math import log
from typing import Unpack

import torch
from torch import Tensor, nn

from graphprune.masks.gates.base import GateOptions, Gates
from graphprune.masks.gates.logits import LogitGates, UnitOptions, key
from graphprune.masks.gates.temperature import Temperature
from graphprune.masks.units import SINGLE_WEIGHTS

# Louizos et al. (ICLR 2018): the stretched interval, and the temperature of the noise.
_LOW, _HIGH = -0.1, 1.1
_BETA = 2.0 / 3.0


class HardConcreteGates(LogitGates):
    """Random gates between 0 and 1 that are exactly 0 or 1 now and then (L0 regularisation, Louizos et al., ICLR 2018).

    In training a gate is ``clip(1.2 s - 0.1, 0, 1)`` with ``s = sigmoid((logit + noise) / (2/3))``, in evaluation
    ``clip(1.2 sigmoid(logit) - 0.1, 0, 1)``. The penalty presses on the probability that it is not 0. Evaluation
    scales what it keeps: `apply_` writes these weights, masks alone do not.

    Args:
        model, select, unit, density, penalty_weight, control: see `Gates`.
        start: ``sigmoid`` of the first logits; the authors take 0.5, and 0.8 for inputs.

    Raises:
        ValueError: see `Gates`; a ``start`` that is no probability.
    """

    def drawn(self, name: str) -> Tensor:
        """Gates before they are stretched."""
        logits = self.logit(name)
        return torch.sigmoid((logits + torch.rand_like(logits).logit_()) / _BETA)

    def trained(self, name: str, weight: Tensor, drawn: Tensor) -> Tensor:
        """The weight times a sampled gate."""
        gate = self._expanded(name, (drawn * (_HIGH - _LOW) + _LOW).clamp(0, 1), weight)
        return torch.where(gate > 0, weight * gate.to(weight.dtype), 0)

    def settled(self, name: str, weight: Tensor) -> Tensor:
        """The weight times the gate without noise."""
        return self.trained(name, weight, torch.sigmoid(self.logit(self._first(name))))

    def margin(self, name: str) -> Tensor:
        """How far the logit is above the one at which the gate closes in evaluation."""
        return self.logit(name) - log(-_LOW / _HIGH)

    def expected(self, name: str) -> Tensor:
        """``(units,)``: with which probability a gate is not 0 in training."""
        return torch.sigmoid(self.logit(name) - _BETA * log(-_LOW / _HIGH))


class SigmoidGates(LogitGates):
    """Deterministic gates ``sigmoid(logit / temperature)``, hardened by cooling (Savarese et al., NeurIPS 2020).

    "Continuous sparsification": in evaluation a gate is ``1[logit > 0]``. Both are divided by the value of the first
    gates, so that the network starts as the dense one. So evaluation scales what it keeps: `apply_` writes these
    weights, masks alone do not.

    Args:
        model, select, unit, density, penalty_weight, control: see `Gates`.
        temperature: the authors cool from 1 to 1/200, by the same factor each epoch.
        start: value of the first gates before the division; ever fewer are kept for lower ones.

    Raises:
        ValueError: see `Gates`; a temperature of 0 or less; a ``start`` that is no probability.
    """

    def __init__(
        self, model: nn.Module, *, temperature: float | Temperature, start: float = 0.5, **options: Unpack[UnitOptions]
    ) -> None:
        super().__init__(model, start=start, **options)
        self.temperature, self._start = Temperature.of(temperature), start

    def drawn(self, name: str) -> Tensor:
        """Soft gates, before the division."""
        return self.expected(name)

    def trained(self, name: str, weight: Tensor, drawn: Tensor) -> Tensor:
        """The weight times its soft gate."""
        return weight * self._expanded(name, drawn / self._start, weight).to(weight.dtype)

    def settled(self, name: str, weight: Tensor) -> Tensor:
        """The weight, scaled, where the logit is above 0."""
        return torch.where(self._expanded(name, self._open(self._first(name)), weight), weight / self._start, 0)

    def expected(self, name: str) -> Tensor:
        """``(units,)``: the soft gates, before the division."""
        return torch.sigmoid(self.logit(name) / self.temperature.at(self.step))


class STRGates(Gates):
    """A learned threshold for each parameter: ``sign(w) * relu(|w| - sigmoid(s))`` (Kusupati et al., ICML 2020).

    Training and evaluation are alike. The authors press by weight decay of ``s``, which leads to thresholds of 1/2 at
    most, and of the weights. Here the penalty is ``mean(-log(sigmoid(s)))``, which raises thresholds wherever they are,
    and the decay of the weights is left to the optimiser. Evaluation shrinks what it keeps: `apply_` writes these
    weights, masks alone do not. What is kept is read off the weights of the gated model: harden before writing there.

    Args:
        model, select, density, penalty_weight, control: see `Gates`.
        threshold: the first thresholds, above 0 and below 1.

    Attributes:
        thresholds: ``s`` by parameter name, with ``/`` for the dots; scalars.

    Raises:
        ValueError: see `Gates`; a threshold outside of its range.
    """

    def __init__(self, model: nn.Module, *, threshold: float = 1e-3, **options: Unpack[GateOptions]) -> None:
        super().__init__(model, unit=SINGLE_WEIGHTS, **options)
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must be above 0 and below 1, got {threshold}")
        self.thresholds = nn.ParameterDict()
        for name in self._shapes:
            weight = self._weight(name).detach()
            dtype = torch.promote_types(weight.dtype, torch.float32)
            first = torch.tensor(log(threshold / (1 - threshold)), dtype=dtype, device=weight.device)
            self.thresholds[key(name)] = nn.Parameter(first)

    def drawn(self, name: str) -> Tensor:
        """The threshold."""
        return torch.sigmoid(self.thresholds[key(name)])

    def trained(self, name: str, weight: Tensor, drawn: Tensor) -> Tensor:
        """The weight, moved towards 0 by the threshold, and no further than 0."""
        return weight.sign() * torch.relu(weight.abs() - drawn.to(weight.dtype))

    def settled(self, name: str, weight: Tensor) -> Tensor:
        """The same as in training."""
        return self.trained(name, weight, self.drawn(name))

    def margin(self, name: str) -> Tensor:
        """How far each weight is above the threshold."""
        weight = self._weight(name).detach().flatten()
        return weight.abs() - self.drawn(name).to(weight.dtype)

    def pressure(self) -> Tensor:
        """The mean of ``-log(threshold)``."""
        values = [nn.functional.softplus(-value) for value in self.thresholds.values()]
        return torch.stack([value.to(values[0].device) for value in values]).mean()
