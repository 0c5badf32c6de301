"""What is known of a tensor beforehand: told by who made it, believed as long as it is that very tensor, unchanged.

A batch of packed graphs is an ordinary one, and its tensors have no mark: what the storage knows of them lies here. A
copy, a tensor put in its place or one that was written to is nothing that anything is known of. (A change behind
torch's back, through ``.data`` or NumPy's memory, goes unseen.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils.weak import WeakTensorKeyDictionary

from graphprune.masks.passes import of_passes

T = TypeVar("T")


@dataclass
class _Facts:
    """Of a tensor in the state in which it was told of."""

    version: int
    pointer: int
    makers: dict[Any, Callable[[], Any]] = field(default_factory=dict)
    made: dict[Any, Any] = field(default_factory=dict)

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is known, made by whoever told of it, else by ``make``."""
        if key not in self.made:
            self.made[key] = self.makers.pop(key, make)()
        return self.made[key]


_KNOWN = WeakTensorKeyDictionary()


def follow(tensor: Tensor) -> bool:
    """Let what is made :func:`once` of a tensor on the CPU be remembered as long as the tensor lives, unchanged."""
    if tensor.device.type != "cpu" or tensor.is_inference():
        return False
    if _facts(tensor) is None:
        _KNOWN[tensor] = _Facts(tensor._version, tensor.data_ptr())
    return True


def tell(tensor: Tensor, kind: type[T], make: Callable[[], T | None]) -> None:
    """Note how to make something that is known of a tensor on the CPU; it is made when it is asked for.

    Args:
        tensor: is not kept alive, and must not be read by ``make``, which may be called after a change of it.
        kind: what is known.
        make: gives it, or None.
    """
    if follow(tensor):
        _KNOWN[tensor].makers[kind] = make
        _KNOWN[tensor].made.pop(kind, None)


def told(tensor: Tensor, kind: type[T]) -> T | None:
    """What is known of a tensor, if anything."""
    facts = _facts(tensor)
    if facts is None or not (kind in facts.made or kind in facts.makers):
        return None
    return cast("T | None", facts.get(kind, _nothing))


def once(tensor: Tensor, key: Any, make: Callable[[], T]) -> T:
    """What is known of a tensor, or what ``make`` gives, remembered if it is followed; of any other made anew."""
    facts = _facts(tensor)
    return make() if facts is None else cast(T, facts.get(key, make))


def _nothing() -> None:
    return None


def _facts(tensor: Tensor) -> _Facts | None:
    facts = None if torch.compiler.is_compiling() else _KNOWN.get(tensor)
    same = facts is not None and tensor._version == facts.version and tensor.data_ptr() == facts.pointer
    return facts if same else None


def watched(module: object) -> bool:
    """Whether hooks look at what goes through a module, and are to see a row for each node; those of masks do not."""
    if not isinstance(module, nn.Module):
        return False
    hooks = (module._forward_hooks, module._backward_hooks, module._backward_pre_hooks)
    blind = all(map(of_passes, module._forward_pre_hooks.values()))
    return not blind or any(hooks) or torch_module._has_any_global_hook()
