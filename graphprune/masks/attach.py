"""Keeping pruned weights at zero: projection after every step of the optimiser that really steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.checks import mistaken
from graphprune.masks.parameters import Masks, came_back, check_ranks, in_words, masked_parameters
from graphprune.masks.passes import Passes, sites

M = TypeVar("M", bound=Masks)

_ATTACHED: WeakSet[Optimizer] = WeakSet()

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Handle(Generic[M]):
    """Masks at work on one optimiser; made by `MaskSet.attach` and usable as a context manager.

    After each step of the optimiser the pruned weights are set to zero again, whatever momentum or decay did
    to them. On attaching, on `update` and on `detach` the optimiser's state at pruned and regrown entries is
    zeroed as well (every state tensor of the parameter's shape, whichever optimiser it is), so that nothing
    comes back and a regrown weight starts afresh; what Adafactor and LBFGS keep in other shapes stays.
    Gradients stay dense: they are not touched.

    Some optimisers write weights outside of their step: SAM's two half steps, Lookahead's slow weights, schedule-free's
    ``eval()``. So may anything else: averages that are swapped in, ``load_state_dict``, a second optimiser. Therefore
    the pruned weights are set to zero before each forward pass of the model too, before one of a layer that is called
    by itself, before the ``state_dict`` is read, and on leaving the ``with`` block. Where no pass can be seen (a model
    that was compiled and run before, weights that are read around their modules) and weights came back, the step
    raises, or leaving does; so it does for parameters that model or optimiser have exchanged meanwhile.

    A step that a gradient scaler skips changes no weight and needs no projection. An optimiser that evaluates
    a closure several times in one step (LBFGS) is projected once, at the end of its step.

    Attach to the module whose names the masks carry, not to its DistributedDataParallel wrapper.
    """

    def __init__(self, masks: M, model: nn.Module, optimizer: Optimizer) -> None:
        self._parameters = masked_parameters(model, masks)
        self._stepping = stepping_optimizers(optimizer, self._parameters)
        if any(each in _ATTACHED for each in self._stepping):
            raise ValueError(
                "masks are attached to this optimizer already: detach them, or update() the handle you have"
            )
        self._model, self._optimizers, self._kind = model, nested_optimizers(optimizer), type(optimizer).__name__
        self._paths = {name: name.split(".") for name in masks}
        self._came_back: dict[str, tuple[int, int]] = {}
        self._in_step = False
        self._enter(masks, fresh=masks)
        self._hooks = [each.register_step_pre_hook(self._before) for each in self._stepping]
        self._hooks += [each.register_step_post_hook(self._after) for each in self._stepping]
        self._passes = Passes(model, sites(model, masks), self._project)
        self._attached = True
        _ATTACHED.update(self._stepping)

    @property
    def masks(self) -> M:
        """The masks that are being held."""
        return self._masks

    def update(self, masks: M) -> None:
        """Hold other masks of the same parameters from now on.

        Newly pruned weights become zero at once; regrown ones start from zero, with a fresh optimiser state.

        Raises:
            RuntimeError: after `detach`, or if the ranks of a distributed run bring different masks.
            ValueError: masks of other parameters or shapes.
        """
        if not self._attached:
            raise RuntimeError("this handle is detached: attach the new masks instead")
        if masks.keys() != self._masks.keys():
            raise ValueError(f"masks of other parameters: {sorted(masks.keys() ^ self._masks.keys())}")
        masked_parameters(self._model, masks)
        both = {name: mask & masks[name].to(mask.device) for name, mask in self._masks.items()}
        self._enter(masks, fresh=both)

    def check(self) -> None:
        """Make sure that the masks still hold what they were attached to, and that no pruned weight was in use.

        Raises:
            RuntimeError: model or optimiser have other parameters than before, or weights came back unseen; the text
                names them.
        """
        self._check_owners()
        self._refuse(self._back(self._passes.ever if self._attached else ()))
        if self._attached:
            self._project()

    def detach(self) -> None:
        """Stop projecting; the weights stay as they are. Doing it twice is harmless."""
        if self._attached:
            self._attached = False
            for hook in self._hooks:
                hook.remove()
            self._passes.remove()
            _ATTACHED.difference_update(self._stepping)
            self._clear_state(self._masks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._attached:
                self.check()
        finally:
            self.detach()

    def _enter(self, masks: M, fresh: Masks) -> None:
        """Apply masks, and zero the optimiser's state outside of ``fresh``."""
        check_ranks(masks)
        self._masks = masks
        # Made once, and full masks left out: the hook then costs one pass per pruned tensor.
        self._bits = {name: _bits(mask, self._parameters[name]) for name, mask in masks.items() if not bool(mask.all())}
        self._project()
        self._clear_state(fresh)

    @torch.no_grad()
    def _project(self, names: Iterable[str] | None = None) -> None:
        """Zero the pruned weights: bitwise, as a product would keep NaN; 4 to 12 times as fast as `masked_fill_`."""
        for name in self._bits if names is None else names:
            bits = self._bits.get(name)
            if bits is None:
                continue
            parameter = self._parameters[name]
            if (bits.device, bits.itemsize) != (parameter.device, parameter.itemsize):  # moved or cast since
                bits = self._bits[name] = _bits(self._masks[name], parameter)
            # By .data, which counts no version: an earlier pass has no new weights behind its back, for they are zero.
            parameter.data.view(bits.dtype).bitwise_and_(bits)

    # ------------------------------------------------------------------ around a step

    def _before(self, optimizer: Optimizer, *_: Any) -> None:
        self._check_owners()
        if optimizer is self._stepping[-1]:
            self._in_step = True
            self._came_back = self._back(self._passes.seen)

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        # A step that calls its parent's ends twice.
        if optimizer is self._stepping[-1] and self._in_step:
            self._in_step = False
            seen, self._passes.seen = self._passes.seen, set()
            self._refuse({name: back for name, back in self._came_back.items() if name not in seen})  # nor in a closure
            if len(self._stepping) > 1 and (around := sorted(self._bits.keys() - seen)):
                raise RuntimeError(
                    f"{self._kind} writes weights between its steps, but no forward pass is seen of the modules that "
                    f"own {around}, in which they could be pruned: {_UNSEEN}"
                )
        self._project()

    def _back(self, seen: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Pruned weights that are not zero, and ahead of which no forward pass was seen."""
        return came_back({name: mask for name, mask in self._masks.items() if name not in set(seen)}, self._parameters)

    def _refuse(self, back: Mapping[str, tuple[int, int]]) -> None:
        if back:
            raise RuntimeError(
                f"pruned weights are not zero while masks are attached to {self._kind}: {in_words(back)}. Something "
                "else than its steps writes weights, and no forward pass of the model was seen, before which they "
                f"could be set to zero: {_UNSEEN}, or call masks.apply_(model) after what writes"
            )

    def _check_owners(self) -> None:
        # Not by named_parameters, which takes 30 times as long.
        lost = [name for name, path in self._paths.items() if _at(self._model, path) is not self._parameters[name]]
        if lost:
            raise RuntimeError(
                f"the model was given other parameters {lost} since masks were attached, which {self._kind} does not "
                "train (load_state_dict(assign=True) does so, or a new layer): attach again, with an optimizer of these"
            )
        if all(not_owned(each, self._parameters) for each in self._stepping):
            raise RuntimeError(
                f"the optimizer {self._kind} was given other parameters since masks were attached, and does not own "
                f"{not_owned(self._stepping[-1], self._parameters)} any more: attach again"
            )

    @torch.no_grad()
    def _clear_state(self, masks: Masks) -> None:
        for name, mask in masks.items():
            parameter = self._parameters[name]
            for optimizer in self._optimizers:
                state = getattr(optimizer, "state", {})
                values = state.get(parameter, {}) if isinstance(state, Mapping) else {}
                for value in values.values() if isinstance(values, Mapping) else ():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        value.masked_fill_(~mask.to(value.device), 0)


_UNSEEN = "attach before torch.compile first runs the model, and call the model or its layers, not their parameters"


def _at(model: nn.Module, path: Iterable[str]) -> Any:
    found: Any = model
    for name in path:
        found = getattr(found, name, None)
    return found


def _bits(mask: Tensor, parameter: Tensor) -> Tensor:
    """The mask as integers of the parameter's size and layout: all bits set where a weight is kept, none elsewhere."""
    return torch.empty_like(parameter, dtype=_INTEGERS[parameter.itemsize]).copy_(mask).neg_()


def nested_optimizers(optimizer: Any) -> list[Any]:
    """An optimiser and those inside of it: training frameworks wrap the one that steps, SAM and Lookahead another."""
    found = [optimizer]
    for each in found:
        inside = [getattr(each, "optimizer", None), *getattr(each, "__dict__", {}).values()]
        found += [o for o in inside if isinstance(o, Optimizer) and not any(o is known for known in found)]
    return found


def stepping_optimizers(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> list[Optimizer]:
    """Those of `nested_optimizers` that own all parameters and have torch's step hooks, the innermost last.

    Raises:
        TypeError: no optimiser, or none that has step hooks.
        ValueError: none owns all parameters; the text names those that are missing.
    """
    every = nested_optimizers(optimizer)
    owning = [each for each in every if not not_owned(each, parameters)]
    if not owning:
        if isinstance(optimizer, type) or not any(hasattr(each, "param_groups") for each in every):
            raise mistaken("optimizer", optimizer, "an optimizer, such as torch.optim.Adam(model.parameters())")
        missing = min((not_owned(each, parameters) for each in every), key=len)
        raise ValueError(f"the optimizer does not own the masked parameters {missing}: give it these, or exclude them")
    # A wrapper that copies the attributes of another (Fabric's does) shares its hooks.
    hooked = {
        id(each._optimizer_step_post_hooks): each for each in owning if hasattr(each, "_optimizer_step_post_hooks")
    }
    if not hooked:
        raise TypeError(
            f"{type(optimizer).__name__} has no step hooks, as its __init__ does not call torch.optim.Optimizer's: "
            "masks cannot follow it. Call super().__init__(params, defaults) there, or attach to an optimizer inside it"
        )
    return list(hooked.values())


def not_owned(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of the parameters that an optimiser does not own."""
    groups = getattr(optimizer, "param_groups", ())
    owned = {id(parameter) for group in groups for parameter in group["params"]}
    return [name for name, parameter in parameters.items() if id(parameter) not in owned]
