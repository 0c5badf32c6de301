"""Bytes: of tensors while a network runs, and of its file."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphprune.measure.ops import parts, takes_apart


def peak_bytes(call: Callable[[], object], known: Iterable[Tensor] = ()) -> int:
    """The most bytes of tensors that were alive at one time during a call, counted after every operator.

    Counted are storages, each once however many views it has, from the first operator that makes or reads them until
    nothing holds them. What an operator allocates and frees inside itself is not seen, nor what the allocator keeps.

    Args:
        call: runs the network.
        known: tensors that are not counted, such as parameters and inputs.
    """
    alive = _Alive(known)
    with alive:
        call()
    return alive.peak


def storages(tensors: Iterable[Tensor]) -> dict[int, torch.UntypedStorage]:
    """The storages of tensors, dense or sparse, by identity."""
    found = (part.untyped_storage() for tensor in tensors for part in parts(tensor))
    return {id(storage): storage for storage in found}


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, shared storage counted once."""
    return sum(int(storage.nbytes()) for storage in storages(tensors).values())


def file_bytes(model: nn.Module) -> int:
    """The size of a safetensors file with the model's ``state_dict``; tensors under several names are saved once."""
    seen: dict[int, tuple[str, Tensor]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            seen.setdefault(id(value), (name, value))
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in seen.values()}
    return len(safetensors.torch.save(tensors))


class _Alive(TorchDispatchMode):
    """Follows the storages of all tensors that operators take and give."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = storages(known)  # held, so that no other object gets the same identity
        self._bytes: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if takes_apart(types):
            return NotImplemented
        self._see((args, kwargs))
        out = func(*args, **(kwargs or {}))
        self._see(out)
        self.peak = max(self.peak, self.now)
        return out

    def _see(self, tree: object) -> None:
        leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
        for number, storage in storages(leaves).items():
            if number in self._known:
                continue
            before, ref = self._bytes.get(number, (0, None))
            if ref is None:
                ref = weakref.ref(storage, partial(self._gone, number))
            self._bytes[number] = storage.nbytes(), ref
            self.now += storage.nbytes() - before

    def _gone(self, number: int, _: object) -> None:
        self.now -= self._bytes.pop(number)[0]
