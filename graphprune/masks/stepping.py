"""Masks that change while a network trains: count steps, catch gradients, ask a rule for the next masks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks.attach import stepping_optimizers
from graphprune.masks.maskset import MaskSet
from graphprune.masks.networks import TrainingDiverged
from graphprune.masks.parameters import check_trainable, masked_parameters
from graphprune.masks.passes import sparse_embeddings
from graphprune.masks.units import Unit, name_of

Counts = int | Mapping[str, int]


class Rule(Protocol):
    """What decides over masks in the middle of a training; steps are finished optimiser steps, counted from 1."""

    @property
    def reads_gradients(self) -> bool:
        """Whether `update` needs them."""

    @property
    def pruned_unit(self) -> Unit:
        """What falls together, and is counted as one."""

    @property
    def last_step(self) -> int:
        """The step from which on the masks have their final density."""

    def due(self, step: int) -> bool:
        """Whether the masks change after ``step``."""

    def left(self, step: int, masks: MaskSet) -> Counts:
        """Units that masks of these parameters keep after ``step``, whatever was due there done."""

    def update(self, step: int, masks: MaskSet, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> MaskSet:
        """The masks that follow ``masks`` after ``step``.

        Args:
            step: a step that is due.
            masks: the masks until now.
            weights: parameters after the step, pruned ones at zero.
            grads: the gradients of that step, also at pruned entries; empty if the rule reads none.
        """


class Pruning:
    """Masks at work on one optimiser, changed by a rule at some of its steps; usable as a context manager.

    Only steps that the optimiser really takes are counted: neither batches of which the gradients are still
    accumulated, nor steps that a gradient scaler skips.

    A rule sees the gradients that the optimiser sees, before it adds decay or momentum to them: summed over
    accumulated batches, and clipped if the loop clips them. If the step is given a closure, they are those of its last
    evaluation. A gradient scaler that leaves unscaling to a fused optimiser shows them scaled; ranks are the same.

    Leaving the ``with`` block before the final density is reached raises, so that nobody takes a half-pruned network
    for a pruned one; `detach` does not, for loops that go on later with the `state` of this one. What may write weights
    meanwhile is as `Handle` has it. One step is one of the optimiser that was given, whatever it calls: both half steps
    of SAM are one, with the gradients of the second.

    Args:
        rule: what decides.
        masks: where to start.
        model: whose parameters the masks name; not its DistributedDataParallel wrapper.
        optimizer: owns these parameters.
        step: optimiser steps taken already, of a training that goes on.

    Attributes:
        step: optimiser steps taken so far.

    Raises:
        ValueError: what `MaskSet.attach` raises, a masked parameter that is frozen, or masks that the rule does not
            have at ``step``.
        TrainingDiverged: (in a step at which the masks change) gradients or weights that are not finite.
    """

    def __init__(self, rule: Rule, masks: MaskSet, model: nn.Module, optimizer: Optimizer, step: int = 0) -> None:
        self._parameters = masked_parameters(model, masks)
        check_trainable(self._parameters)
        if rule.reads_gradients:
            _check_dense(model, masks)
        if not fits(masks, rule.left(step, masks), rule.pruned_unit):
            raise ValueError(
                f"{_kept(masks, rule.pruned_unit)} are kept, but after step {step:,} it would be "
                f"{_told(rule.left(step, masks))}: take step and masks from the same state"
            )
        self._rule, self._stepping, self.step = rule, stepping_optimizers(optimizer, self._parameters), step
        self._members = _members(self._stepping)
        self._handle = masks.attach(model, optimizer)
        self._grads: dict[str, Tensor] = {}
        self._outer: FrameType | None = None
        # Behind the handle's own hook: the rule sees pruned weights as zeros.
        self._hooks = [each.register_step_pre_hook(self._before) for each in self._stepping]
        self._hooks += [each.register_step_post_hook(self._behind) for each in self._stepping]

    @property
    def masks(self) -> MaskSet:
        """The masks now."""
        return self._handle.masks

    @property
    def density(self) -> float:
        """The density now."""
        return self.masks.density

    @property
    def finished(self) -> bool:
        """Whether the final density is reached."""
        return fits(
            self.masks, self._rule.left(max(self.step, self._rule.last_step), self.masks), self._rule.pruned_unit
        )

    def state(self) -> dict[str, Any]:
        """What a training needs to go on: ``step`` and ``masks``, tensors and numbers only, for your checkpoint."""
        return {"step": self.step, "masks": dict(self.masks)}

    def detach(self) -> None:
        """Stop pruning; the weights stay as they are. Doing it twice is harmless."""
        for hook in self._hooks:
            hook.remove()
        self._handle.detach()

    def __enter__(self) -> Pruning:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._check_parameters()
        finally:
            self.detach()
        if kind is None and not self.finished:
            raise RuntimeError(self._unfinished())

    def _unfinished(self) -> str:
        """What to say of a training that ends too early."""
        return (
            f"the training ended after step {self.step:,}, but pruning ends at stop={self._rule.last_step:,}: "
            f"{_kept(self.masks, self._rule.pruned_unit)} are left instead of "
            f"{_told(self._rule.left(self._rule.last_step, self.masks))}. Lower stop or train longer; to go on later, "
            "call detach() and keep state()"
        )

    # ------------------------------------------------------------------ around a step

    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        caller = sys._getframe(1)
        if self._outer is not None and _within(caller, self._outer):
            return None  # step() has called its parent's, or that of an optimizer inside: one step
        self._outer, self._grads = caller, {}
        if not self._rule.due(self.step + 1):
            return None
        self._check_parameters()
        if not self._rule.reads_gradients:
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._catch()
            return None
        caught = self._catching(closure)
        return ((args[0], caught, *args[2:]), kwargs) if len(args) > 1 else (args, kwargs | {"closure": caught})

    def _catching(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def caught() -> Any:
            loss = closure()
            self._catch()
            return loss

        return caught

    def _catch(self) -> None:
        """Copy the gradients: some optimisers work decay and momentum into them."""
        if self._skipped:
            return
        found = {name: parameter.grad for name, parameter in self._parameters.items()}
        missing = [name for name, grad in found.items() if grad is None]
        if missing:
            raise RuntimeError(
                f"the masks change after step {self.step + 1:,}, but {missing} have no gradient: they take no part in "
                "the loss, or gradients were cleared before the step. Protect these parameters, or mend the loop"
            )
        self._grads = {name: grad.detach().clone() for name, grad in found.items() if grad is not None}
        if sparse := [name for name, grad in self._grads.items() if grad.layout != torch.strided]:
            raise RuntimeError(f"the gradients of {sparse} are sparse, and cannot be ranked: protect these parameters")
        check_finite("gradients", self._grads, f"the masks change after step {self.step + 1:,}, but")

    @property
    def _skipped(self) -> bool:
        """Whether a gradient scaler has a fused optimiser skip this step."""
        overflows = (getattr(each, "found_inf", None) for each in self._stepping)
        return any(overflow is not None and bool(overflow) for overflow in overflows)

    def _behind(self, optimizer: Optimizer, *_: Any) -> None:
        if sys._getframe(1) is not self._outer:
            return
        self._outer = None
        if self._skipped:
            return
        self.step += 1
        self._stepped()
        if self._rule.due(self.step):
            weights = {name: parameter.detach() for name, parameter in self._parameters.items()}
            grads, self._grads = self._grads, {}
            check_finite("weights", weights, f"the masks change after step {self.step:,}, but")
            with torch.no_grad():
                self._handle.update(self._rule.update(self.step, self.masks, weights, grads))

    def _stepped(self) -> None:
        """What a subclass does after each step, before the masks change."""

    def _check_parameters(self) -> None:
        """Make sure that what is pruned is still what the model and the optimiser have, and that nothing came back."""
        self._handle.check()
        if _members(self._stepping) != self._members:
            raise RuntimeError(
                "the optimizer was given other parameters since pruning was attached, of which it knows nothing: keep "
                "state(), detach() and attach again"
            )


def check_finite(what: str, found: Mapping[str, Tensor], when: str) -> None:
    """Raise TrainingDiverged where numbers of a step are not finite; names the parameters."""
    if wrong := [name for name, values in found.items() if not bool(values.isfinite().all())]:
        raise TrainingDiverged(
            f"{when} the {what} of {wrong} are not finite: lower the learning rate or check the data"
        )


def _check_dense(model: nn.Module, masks: MaskSet) -> None:
    """Refuse embeddings whose gradients are sparse: pruned rows have none, and none can be ranked."""
    if sparse := sparse_embeddings(model, masks):
        raise ValueError(
            f"the gradients of {sparse} are sparse (nn.Embedding(sparse=True)), and cannot be ranked: build the "
            f"embedding with sparse=False, or protect={sparse}"
        )


def fits(masks: MaskSet, counts: Counts, unit: Unit) -> bool:
    """Whether masks keep so many units."""
    kept = {name: count for name, (count, _) in masks.units(unit).items()}
    return sum(kept.values()) == counts if isinstance(counts, int) else kept == counts


def _members(optimizers: list[Optimizer]) -> list[int]:
    return [id(parameter) for each in optimizers for group in each.param_groups for parameter in group["params"]]


def _within(inner: FrameType, outer: FrameType) -> bool:
    """Whether a call is going on inside another one."""
    frame: FrameType | None = inner.f_back
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is outer


def _told(counts: Counts) -> str:
    total = counts if isinstance(counts, int) else sum(counts.values())
    return f"{total:,}"


def _kept(masks: MaskSet, unit: Unit) -> str:
    kept, total = (sum(counts) for counts in zip(*masks.units(unit).values(), strict=True))
    return f"{kept:,} of {total:,} {name_of(unit)}"
