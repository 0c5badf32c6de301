"""Arguments of a method in words that are the same in every process, so that a run can go on in another."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import attrs
from torch import nn

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def stable_repr(value: object) -> str:
    """What an argument is made from: its ``repr``, but for what that names by an address in memory.

    Functions and classes are told by their module and qualified name, a function also by what it closes over; other
    objects by their class and attributes.
    """
    return _words(value, ())


def predictor_settings(predictor: nn.Module | None) -> Any:
    """What an edge predictor is made from, in a ticket's settings."""
    config = getattr(predictor, "config", None)
    return config() if callable(config) else stable_repr(predictor)


def _words(value: Any, outer: tuple[int, ...]) -> str:
    if isinstance(value, set | frozenset) and value:  # ordered by hashes, which are others in each process
        inside = "{" + ", ".join(sorted(_words(each, outer) for each in value)) + "}"
        return inside if isinstance(value, set) else f"frozenset({inside})"
    text = repr(value)
    if not _ADDRESS.search(text):
        return text
    if id(value) in outer:
        return "..."
    outer = (*outer, id(value))
    if isinstance(value, nn.Module):
        return _ADDRESS.sub("", text)
    if isinstance(value, partial):
        return _call("partial", [value.func, *value.args], value.keywords, outer)
    if isinstance(value, MethodType):
        return f"{_words(value.__self__, outer)}.{value.__name__}"
    if isinstance(value, FunctionType):
        closed = inspect.getclosurevars(value).nonlocals
        return _call(_name(value), (), closed, outer) if closed else _name(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_words(key, outer)}: {_words(each, outer)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return _call(type(value).__name__, value, {}, outer)
    if hasattr(value, "__qualname__"):  # a class, or a function in C
        return _name(value)
    return _call(_name(type(value)), (), _made_from(value), outer)


def _call(name: str, arguments: Iterable[Any], named: Mapping[str, Any], outer: tuple[int, ...]) -> str:
    words = [_words(each, outer) for each in arguments]
    words += [f"{key}={_words(each, outer)}" for key, each in named.items()]
    return f"{name}({', '.join(words)})"


def _name(value: Any) -> str:
    # Workers that were spawned call the script's own module so.
    module = str(getattr(value, "__module__", "")).replace("__mp_main__", "__main__")
    return f"{module}.{value.__qualname__}"


def _made_from(value: Any) -> dict[str, Any]:
    kind: Any = type(value)
    if not is_dataclass(kind) and not attrs.has(kind):
        return dict(getattr(value, "__dict__", {}))
    parts = fields(kind) if is_dataclass(kind) else attrs.fields(kind)
    return {part.name: getattr(value, part.name) for part in parts if part.repr}
