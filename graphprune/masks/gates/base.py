"""What all trained gates share: attaching to a model, the penalty, its steering to a density, and hardening."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import log
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from graphprune.masks.gates.control import DensityControl
from graphprune.masks.gates.shadow import Shadow
from graphprune.masks.maskset import MaskSet
from graphprune.masks.parameters import masked_parameters
from graphprune.masks.targets import BY_ROLE, Selector
from graphprune.masks.units import SINGLE_WEIGHTS, Unit

Empty = Literal["raise", "keep-one"]

_STEERED = DensityControl()


class GateOptions(TypedDict, total=False):
    """What every kind of gates passes on to `Gates`, which documents it."""

    density: float | None
    penalty_weight: float | None
    select: Selector
    control: DensityControl


class Gates(nn.Module, ABC):
    """Trained gates on weights: in training they let through what their own parameters say, and harden into masks.

    A subclass says what a weight becomes in training (`trained`) and in evaluation (`settled`), how far each unit is
    from being dropped (`margin`), and what the penalty presses on (`pressure`).

    Which of the two forwards is run is up to ``model.training``; the mode of the gates themselves means nothing.
    `state_dict` holds all that a training needs to go on bit for bit, but for the state of torch's random generator.

    Args:
        model: whose parameters are gated; it is held, but not registered: its parameters are not the gates'.
        select: which of them.
        unit: what falls together, and what all densities and counts count: with `Channel` these are channels.
        density: share of the gated units to keep, in (0, 1]; the penalty is steered there.
        penalty_weight: instead of ``density``, the weight of the penalty as it is.
        control: how the penalty is steered; only with ``density``.

    Attributes:
        step: penalties taken in training so far.
        empty: what to do if nothing of a parameter is left: raise in `harden`, or keep its best unit.

    Raises:
        ValueError: both or none of ``density`` and ``penalty_weight``, one out of its range, a density that leaves
            fewer units than there are gated parameters, or what ``select`` raises.
    """

    step: int
    empty: Empty = "raise"

    def __init__(
        self,
        model: nn.Module,
        *,
        density: float | None = None,
        penalty_weight: float | None = None,
        select: Selector = BY_ROLE,
        unit: Unit = SINGLE_WEIGHTS,
        control: DensityControl = _STEERED,
    ) -> None:
        super().__init__()
        if (density is None) == (penalty_weight is None):
            raise ValueError("give exactly one of density and penalty_weight")
        if penalty_weight is not None and not 0.0 <= penalty_weight < float("inf"):
            raise ValueError(f"penalty_weight must be finite and at least 0, got {penalty_weight}")
        dense = MaskSet.dense(model, select, unit=unit)
        if density is not None and not 0.0 < density <= 1.0:
            raise ValueError(f"density must be in (0, 1], got {density}")
        self.unit, self.density, self.control = unit, density, control
        self._units = dense.sizes(unit)
        self._places = {name: (group.name, how) for group in unit.groups(dense) for name, how in group.members.items()}
        if density is not None and round(density * self.total) < len(self._units):
            raise ValueError(
                f"density {density} keeps {round(density * self.total)} of {self.total:,} units, so that not "
                f"all of {list(self._units)} can keep one: raise it"
            )
        self.step = 0
        self._penalty_weight, self._log_price = penalty_weight, log(control.price)
        self._shapes = dense.shapes
        self._held = (model,)  # in a tuple: not registered
        self._shadow: Shadow | None = None
        self._reached: set[str] = set()  # what training has given a gradient to
        self._ran = False

    # ------------------------------------------------------------------ what a kind of gate says

    @abstractmethod
    def drawn(self, name: str) -> Tensor:
        """What the units of a parameter, or of a group by its first name, have in a forward pass in training."""

    @abstractmethod
    def trained(self, name: str, weight: Tensor, drawn: Tensor) -> Tensor:
        """The weight as the forward passes in training see it; differentiable."""

    @abstractmethod
    def settled(self, name: str, weight: Tensor) -> Tensor:
        """The weight as the forward passes in evaluation see it: 0 where `margin` is not above 0."""

    @abstractmethod
    def margin(self, name: str) -> Tensor:
        """``(units,)``: above 0 where a unit would be kept now; the higher, the farther from being dropped."""

    @abstractmethod
    def pressure(self) -> Tensor:
        """A scalar that falls with the density, of order 1 where everything is kept; differentiable."""

    # ------------------------------------------------------------------ at work

    def attach(self, model: nn.Module) -> Shadow:
        """Gate a model's forward passes until the handle is detached, or its block left.

        Args:
            model: the one that the gates were made for, or one with parameters of the same names and shapes.

        Raises:
            TypeError: a model that is compiled, a TorchScript module, or a wrapper for parallel training.
            ValueError: other parameters, or parameters that are gated already.
        """
        masked_parameters(model, {name: torch.empty(shape, device="meta") for name, shape in self._shapes.items()})
        self._shadow = Shadow(model, self._shapes, self._gated)
        self._held = (model,)
        return self._shadow

    def penalty(self) -> Tensor:
        """What to add to the loss, once a training step: a scalar.

        With ``penalty_weight`` it is this times the expected share of units that are kept. With ``density`` the
        weight is steered, by what evaluation would keep, and the share is taken relative to the target. Each call
        counts a step, unless the model is in evaluation or gradients are off.
        """
        pressure = self.pressure()
        training = self.model.training and torch.is_grad_enabled()
        if self.density is None:
            assert self._penalty_weight is not None
            scale = self._penalty_weight
        else:
            target = self.control.target(self.step, self.density)
            error = self.control.error(self.kept, target * self.total)
            if training:
                self._log_price = self.control.moved(self._log_price, error)
            scale = self.control.scale(self._log_price, error) / target
        self.step += training
        return scale * pressure

    @torch.no_grad()
    def harden(self, density: float | None = None) -> MaskSet:
        """What evaluation keeps now, as masks; the gates themselves do not change.

        Args:
            density: keep exactly ``round(density * units)`` units instead, those of the highest margins. Evaluation
                keeps others as far as this is not the density of the gates.

        Raises:
            RuntimeError: in the middle of a forward pass, or if training gave some gated parameters no gradient.
            ValueError: parameters of which nothing is left (each is named), unless ``empty`` is ``"keep-one"``.
        """
        self._check_idle()
        if self._ran and self.step and self._shapes.keys() - self._reached:
            raise RuntimeError(
                f"no gradient reached the gates of {[name for name in self._shapes if name not in self._reached]}: the "
                "forward does not use these parameters, or not differentiably. Exclude them in select"
            )
        open_ = {name: self._open(name) for name in self._units}
        masks = MaskSet.of(
            {name: self._expanded(name, open_[self._first(name)], self._weight(name)) for name in self._shapes}
        )
        if density is not None:
            margins = {name: self.margin(name) for name in self._units}
            # Above 0, as units of several entries are ranked by magnitude.
            lowest = min(float(margin.min()) for margin in margins.values())
            above = {name: margin - lowest for name, margin in margins.items()}
            scores = {name: self._expanded(name, above[self._first(name)], mask) for name, mask in masks.items()}
            floor = 1.0 / max(len(kept) for kept in open_.values()) if self.empty == "keep-one" else 0.0
            masks = masks.tighten(scores, density, unit=self.unit, regrow=True, layer_floor=floor)
        if masks.collapsed:
            raise ValueError(
                f"nothing is left of {list(masks.collapsed)}, and {masks.kept:,} of {masks.total:,} entries in all: "
                'raise the density, press for it more slowly, or keep one with empty="keep-one"'
            )
        return masks

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> None:
        """Write the weights of evaluation into a model, which then needs no gates to give the same outputs.

        Raises:
            RuntimeError: in the middle of a forward pass.
            ValueError: a gated parameter that the model lacks or has in another shape.
        """
        self._check_idle()
        own = masked_parameters(model, {name: self._weight(name) for name in self._shapes})
        for name, weight in own.items():
            weight.copy_(self.settled(name, weight))

    @property
    def model(self) -> nn.Module:
        """The model that is gated."""
        return self._held[0]

    @property
    def total(self) -> int:
        """Units that are gated."""
        return sum(self._units.values())

    @property
    @torch.no_grad()
    def kept(self) -> int:
        """Units that evaluation would keep now."""
        counts = [self._open(name).count_nonzero() for name in self._units]
        return int(torch.stack([count.to(counts[0].device) for count in counts]).sum())

    def get_extra_state(self) -> Tensor:
        """Steps taken, and where the steering stands."""
        return torch.tensor([self.step, self._log_price], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from there."""
        step, self._log_price = state.tolist()
        self.step = int(step)

    # ------------------------------------------------------------------ inside

    def _gated(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.model.training:
            return {name: self.settled(name, weight) for name, weight in weights.items()}
        drawn = {name: self.drawn(name) for name in self._units}  # once: coupled parameters have the same gates
        gated = {name: self.trained(name, weight, drawn[self._first(name)]) for name, weight in weights.items()}
        if torch.is_grad_enabled():
            self._ran = True
            for name in self._shapes.keys() - self._reached:
                gated[name].register_hook(_Reached(self._reached, name))
        return gated

    def _open(self, name: str) -> Tensor:
        """``(units,)`` bool: what evaluation keeps."""
        margin = self.margin(name)
        kept = margin > 0
        if self.empty == "keep-one" and len(kept):
            kept[margin.argmax()] = True
        return kept

    def _first(self, name: str) -> str:
        """The parameter that names the units of this one."""
        return self._places[name][0]

    def _expanded(self, name: str, values: Tensor, like: Tensor) -> Tensor:
        """What the units have, for each entry of a parameter."""
        return self._places[name][1].expand(values, like)

    def _weight(self, name: str) -> Tensor:
        return self.model.get_parameter(name)

    def _check_idle(self) -> None:
        if self._shadow is not None and self._shadow.running:
            raise RuntimeError("gates cannot be hardened in the middle of a forward pass: do it after it")


class _Reached:
    """Notes that a gated weight got a gradient."""

    def __init__(self, names: set[str], name: str) -> None:
        self._names, self._name = names, name

    def __call__(self, _grad: Tensor) -> None:
        self._names.add(self._name)
