"""What methods that prune while a network trains share: they attach to any optimiser, in any loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, cos, floor, pi
from typing import Any, ClassVar

import attrs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from graphprune.masks import Counts, MaskSet, Pruning, random
from graphprune.masks.distribution import Distribution
from graphprune.masks.distribution import counts as layer_counts
from graphprune.methods.fit import Fit, FitJob, derive_seed
from graphprune.methods.method import Epochs
from graphprune.methods.one_training import OneTraining
from graphprune.methods.position import Position


def steps(instance: Any, attribute: attrs.Attribute[int], value: int | None) -> None:
    """Validates a number of optimiser steps."""
    if value is not None and (type(value) is not int or value < (0 if attribute.name == "start" else 1)):
        raise ValueError(f"{attribute.alias} must be a number of optimiser steps, a whole one, got {value!r}")


@attrs.frozen(kw_only=True)
class InTraining(OneTraining):
    """A method of one training, in your own loop: ``with method.attach(net, optimizer): ...`` is all it takes.

    Args:
        start: optimiser steps before the first change of the masks may come.
        stop: optimiser step of the last change towards the final density.
        every: optimiser steps between two changes.
        distribution: how a sparse start is spread over the layers: Erdős-Rényi-kernel (``"erk"``) or ``"uniform"``.
    """

    start: int = attrs.field(default=0, validator=steps)
    stop: int = attrs.field(validator=steps)
    every: int = attrs.field(validator=steps)
    distribution: Distribution = attrs.field(default="erk", validator=attrs.validators.in_(("erk", "uniform")))

    reads_gradients: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.start >= self.stop:
            raise ValueError(f"start must lie before stop, got start={self.start} and stop={self.stop}")
        if self.every > self.stop - self.start:
            raise ValueError(
                f"every={self.every} is longer than all the {self.stop - self.start} steps from start to stop"
            )

    # ------------------------------------------------------------------ the rule

    @abstractmethod
    def due(self, step: int) -> bool:
        """Whether the masks change behind an optimiser step."""

    @abstractmethod
    def left(self, step: int, masks: MaskSet) -> Counts:
        """Weights that are kept behind a step: of all layers together, or of each."""

    @abstractmethod
    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """The masks that follow behind a step that is due."""

    def first(self, masks: MaskSet) -> MaskSet:
        """The masks before the first step, of dense ones."""
        density = self.initial_density
        if density == 1:
            return masks
        left = layer_counts(self.distribution, masks.shapes, density)
        return masks.keep(self.drawn(masks), left)

    def drawn(self, masks: MaskSet) -> dict[str, Tensor]:
        """Random scores, which decide over a sparse start."""
        return random(derive_seed(self.seed, "start"))({}, {}, masks)

    @property
    @abstractmethod
    def initial_density(self) -> float:
        """The density before the first step."""

    @property
    def horizon(self) -> int:
        """The last step that the method has plans for."""
        return self.stop

    def check(self, masks: MaskSet) -> None:
        """Raise ValueError where the method cannot do on these parameters what it is to do."""

    # ------------------------------------------------------------------ at work

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
        if resume is None:
            return Pruning(self, self.first(dense), model, optimizer)
        masks, step = _resumed(resume, dense)
        return Pruning(self, masks, model, optimizer, step)

    def prune(self, here: Position, fit: Fit) -> tuple[Position, Epochs]:
        """Nothing goes before the training."""
        return here, ()

    def training(self, here: Position) -> FitJob:
        """The one training, in which the weights go."""
        return replace(super().training(here), pruner=self)


def counted(of: Callable[..., int], *counts: Counts) -> Counts:
    """A function of counts, for all layers together or for each."""
    if isinstance(counts[0], int):
        return of(*counts)
    return {name: of(*(count[name] for count in counts if not isinstance(count, int))) for name in counts[0]}


def kept_in_layers(masks: MaskSet) -> dict[str, int]:
    """Weights that each layer keeps."""
    return {row.name: row.kept for row in masks.ledger}


def cosine(first: float, last: float, step: int, steps: int) -> float:
    """From one value to another over so many steps, along half a cosine; the last one from there on."""
    return last + (first - last) * (1 + cos(pi * min(step / steps, 1.0))) / 2


def rounded_down(value: float) -> int:
    """Round down, but not from what is a whole number but for the float: 0.29 * 100 is 28.999999999999996."""
    return floor(round(value, 6))


def rounded_up(value: float) -> int:
    """Round up, but not from what is a whole number but for the float."""
    return ceil(round(value, 6))


def inner(model: nn.Module) -> nn.Module:
    """The module inside the wrappers of torch.compile, of data parallelism and of Lightning Fabric."""
    parallel = isinstance(model, (DistributedDataParallel, nn.DataParallel)) or hasattr(model, "_forward_module")
    wrapped = getattr(model, "module" if parallel else "_orig_mod", None)
    return inner(wrapped) if isinstance(wrapped, nn.Module) else model


def _resumed(state: Mapping[str, Any], dense: MaskSet) -> tuple[MaskSet, int]:
    if not isinstance(state, Mapping) or state.keys() != {"step", "masks"}:
        raise ValueError("resume must be what state() of an earlier run returned: a mapping of step and masks")
    masks, step = MaskSet.of(state["masks"]), state["step"]
    if masks.keys() == dense.keys():
        masks = MaskSet.of({name: mask.to(dense[name].device) for name, mask in masks.items()})
    if masks.shapes != dense.shapes:
        raise ValueError(f"resume has masks of other parameters: {sorted(masks)}, this model's are {sorted(dense)}")
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"resume: step must be a number of optimiser steps, got {step!r}")
    return masks, step
