"""A model's parameters and masks of them as plain mappings: whether they fit, what came back, whether ranks agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from graphprune.masks.networks import check_network

Masks = Mapping[str, Tensor]
"""Parameter name -> bool tensor of its shape, True = keep."""


@dataclass(frozen=True)
class LedgerRow:
    """One masked parameter in numbers.

    Attributes:
        name: dotted parameter name.
        shape: its shape.
        kept: entries kept.
        total: entries.
    """

    name: str
    shape: tuple[int, ...]
    kept: int
    total: int

    @property
    def density(self) -> float:
        """``kept / total`` (1 for an empty parameter)."""
        return self.kept / self.total if self.total else 1.0


def masked_parameters(model: nn.Module, masks: Masks) -> dict[str, nn.Parameter]:
    """The model's parameters that the masks name, in the masks' order.

    Raises:
        ValueError: the model lacks one of them, or it has another shape than its mask (the text names it).
        TypeError: no model, but its class for instance.
    """
    check_network(model)
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


def check_ranks(masks: Masks) -> None:
    """Make sure that all ranks of a distributed run hold the same masks; without one, nothing happens.

    Every rank has to call it.

    Raises:
        RuntimeError: on all ranks, naming those that differ from rank 0.
    """
    if world_size() == 1:
        return
    digests: list[str | None] = [None] * world_size()
    dist.all_gather_object(digests, digest(masks))
    odd = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if odd:
        raise RuntimeError(f"the masks of ranks {odd} differ from those of rank 0: derive them from the same scores")


def digest(masks: Masks) -> str:
    """SHA-256 over names, shapes and bits; neither the order of the names nor the device matters."""
    state = hashlib.sha256()
    for name in sorted(masks):
        mask = masks[name]
        state.update(f"{name}\0{tuple(mask.shape)}\0".encode())
        state.update(np.packbits(mask.cpu().numpy()).tobytes())
    return state.hexdigest()


@torch.no_grad()
def zero_(model: nn.Module, masks: Masks) -> None:
    """Zero a model's pruned entries, even where they are NaN or inf; raises as `masked_parameters`, nothing changed."""
    for name, parameter in masked_parameters(model, masks).items():
        parameter.masked_fill_(~masks[name].to(parameter.device), 0)


def rewind_(model: nn.Module, state: Mapping[str, Any], masks: Masks) -> None:
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
    zero_(model, masks)


def came_back(masks: Masks, weights: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """How many pruned entries are not zero, and how many there are, for each parameter where there are any."""
    found = {}
    for name, mask in masks.items():
        pruned = weights[name].detach()[~mask.to(weights[name].device)]
        if count := int(pruned.count_nonzero()):
            found[name] = count, pruned.numel()
    return found


def in_words(back: Mapping[str, tuple[int, int]]) -> str:
    """`came_back` in words."""
    return ", ".join(f"{count:,} of {pruned:,} in {name!r}" for name, (count, pruned) in back.items())
