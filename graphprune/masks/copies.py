"""Copies of a user's network that are its own: nothing of them points back, and no first graph is remembered."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

from torch import Tensor, nn

from graphprune.masks.heads import autograd_nodes
from graphprune.masks.passes import forget_passes_

M = TypeVar("M", bound=nn.Module)

_LEAD = "hand it over in forward, or make it a submodule"
_CACHED = "_cached"  # how torch_geometric's convolutions name what they keep of their first graph
_PLAIN = (str, bytes, int, float, complex, type(None), type, ModuleType, Tensor)


def independent_copy(model: M) -> M:
    """A deep copy that computes with its own weights, on the graph that it is given.

    Python copies functions and weak references by reference: a ``forward`` that was replaced on the instance, or
    anything else that holds on to the original in a closure, a global or a weak reference, would go on computing with
    the original's weights. What convolutions have cached of a graph (``cached=True``) is forgotten, and hooks of masks
    that are attached to the original stay behind.

    Args:
        model: left as it is.

    Raises:
        ValueError: the copy would still use the original, or the model cannot be copied; names the module and the
            attribute.
    """
    for name, module in model.named_modules():
        forward = vars(module).get("forward")
        compiled = type(module).__name__ == "OptimizedModule"  # whose own forward is made again in a copy
        if forward is not None and not compiled and not isinstance(forward, MethodType):
            raise ValueError(
                f"{_called(name, module)} has a forward that was replaced on the instance, of which a copy would run "
                "the original's weights: make it a method of a class, or a module around the old one"
            )
    made = _deepcopy(model)
    own = {id(part): name for name, part in _parts(model)}
    inside = {id(module) for module in made.modules()}
    for name, module in made.named_modules():
        for attribute, value in vars(module).items():
            found = next((own[id(part)] for part in _reached(value, inside) if id(part) in own), None)
            if found is not None:
                raise ValueError(
                    f"{_called(name, module)} keeps {found or 'the model itself'} of the model in {attribute!r}, in a "
                    "function, a weak reference or an object that copies as itself: "
                    + ("remove the hook" if attribute.endswith("_hooks") else _LEAD)
                )
    forget_passes_(made)
    return made


def read_by(output: Any) -> set[int]:
    """The ``id`` of each leaf tensor that an output was computed with, as far as it has a gradient."""
    return {id(node.variable) for node in autograd_nodes(output)[1] if hasattr(node, "variable")}


def forget_caches_(model: nn.Module) -> None:
    """Empty the caches of all convolutions: ``_cached_edge_index``, ``_cached_adj_t``, ``_cached_x`` and such."""
    for module, attribute, _ in _caches(model):
        setattr(module, attribute, None)


def uncached_(model: nn.Module) -> None:
    """Have all convolutions compute again for every graph, as with ``cached=False``."""
    forget_caches_(model)
    for module in _caching(model):
        module.cached = False  # type: ignore[assignment]


@contextmanager
def without_caches(model: nn.Module) -> Iterator[None]:
    """Inside all convolutions compute again for every graph; after it they have the caches that they had."""
    caching, caches = _caching(model), _caches(model)
    uncached_(model)
    try:
        yield
    finally:
        for module in caching:
            module.cached = True  # type: ignore[assignment]
        for module, attribute, value in caches:
            setattr(module, attribute, value)


def _caching(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if _caches_graphs(module) and bool(module.cached)]


def _caches_graphs(module: nn.Module) -> bool:
    """Whether this is a convolution of torch_geometric, or of its kind, that can keep what it made of a graph."""
    pyg = any(cls.__module__.startswith("torch_geometric.") for cls in type(module).__mro__)
    return pyg and hasattr(module, "cached")


def _caches(model: nn.Module) -> list[tuple[nn.Module, str, object]]:
    """The caches that are not empty: module, attribute, value."""
    return [
        (module, attribute, value)
        for module in model.modules()
        if _caches_graphs(module)
        for attribute, value in vars(module).items()
        if attribute.startswith(_CACHED) and value is not None
    ]


def _called(name: str, module: nn.Module) -> str:
    return f"the module {name!r} ({type(module).__name__})" if name else f"the model ({type(module).__name__})"


def _deepcopy(model: M) -> M:
    # What deepcopy is told to have copied already it takes as told: it refuses features cached with gradients.
    empty = {id(value): None for _, _, value in _caches(model)}
    try:
        return copy.deepcopy(model, empty)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{_uncopied(model, type(model).__name__)} cannot be copied: {error}") from error


def _uncopied(module: nn.Module, name: str) -> str:
    """The innermost part that deepcopy fails on."""
    for child_name, child in module.named_children():
        try:
            copy.deepcopy(child)
        except (RuntimeError, TypeError):
            return _uncopied(child, f"{name}.{child_name}")
    return f"{name} ({type(module).__name__})"


def _parts(model: nn.Module) -> Iterator[tuple[str, object]]:
    yield from model.named_modules()
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _reached(value: Any, inside: set[int]) -> Iterator[Any]:
    """All that a value of a module's holds on to, whichever way Python's deepcopy goes about it.

    Args:
        value: an attribute.
        inside: modules that are looked at by themselves.
    """
    seen, left = set[int](), [value]
    while left:
        value = left.pop()
        if id(value) in seen or id(value) in inside:
            continue
        seen.add(id(value))
        yield value
        left.extend(_held(value))


def _held(value: Any) -> Iterator[Any]:
    if type(value) in weakref.ProxyTypes:
        with suppress(ReferenceError):  # of what is gone
            yield from vars(value).values()
    elif isinstance(value, weakref.ref):
        yield value()
    elif isinstance(value, _PLAIN):
        return
    elif isinstance(value, FunctionType):
        names = inspect.getclosurevars(value)
        yield from names.nonlocals.values()
        # Of globals only what may belong to a model: the rest of the program is nobody's state.
        yield from (each for each in names.globals.values() if isinstance(each, nn.Module | Tensor | MethodType))
        yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    elif isinstance(value, MethodType):
        yield value.__self__
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif hasattr(value, "__dict__"):
        yield from vars(value).values()
