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

    A step that a gradient scaler skips changes no weight and needs no projection. An optimiser that evaluates
    a closure several times in one step (LBFGS) is projected once, at the end of its step.

    Attach to the module whose names the masks carry, not to its DistributedDataParallel wrapper.
    """

    def __init__(self, masks: MaskSet, model: nn.Module, optimizer: Optimizer) -> None:
        optimizer = stepping(optimizer)
        if optimizer in _ATTACHED:
            raise ValueError(
                "masks are attached to this optimizer already: detach them, or update() the handle you have"
            )
        self._parameters = masked_parameters(model, masks)
        owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        foreign = [name for name, parameter in self._parameters.items() if id(parameter) not in owned]
        if foreign:
            raise ValueError(
                f"the optimizer does not own the masked parameters {foreign}: give it these, or exclude them"
            )
        self._model, self._optimizer = model, optimizer
        self._enter(masks, fresh=masks)
        self._hook = optimizer.register_step_post_hook(self._project)
        self._attached = True
        _ATTACHED.add(optimizer)

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

    def detach(self) -> None:
        """Stop projecting; the weights stay as they are. Doing it twice is harmless."""
        if self._attached:
            self._attached = False
            self._hook.remove()
            _ATTACHED.discard(self._optimizer)
            self._clear_state(self._masks)

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
    def _project(self, *_: Any) -> None:
        """Zero the pruned weights: bitwise, as a product would keep NaN; 4 to 12 times as fast as `masked_fill_`."""
        for name, bits in self._bits.items():
            parameter = self._parameters[name]
            if (bits.device, bits.itemsize) != (parameter.device, parameter.itemsize):  # moved or cast since
                bits = self._bits[name] = _bits(self._masks[name], parameter)
            parameter.view(bits.dtype).bitwise_and_(bits)

    @torch.no_grad()
    def _clear_state(self, masks: MaskSet) -> None:
        for name, mask in masks.items():
            parameter = self._parameters[name]
            for value in self._optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(~mask.to(value.device), 0)


def stepping(optimizer: Optimizer) -> Optimizer:
    """The optimiser that really steps: training frameworks (Lightning Fabric, Accelerate) wrap it."""
    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, Optimizer) else optimizer


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
