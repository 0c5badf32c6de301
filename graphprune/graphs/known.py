"""What is known of a tensor beforehand: told by who made it, believed as long as it is that very tensor, unchanged.

A batch of packed graphs is an ordinary one, and its tensors have no mark: what the storage knows of them lies here. A
copy, a tensor put in its place, one that was written to or one whose gradient is asked for is nothing that anything is
known of. (A change behind torch's back, through ``.data`` or NumPy's memory, goes unseen once a fact is made of the
tensor; who tells of it looks at it then.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, wraps
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
    makers: dict[Any, Callable[[Tensor], Any]] = field(default_factory=dict)
    made: dict[Any, Any] = field(default_factory=dict)

    def get(self, key: Any, tensor: Tensor, make: Callable[[Tensor], Any]) -> Any:
        """What is known, made by whoever told of it, else by ``make``."""
        if key not in self.made:
            with _for_training():
                self.made[key] = self.makers.pop(key, make)(tensor)
        return self.made[key]


_KNOWN = WeakTensorKeyDictionary()


@contextmanager
def _for_training() -> Iterator[None]:
    """What is made here can be read by a later training step, though it may be an evaluation that asks for it."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def lasting(make: Callable[[Any], T]) -> cached_property[T]:
    """A cached property of a fact, which lives as long as the fact: longer than the evaluation that asks for it."""

    @wraps(make)
    def made(self: Any) -> T:
        if torch.compiler.is_compiling():  # whose programs would keep the change of mode, and no fact outlives them
            return make(self)
        with _for_training():
            return make(self)

    return cached_property(made)


def follow(tensor: Tensor) -> bool:
    """Let what is made :func:`once` of a tensor on the CPU be remembered as long as the tensor lives, unchanged."""
    if tensor.device.type != "cpu" or tensor.is_inference() or tensor.requires_grad:
        return False
    if _facts(tensor) is None:
        _KNOWN[tensor] = _Facts(tensor._version, tensor.data_ptr())
    return True


def tell(tensor: Tensor, kind: type[T], make: Callable[[Tensor], T | None]) -> None:
    """Note how to make something that is known of a tensor on the CPU; it is made when it is asked for.

    Args:
        tensor: is not kept alive.
        kind: what is known.
        make: gives it, or None, from the tensor, which may have changed behind torch's back.
    """
    if follow(tensor):
        _KNOWN[tensor].makers[kind] = make
        _KNOWN[tensor].made.pop(kind, None)


def fact_of(tensor: Tensor, kind: type[T]) -> T | None:
    """What is known of a tensor, if anything."""
    facts = _facts(tensor)
    if facts is None or not (kind in facts.made or kind in facts.makers):
        return None
    return cast("T | None", facts.get(kind, tensor, lambda _: None))


def once(tensor: Tensor, key: Any, make: Callable[[], T]) -> T:
    """What is known of a tensor, or what ``make`` gives, remembered if it is followed; of any other made anew."""
    facts = _facts(tensor)
    return make() if facts is None else cast(T, facts.get(key, tensor, lambda _: make()))


def _facts(tensor: Tensor) -> _Facts | None:
    facts = None if torch.compiler.is_compiling() or tensor.requires_grad else _KNOWN.get(tensor)
    same = facts is not None and tensor._version == facts.version and tensor.data_ptr() == facts.pointer
    return facts if same else None


def watched(module: object) -> bool:
    """Whether hooks or a ``forward`` put in place of the module's see what goes through it, and are to see every node.

    Hooks of masks do not look.
    """
    if not isinstance(module, nn.Module):
        return False
    if "forward" in vars(module):
        return True
    hooks = (module._forward_hooks, module._backward_hooks, module._backward_pre_hooks)
    blind = all(map(of_passes, module._forward_pre_hooks.values()))
    return not blind or any(hooks) or torch_module._has_any_global_hook()
