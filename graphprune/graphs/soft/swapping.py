"""Convolutions whose methods call gated functions in the place of torch_geometric's, for as long as they are gated.

Nothing of the user's or of torch_geometric's is changed: a method is made again from the same code with other names, in
a subclass that an object is one of for a while.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType, new_class
from typing import Any, NamedTuple

from torch import nn
from torch_geometric import utils
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from graphprune.graphs.soft.functions import GATED


class _Used(NamedTuple):
    """Something that a gated class was made of: a name in a module or class, or a function's code."""

    place: Any
    name: str
    value: Any

    def still(self) -> bool:
        """Whether it is the same today: a notebook may define it anew."""
        if isinstance(self.place, FunctionType):
            return self.place.__code__ is self.value
        return bool(self.place.get(self.name) is self.value if self.name else len(self.place) == self.value)


_MOST = 1024
_CLASSES: dict[type[nn.Module], tuple[type[nn.Module], list[_Used]]] = {}


def names(code: CodeType) -> Iterator[str]:
    """Names of globals and attributes that a function and those defined within it look up."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names(inner)


class _Scope(dict[str, Any]):
    """Names of a module, as they are when they are looked up, with other values for some of them."""

    def __init__(self, module: dict[str, Any], swapped: dict[str, Any]) -> None:
        super().__init__(swapped, __builtins__=builtins)
        self._module = module

    def __missing__(self, name: str) -> Any:
        return self._module[name]


class _Gated:
    """A module of torch_geometric with the gated functions in their places."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, ModuleType):
            return _Gated(value)
        return GATED.get(value, value) if isinstance(value, FunctionType) else value


def _gated(function: FunctionType, used: list[_Used], helpers: bool = True) -> FunctionType | None:
    """A function that is the same but calls the gated functions, by helpers of a user's too; None: it calls none.

    What it was made of is noted in ``used``. A function that sets globals stays as it is: it would set those of a copy.
    """
    used.append(_Used(function, "__code__", function.__code__))
    swapped, known = dict[str, Any](), set(names(function.__code__))
    for name in known & function.__globals__.keys():
        called = function.__globals__[name]
        if isinstance(called, FunctionType):
            helper = helpers and (called.__module__ or "").partition(".")[0] not in ("torch", "torch_geometric")
            swapped[name] = GATED.get(called) or (_gated(called, used, False) if helper else None)
            used.append(_Used(function.__globals__, name, called))
        elif isinstance(called, ModuleType) and called.__name__.partition(".")[0] == "torch_geometric":
            swapped[name] = _Gated(called) if any(one.__name__ in known for one in GATED) else None
    swapped = {name: stand_in for name, stand_in in swapped.items() if stand_in is not None}
    if not swapped or any(step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for step in dis.get_instructions(function)):
        return None
    scope = _Scope(function.__globals__, swapped)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def gated_class(cls: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose methods, inherited ones and those that ``super()`` finds too, call the gated functions.

    Raises:
        TypeError: a class that is told of its subclasses, which would be told of this one.
    """
    known = _CLASSES.get(cls)
    if known is None or not all(used.still() for used in known[1]):
        if len(_CLASSES) >= _MOST:  # some classes are made on the fly
            _CLASSES.clear()
        used = list[_Used]()
        known = _CLASSES[cls] = _made(cls, used), used
    return known[0]


def _made(cls: type[nn.Module], used: list[_Used]) -> type[nn.Module]:
    parts = list[type[nn.Module]]()
    for base in cls.__mro__:
        if base in (MessagePassing, nn.Module):
            break
        if "__init_subclass__" in vars(base) and base.__module__ != "typing":
            raise TypeError(f"{base.__name__}.__init_subclass__ would be told of a subclass that is none of yours")
        methods = dict[str, FunctionType]()
        used.append(_Used(vars(base), "", len(vars(base))))
        for name, value in vars(base).items():
            if isinstance(value, FunctionType):
                used.append(_Used(vars(base), name, value))
                copy = _gated(value, used)
                methods |= {} if copy is None else {name: copy}
        if methods:
            parts.append(_subclass(base, (base,), methods))
    bases = parts if parts and issubclass(parts[0], cls) else [cls, *parts]
    return _subclass(cls, tuple(bases), {})


def _subclass(cls: type[nn.Module], bases: tuple[type, ...], members: dict[str, FunctionType]) -> type[nn.Module]:
    """A class that goes by the name of ``cls``."""

    def fill(scope: dict[str, Any]) -> None:
        scope.update(members, __module__=cls.__module__, __qualname__=cls.__qualname__)

    return new_class(cls.__name__, bases, exec_body=fill)


for _composed in (gcn_norm, utils.get_laplacian):  # of gated functions
    _swapped = _gated(_composed, [])
    assert _swapped is not None
    GATED[_composed] = _swapped
