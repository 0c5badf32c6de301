"""What methods of a single training share: they prune before it, or while it runs, on any optimiser in any loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, cos, floor, pi
from typing import Any, ClassVar, Self

import attrs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from graphprune.masks import Counts, MaskSet, Pruning, Unit, UnitName, Weight, random
from graphprune.masks.distribution import Distribution
from graphprune.masks.distribution import counts as layer_counts
from graphprune.masks.units import name_of
from graphprune.methods.core import validators
from graphprune.methods.core.fit import Fit, FitJob, derive_seed
from graphprune.methods.core.method import Epochs, Method
from graphprune.methods.core.prepare import unit_of
from graphprune.methods.core.state import RunState


@attrs.frozen(kw_only=True)
class OneTraining(Method):
    """A method that trains once and hands out one ticket; edges stay as they are.

    A subclass that knows its masks before the training says so in :meth:`prune`, by ``replace(state, masks=...)``.

    Args:
        density: share of the prunable weights that is left in the end; of the channels where these are pruned.
    """

    density: float = attrs.field(validator=validators.density)
    points = "density"

    def dense(self, model: nn.Module) -> MaskSet:
        """All weights that the method may prune.

        Raises:
            ValueError: there are none, or so few that the density keeps none of them.
        """
        dense = MaskSet.dense(model, self.selector, unit=self.pruned_unit)
        units = sum(dense.sizes(self.pruned_unit).values())
        if not round(self.density * units):
            raise ValueError(
                f"density={self.density} keeps none of the {units:,} {name_of(self.pruned_unit)}: raise it"
            )
        return dense

    @property
    def pruned_unit(self) -> Unit:
        """What falls together: single weights."""
        return Weight()


@attrs.frozen(kw_only=True)
class InTraining(OneTraining):
    """A method of one training, in your own loop: ``with method.attach(net, optimizer): ...`` is all it takes.

    Args:
        stop: optimiser step of the last change towards the final density, or a share of the training, such as 0.6.
        unit: what falls together, and is counted: single weights (``"weight"``), or channels and neurons, which have
            the mean of their weights' scores; of each layer by itself (``"channel"``), or in all layers that add them
            up (``"coupled"``). With a channel go its bias and its norm's weights, so that nothing of it is left. In a
            loop of your own only a run of the network can tell these: there ``"channel"`` is rows of weights alone, and
            the rest is had by ``unit=graphprune.compaction.coupled_channels(model, example)``.
    """

    stop: int | float = attrs.field(validator=validators.step_or_share)
    unit: UnitName | Unit = attrs.field(default="weight", validator=validators.unit)

    @property
    def pruned_unit(self) -> Unit:
        """What falls together."""
        return unit_of(self.unit)

    @property
    def last_step(self) -> int:
        """Where it stops, of a method :meth:`in_steps`."""
        return int(self.stop)

    @property
    def horizon(self) -> int:
        """The last step that the method has plans for."""
        return self.last_step

    def in_steps(self, steps: int | None) -> Self:
        """The same, with a ``stop`` in optimiser steps of a training that takes so many."""
        return self.replace(stop=stop_in(self.stop, steps)) if is_share(self.stop) else self

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
            steps: how many steps the training takes, if that is known: a ``stop`` after it is then refused at once,
                and not when the training is over. A ``stop`` that is a share needs it.
            resume: the ``state()`` of an earlier run of the same method; load weights and optimiser before.

        Returns:
            A context manager with ``masks``, ``step``, ``finished`` and ``state()``.

        Raises:
            ValueError: nothing to prune, a frozen parameter, an optimiser that lacks one of the parameters or has masks
                already, pruning that cannot be finished, a share of steps that nobody tells, or a ``resume`` with other
                parameters or another number of weights than this method has at its step.
        """
        model, method = inner(model), self.in_steps(steps)
        dense = method.dense(model)
        method.check(dense)
        if steps is not None and method.horizon > steps:
            name = "stop" if method.horizon == method.stop else "end"
            raise ValueError(
                f"{name}={method.horizon} lies after the {steps} steps of the training: lower it, or train longer"
            )
        return method.begin(dense, model, optimizer, resume)

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Nothing goes before the training."""
        return state, ()

    def training(self, state: RunState) -> FitJob:
        """The one training, in which the weights go."""
        unit = self.unit_in(state.model, state.data)
        return replace(super().training(state), pruner=self if self.unit == "weight" else self.replace(unit=unit))


@attrs.frozen(kw_only=True)
class Stepwise(InTraining):
    """A method that changes the masks every few steps, by weights and gradients; it is the rule of its own runs.

    Args:
        start: optimiser steps before the first change of the masks may come.
        every: optimiser steps between two changes.
        distribution: how a sparse start is spread over the layers: Erdős-Rényi-kernel (``"erk"``) or ``"uniform"``.
    """

    start: int = attrs.field(default=0, validator=validators.first_step)
    every: int = attrs.field(validator=validators.step)
    distribution: Distribution = attrs.field(default="erk", validator=validators.one_of("erk", "uniform"))

    reads_gradients: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if is_share(self.stop):
            return
        if self.start >= self.stop:
            raise ValueError(f"start must lie before stop, got start={self.start} and stop={self.stop}")
        if self.every > self.stop - self.start:
            raise ValueError(
                f"every={self.every} is longer than all the {self.stop - self.start} steps from start to stop"
            )

    @abstractmethod
    def due(self, step: int) -> bool:
        """Whether the masks change after an optimiser step."""

    @abstractmethod
    def left(self, step: int, masks: MaskSet) -> Counts:
        """Units that are kept after a step: of all layers together, or of each."""

    @abstractmethod
    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """The masks that follow after a step that is due."""

    @property
    @abstractmethod
    def initial_density(self) -> float:
        """The density before the first step."""

    def first(self, masks: MaskSet) -> MaskSet:
        """The masks before the first step, of dense ones."""
        density = self.initial_density
        if density == 1:
            return masks
        return masks.keep(self.random_scores(masks), layer_counts(self.distribution, masks.shapes, density))

    def random_scores(self, masks: MaskSet) -> dict[str, Tensor]:
        """Random scores, which decide over a sparse start."""
        return random(derive_seed(self.seed, "start"))({}, {}, masks)

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run of which this is the rule."""
        if resume is None:
            return Pruning(self, self.first(masks), model, optimizer)
        masks, step = resumed(resume, masks)
        if strange := sorted(resume.keys() - {"step", "masks"}):
            raise ValueError(f"resume is of a run of another method, it has {strange} as well")
        return Pruning(self, masks, model, optimizer, step)


def is_share(stop: float) -> bool:
    """Whether it is a share of a training, and no step."""
    return stop < 1


def stop_in(stop: float, steps: int | None) -> int:
    """A step, or a share of so many, as a step.

    Raises:
        ValueError: a share, and nobody says how many steps there are.
    """
    if is_share(stop):
        if steps is None:
            raise ValueError(
                f"stop={stop} is a share of the training, and how many steps that takes is not known: attach with "
                "steps=..., or give stop as a step"
            )
        return max(1, round(stop * steps))
    return int(stop)


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


def counted(of: Callable[..., int], *counts: Counts) -> Counts:
    """A function of counts, for all layers together or for each."""
    if isinstance(counts[0], int):
        return of(*counts)
    return {name: of(*(count[name] for count in counts if not isinstance(count, int))) for name in counts[0]}


def kept_in_layers(masks: MaskSet, unit: Unit) -> dict[str, int]:
    """Units that each layer keeps."""
    return {name: kept for name, (kept, _) in masks.units(unit).items()}


def cosine(first: float, last: float, step: int, steps: int) -> float:
    """From one value to another over so many steps, along half a cosine; the last one from there on."""
    return last + (first - last) * (1 + cos(pi * min(step / steps, 1.0))) / 2


def rounded_down(value: float) -> int:
    """Round down, but not from what is a whole number but for the float: 0.29 * 100 is 28.999999999999996."""
    return floor(round(value, 6))


def rounded_up(value: float) -> int:
    """Round up, but not from what is a whole number but for the float."""
    return ceil(round(value, 6))
