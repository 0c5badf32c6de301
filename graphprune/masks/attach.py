"""Keeping pruned weights at zero: projection after every optimiser step, and rewinding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks.optimizers import foreign, stepping, wrapped
from graphprune.masks.passes import Passes, sites

if TYPE_CHECKING:
    from graphprune.masks.maskset import MaskSet

_ATTACHED: WeakSet[Optimizer] = WeakSet()

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Handle:
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

    def __init__(self, masks: MaskSet, model: nn.Module, optimizer: Optimizer) -> None:
        self._parameters = masked_parameters(model, masks)
        self._stepping = stepping(optimizer, self._parameters)
        if any(each in _ATTACHED for each in self._stepping):
            raise ValueError(
                "masks are attached to this optimizer already: detach them, or update() the handle you have"
            )
        self._model, self._optimizers, self._kind = model, wrapped(optimizer), type(optimizer).__name__
        self._paths = {name: name.split(".") for name in masks}
        self._came_back: dict[str, tuple[int, int]] = {}
        self._in_step = False
        self._enter(masks, fresh=masks)
        self._hooks = [each.register_step_pre_hook(self._before) for each in self._stepping]
        self._hooks += [each.register_step_post_hook(self._behind) for each in self._stepping]
        self._passes = Passes(model, sites(model, masks), self._project)
        self._attached = True
        _ATTACHED.update(self._stepping)

    @property
    def masks(self) -> MaskSet:
        """The masks that are being held."""
        return self._masks

    def update(self, masks: MaskSet) -> None:
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
        self._enter(masks, fresh=self._masks & masks)

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

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._attached:
                self.check()
        finally:
            self.detach()

    def _enter(self, masks: MaskSet, fresh: MaskSet) -> None:
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

    def _behind(self, optimizer: Optimizer, *_: Any) -> None:
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
                f"pruned weights are not zero while masks are attached to {self._kind}: {told(back)}. Something else "
                f"than its steps writes weights, and no forward pass of the model was seen, before which they could be "
                f"set to zero: {_UNSEEN}, or call masks.apply_(model) behind what writes"
            )

    def _check_owners(self) -> None:
        # Not by named_parameters, which takes 30 times as long.
        lost = [name for name, path in self._paths.items() if _at(self._model, path) is not self._parameters[name]]
        if lost:
            raise RuntimeError(
                f"the model was given other parameters {lost} since masks were attached, which {self._kind} does not "
                "train (load_state_dict(assign=True) does so, or a new layer): attach again, with an optimizer of these"
            )
        if all(foreign(each, self._parameters) for each in self._stepping):
            raise RuntimeError(
                f"the optimizer {self._kind} was given other parameters since masks were attached, and does not own "
                f"{foreign(self._stepping[-1], self._parameters)} any more: attach again"
            )

    @torch.no_grad()
    def _clear_state(self, masks: MaskSet) -> None:
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


def came_back(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """How many pruned entries are not zero, and how many there are, for each parameter where there are any."""
    found = {}
    for name, mask in masks.items():
        pruned = weights[name].detach()[~mask.to(weights[name].device)]
        if count := int(pruned.count_nonzero()):
            found[name] = count, pruned.numel()
    return found


def told(back: Mapping[str, tuple[int, int]]) -> str:
    """`came_back` in words."""
    return ", ".join(f"{count:,} of {pruned:,} in {name!r}" for name, (count, pruned) in back.items())


def _bits(mask: Tensor, parameter: Tensor) -> Tensor:
    """The mask as integers of the parameter's size and layout: all bits set where a weight is kept, none elsewhere."""
    return torch.empty_like(parameter, dtype=_INTEGERS[parameter.itemsize]).copy_(mask).neg_()


def masked_parameters(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    """The model's parameters that the masks name, in the masks' order.

    Raises:
        ValueError: the model lacks one of them, or it has another shape than its mask (the text names it).
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        if name not in own:
            raise ValueError(f"the model has no parameter {name!r}{_wrapped(name, own)}")
        if own[name].shape != mask.shape:
            raise ValueError(f"the parameter {name!r} has shape {tuple(own[name].shape)}, its mask {tuple(mask.shape)}")
    return {name: own[name] for name in masks}


def check_trainable(parameters: Mapping[str, nn.Parameter]) -> None:
    """Raise ValueError if any of the parameters is frozen; the text names them."""
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if frozen:
        raise ValueError(f"the parameters {frozen} are frozen: give them requires_grad, or protect={frozen}")


def _wrapped(name: str, own: Iterable[str]) -> str:
    """A hint if the parameter is there behind a wrapper's prefix."""
    inner = next((other for other in own if other.endswith(f".{name}")), None)
    return "" if inner is None else f", but {inner!r}: use the inner module, or masks.prefixed()"


def world_size() -> int:
    """Processes of a distributed run; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def check_ranks(masks: MaskSet) -> None:
    """Make sure that all ranks of a distributed run hold the same masks; without one, nothing happens.

    Every rank has to call it.

    Raises:
        RuntimeError: on all ranks, naming those that differ from rank 0.
    """
    if world_size() == 1:
        return
    digests: list[str | None] = [None] * world_size()
    dist.all_gather_object(digests, masks.digest())
    odd = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if odd:
        raise RuntimeError(f"the masks of ranks {odd} differ from those of rank 0: derive them from the same scores")


def rewind_(model: nn.Module, state: Mapping[str, Any], masks: MaskSet) -> None:
    """Set a model back to saved weights and prune it: what survives equals ``state`` bit for bit.

    Args:
        model: changed in place.
        state: a complete ``state_dict`` of the same architecture.
        masks: what stays; everything else they cover becomes zero.

    Raises:
        RuntimeError: the state does not fit the model.
        ValueError: the masks do not fit the model (raised before anything is changed).
    """
    masked_parameters(model, masks)
    model.load_state_dict(state)
    masks.apply_(model)
