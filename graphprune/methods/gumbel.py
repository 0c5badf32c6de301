"""Gumbel gates as a method of one training: gates are trained with the weights, harden at a step, and are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import attrs
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from graphprune.masks import Counts, MaskSet, Pruning, Unit
from graphprune.masks.gates import DensityControl, GumbelGates
from graphprune.masks.parameters import world_size
from graphprune.masks.stepping import check_finite
from graphprune.masks.units import name_of
from graphprune.methods.core import validators
from graphprune.methods.core.fit import derive_seed, random_state_kept
from graphprune.methods.core.in_training import InTraining, is_share, resumed


@attrs.frozen(kw_only=True)
class Gumbel(InTraining):
    """Learned gates on weights or channels: :class:`graphprune.GumbelGates` in one training (Jang et al., ICLR 2017).

    Up to ``stop`` every forward pass in training samples gates, and an optimiser of the gates' own steps with yours,
    on your loss and on a penalty that is steered to the density. After that step the ``round(density * units)`` units
    of highest logits stay; what is left of the training tunes their weights with fixed masks. All that is pruned is
    still there up to ``stop``, but evaluation sees what would be kept.

    Noise comes from torch's random generator, as dropout's does. With several ranks each samples its own, and the
    gates' gradients are averaged. Gradient scalers do not know the gates: float16 autocast is refused, bfloat16 is not.

    Args:
        stop: optimiser step after which the gates harden, or a share of the training.
        fall: optimiser steps over which the wanted density falls from 1; None: 80 % of ``stop``, so that the gates
            settle in the rest.
        cycles: how often the wanted density swells to its fourfold after half of ``fall``, so that weights that went
            early get another chance; see :class:`graphprune.masks.DensityControl`.
        gate_lr: learning rate of the gates' Adam.
        temperature: of the gates' gradients, above 0 (3: github.com/3riccc/neural_pruning).
        empty: what to do with a parameter of which nothing would stay: ``"raise"``, or ``"keep-one"`` unit.

    Raises:
        ValueError: (on attaching) a density that cannot leave a unit of each parameter.
        RuntimeError: (in training) a step with a closure or in ``eval()`` mode, float16 autocast, or gates that no
            gradient reached.
        TrainingDiverged: (in training) gradients that are not finite.
    """

    fall: int | None = attrs.field(default=None, validator=attrs.validators.optional(validators.step))
    cycles: int = attrs.field(default=0, validator=validators.whole(0))
    gate_lr: float = attrs.field(default=0.05, validator=validators.positive)
    temperature: float = attrs.field(default=3.0, validator=validators.positive)
    empty: Literal["raise", "keep-one"] = attrs.field(default="raise", validator=validators.one_of("raise", "keep-one"))

    name: ClassVar[str] = "gumbel"

    def __attrs_post_init__(self) -> None:
        if self.fall is not None and not is_share(self.stop) and self.fall > self.stop:
            raise ValueError(f"fall={self.fall} lies after stop={self.stop}, where the gates harden")

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Make the gates, or go on with those of an earlier run."""
        with random_state_kept():
            torch.manual_seed(derive_seed(self.seed, "gates"))
            gates = _Gates(
                model,
                density=self.density,
                temperature=self.temperature,
                select=self.selector,
                unit=self.pruned_unit,
                empty=self.empty,
                control=DensityControl(
                    steps=self.last_step * 4 // 5 if self.fall is None else self.fall, cycles=self.cycles
                ),
            )
        return GatedPruning(self, gates, masks, model, optimizer, resume)


class GatedPruning(Pruning):
    """A run of :class:`Gumbel`: gates at work on a model, up to the step after which their masks are."""

    def __init__(
        self,
        method: Gumbel,
        gates: GumbelGates,
        masks: MaskSet,
        model: nn.Module,
        optimizer: Optimizer,
        resume: Mapping[str, Any] | None,
    ) -> None:
        masks, step = (masks, 0) if resume is None else resumed(resume, masks)
        self.gates, self._shadow = gates, None
        self._gate_optimizer = Adam(gates.parameters(), lr=method.gate_lr, fused=True)
        if resume is not None and step < method.last_step:
            self._load(resume)
        super().__init__(_Hardening(method, self), masks, model, optimizer, step)
        self._closures = [each.register_step_pre_hook(self._refuse_closures) for each in self._stepping]
        if step < method.last_step:
            try:
                self._shadow = gates.attach(model)
            except BaseException:
                self.detach()
                raise

    @property
    def density(self) -> float:
        """Of what evaluation keeps: a share of the units while there are gates."""
        return super().density if self._shadow is None else self.gates.kept / self.gates.total

    def state(self) -> dict[str, Any]:
        """What a training needs to go on, with the state of torch's random generator: tensors and numbers only."""
        if self._shadow is None:
            return super().state()
        gates = {name: value.clone() for name, value in self.gates.state_dict().items()}
        return {**super().state(), "gates": gates, "gate_optimizer": self._gate_optimizer.state_dict()}

    def detach(self) -> None:
        """Stop pruning, and gating; the weights stay as they are."""
        if self._shadow is not None:
            self._shadow.detach()
        for hook in self._closures:
            hook.remove()
        super().detach()

    def harden(self, density: float) -> MaskSet:
        """The masks of the best units; from here on the model runs without gates."""
        try:
            masks = self.gates.harden(density)
        except ValueError as error:
            wanted = round(density * self.gates.total)
            raise ValueError(
                f"{error}. After step {self.step:,} the gates kept {self.gates.kept:,} of {self.gates.total:,} "
                f"{name_of(self.gates.unit)}, wanted are {wanted:,}: if these are far apart, a later stop or a higher "
                "gate_lr helps"
            ) from error
        if self._shadow is not None:
            self._shadow.detach()
            self._shadow = None
        return masks

    def _load(self, state: Mapping[str, Any]) -> None:
        if missing := {"gates", "gate_optimizer"} - state.keys():
            raise ValueError(f"resume lacks {sorted(missing)}: it must be what state() of an earlier run returned")
        try:
            self.gates.load_state_dict(state["gates"])
            self._gate_optimizer.load_state_dict(state["gate_optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"resume has gates of another model or method: {error}") from error

    def _refuse_closures(self, _optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._shadow is not None and callable(kwargs.get("closure", args[-1])):
            raise RuntimeError(
                "gates cannot follow a step with a closure, which computes gradients in the middle of the step: call "
                "loss.backward(), and then optimizer.step() without one. Lightning's optimisers always pass one on: "
                "set self.automatic_optimization = False, and in training_step call self.manual_backward(loss) and "
                "self.optimizers(use_pl_optimizer=False).step(). LBFGS, which needs a closure, cannot train with gates"
            )

    def _stepped(self) -> None:
        """A step of the gates: their part of the loss's gradient is there, the penalty's is added."""
        if self._shadow is None:
            return
        if not self.gates.model.training:
            raise RuntimeError(
                f"the model is in eval() mode at step {self.step:,}, where its gates learn nothing: call model.train() "
                "after each evaluation"
            )
        grads = {name: self.gates.logit(name).grad for name in self.masks.sizes(self.gates.unit)}
        found = {name: grad for name, grad in grads.items() if grad is not None}
        check_finite("gradients of the gates", found, f"at step {self.step:,}")
        with torch.enable_grad():
            self.gates.penalty().backward()
        if (ranks := world_size()) > 1:
            for grad in (logits.grad for logits in self.gates.parameters()):
                assert grad is not None  # the penalty gives all of them one
                dist.all_reduce(grad)
                grad.div_(ranks)
        self._gate_optimizer.step()
        self._gate_optimizer.zero_grad()


@dataclass(frozen=True)
class _Hardening:
    """The rule of a run: everything stays up to ``stop``, and then what the gates say."""

    method: Gumbel
    run: GatedPruning
    reads_gradients: ClassVar[bool] = False

    @property
    def pruned_unit(self) -> Unit:
        return self.method.pruned_unit

    @property
    def last_step(self) -> int:
        return self.method.last_step

    def due(self, step: int) -> bool:
        return step == self.last_step

    def left(self, step: int, masks: MaskSet) -> Counts:
        units = sum(masks.sizes(self.pruned_unit).values())
        return units if step < self.last_step else round(self.method.density * units)

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        return self.run.harden(self.method.density)


class _Gates(GumbelGates):
    """Gates that have an optimiser of their own, which no gradient scaler unscales for."""

    def drawn(self, name: str) -> Tensor:
        weight, logits = self._weight(name), self.logit(name)
        device = weight.device.type
        if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
            raise RuntimeError(
                "float16 autocast needs a gradient scaler, which does not know the gates: use bfloat16, or no autocast"
            )
        if logits.grad is not None and (weight.grad is None or not bool(weight.grad.any())):
            logits.grad = None  # the loop has thrown away the gradients of its own parameters since
        return super().drawn(name)
