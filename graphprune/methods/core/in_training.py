"""What methods that prune while a network trains share: they attach to any optimiser, in any loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import attrs
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from graphprune.masks import MaskSet, Pruning, Unit, UnitName
from graphprune.methods.core.fit import AnyData, Fit, FitJob
from graphprune.methods.core.method import Epochs
from graphprune.methods.core.one_training import OneTraining
from graphprune.methods.core.state import Position
from graphprune.methods.core.unit import known_unit, unit_in, unit_of


def steps(instance: Any, attribute: attrs.Attribute[int], value: int | None) -> None:
    """Validates a number of optimiser steps."""
    if value is None and attribute.default is None:
        return
    if type(value) is not int or value < (0 if attribute.name == "start" else 1):
        raise ValueError(f"{attribute.alias} must be a number of optimiser steps, a whole one, got {value!r}")


@attrs.frozen(kw_only=True)
class InTraining(OneTraining):
    """A method of one training, in your own loop: ``with method.attach(net, optimizer): ...`` is all it takes.

    Args:
        stop: optimiser step of the last change towards the final density.
        unit: what falls together, and is counted: single weights (``"weight"``), or channels and neurons, which have
            the mean of their weights' scores; of each layer by itself (``"channel"``), or in all layers that add them
            up (``"coupled"``). With a channel go its bias and its norm's weights, so that nothing of it is left. In a
            loop of your own only a run of the network can tell these: there ``"channel"`` is rows of weights alone, and
            the rest is had by ``unit=graphprune.compaction.coupled_channels(model, example)``.
    """

    stop: int = attrs.field(validator=steps)
    unit: UnitName | Unit = attrs.field(default="weight", validator=known_unit)

    @property
    def grain(self) -> Unit:
        """What falls together."""
        return unit_of(self.unit)

    @property
    def horizon(self) -> int:
        """The last step that the method has plans for."""
        return self.stop

    def check(self, masks: MaskSet) -> None:
        """Raise ValueError where the method cannot do on these parameters what it is to do."""

    @abstractmethod
    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run.

        Args:
            masks: dense ones, of all that may be pruned.
            model: not wrapped.
            optimizer: owns the parameters.
            resume: the ``state()`` of an earlier run; None: from the first step on.
        """

    def attach(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        steps: int | None = None,
        resume: Mapping[str, Any] | None = None,
    ) -> Pruning:
        """Prune from the optimiser's next step on; nothing else in the loop changes.

        Args:
            model: any network. Inside a wrapper (compiled, data parallel, Fabric's) the module itself is pruned, and
                the masks have its names.
            optimizer: owns the parameters that are pruned.
            steps: how many steps the training takes, if that is known: a ``stop`` behind it is then refused at once,
                and not when the training is over.
            resume: the ``state()`` of an earlier run of the same method; load weights and optimiser before.

        Returns:
            A context manager with ``masks``, ``step``, ``finished`` and ``state()``.

        Raises:
            ValueError: nothing to prune, a frozen parameter, an optimiser that lacks one of the parameters or has masks
                already, pruning that cannot be finished, or a ``resume`` with other parameters or another number of
                weights than this method has at its step.
        """
        model = inner(model)
        dense = self.dense(model)
        self.check(dense)
        if steps is not None and self.horizon > steps:
            name = "stop" if self.horizon == self.stop else "end"
            raise ValueError(
                f"{name}={self.horizon} lies behind the {steps} steps of the training: lower it, or train longer"
            )
        return self.begin(dense, model, optimizer, resume)

    def prune(self, here: Position, fit: Fit) -> tuple[Position, Epochs]:
        """Nothing goes before the training."""
        return here, ()

    def training(self, here: Position) -> FitJob:
        """The one training, in which the weights go."""
        unit = self.unit_in(here.model, here.data)
        return replace(super().training(here), pruner=self if self.unit == "weight" else self.replace(unit=unit))

    def unit_in(self, model: nn.Module, data: AnyData) -> Unit:
        """What falls together in this network."""
        return unit_in(self.unit, model, data, self.selector)


def inner(model: nn.Module) -> nn.Module:
    """The module inside the wrappers of torch.compile, of data parallelism and of Lightning Fabric."""
    parallel = isinstance(model, (DistributedDataParallel, nn.DataParallel)) or hasattr(model, "_forward_module")
    wrapped = getattr(model, "module" if parallel else "_orig_mod", None)
    return inner(wrapped) if isinstance(wrapped, nn.Module) else model


def resumed(state: Mapping[str, Any], dense: MaskSet) -> tuple[MaskSet, int]:
    """Masks and step of an earlier run; raises ValueError if this is no such state, or one of other parameters."""
    if not isinstance(state, Mapping) or not {"step", "masks"} <= state.keys():
        raise ValueError("resume must be what state() of an earlier run returned: a mapping of step and masks")
    masks, step = MaskSet.of(state["masks"]), state["step"]
    if masks.keys() == dense.keys():
        masks = MaskSet.of({name: mask.to(dense[name].device) for name, mask in masks.items()})
    if masks.shapes != dense.shapes:
        raise ValueError(f"resume has masks of other parameters: {sorted(masks)}, this model's are {sorted(dense)}")
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"resume: step must be a number of optimiser steps, got {step!r}")
    return masks, step
