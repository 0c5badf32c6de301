"""What a user's own objects are known by: plain data that are the same in every process."""

from __future__ import annotations

import ast
import enum
import hashlib
import inspect
import os
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from graphprune.data.labelled import LabelledData
from graphprune.graphs.inputs import of_data
from graphprune.methods import Method
from graphprune.methods.core.fit import state_digest
from graphprune.train import Fit

OBJECT = "object"
_DIGITS = 16  # of a SHA-256: enough to tell objects apart, few enough to be read


def identity(value: Any) -> dict[str, Any]:
    """Plain data that tell an object from others, in this process and in any later one.

    Data sets are known by a digest, methods and other objects of attrs classes or dataclasses by class and fields,
    networks by what their ``config()`` returns and a digest of their weights, functions and classes by where they
    can be imported from and a digest of their source. What they call is not seen, nor is the source of this package.

    Raises:
        ValueError: there is nothing of the kind; the text says why and what to do.
    """
    kind = type(value)
    if isinstance(value, LabelledData):
        said = {"digest": value.digest()[:_DIGITS], "task": value.task, "metric": value.metric}
        return {OBJECT: _path(kind), **said, **of_data(value)}
    if isinstance(value, partial):
        arguments = {str(number): each for number, each in enumerate(value.args)} | value.keywords
        return identity(value.func) | ({"arguments": plain(arguments)} if arguments else {})
    if isinstance(value, nn.Module):
        return {OBJECT: _path(kind), **_source(kind), **plain(_config(value)), "weights": _digest(value.state_dict())}
    if isinstance(value, type) or not (attrs.has(kind) or is_dataclass(kind)):
        return {OBJECT: _path(value), **_source(value)}
    return {OBJECT: _path(kind), **_source(kind), **{name: plain(each) for name, each in _fields(value).items()}}


def plain(value: Any) -> Any:
    """A value as YAML can hold it: numbers of numpy as Python's, tuples, sets and ranges as lists, objects by identity.

    Raises:
        ValueError: see :func:`identity`.
    """
    match value:
        case None | bool():
            return value
        case str() | enum.Enum() | os.PathLike() | torch.dtype() | torch.device():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping() if value and all(isinstance(each, Tensor) for each in value.values()):
            return {"digest": _digest(value)}
        case Mapping():
            return {str(name): plain(each) for name, each in value.items()}
        case list() | tuple() | range():
            return [plain(each) for each in value]
        case set() | frozenset():
            return sorted((plain(each) for each in value), key=str)
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case Tensor():
            return {"digest": _digest({"": value})} if value.ndim else plain(value.item())
    said = identity(value)
    return said[OBJECT] if len(said) == 1 else said


def words(value: Any) -> str:
    """What an object is, for messages."""
    named = value if hasattr(value, "__qualname__") else type(value)
    text = f"{named.__module__}.{named.__qualname__}"
    return text if named is value else f"an object of {text}"


def _path(value: Any) -> str:
    """Where a function or class can be imported from, ``module:name``."""
    if isinstance(value, MethodType) and isinstance(value.__self__, type):
        return f"{_path(value.__self__)}.{value.__name__}"
    if not isinstance(value, type | FunctionType | BuiltinFunctionType):
        raise ValueError(
            f"{words(value)} has a state that no other process could compare: give a function or a class of a module's "
            "top level, functools.partial of one with plain arguments, or an object of an attrs class or dataclass"
        )
    module, name = str(value.__module__).replace("__mp_main__", "__main__"), value.__qualname__
    try:
        found = attrgetter(name)(sys.modules.get(module) or import_module(module))
    except (ImportError, AttributeError):
        found = None
    if found is not value:
        why = (
            "a lambda" if "<lambda>" in name else "made inside a function" if "<locals>" in name else "not found there"
        )
        raise ValueError(
            f"{module}:{name} cannot be imported ({why}): define it by a name of its own at a module's top level, "
            "and hand over what it needs by functools.partial"
        )
    return f"{module}:{name}"


def _source(value: Any) -> dict[str, str]:
    """A digest of the code, whatever its comments and layout; none for the package's own, which has versions."""
    if str(value.__module__).partition(".")[0] == "graphprune":
        return {}
    try:
        code = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(value))))
    except (OSError, TypeError, SyntaxError):  # built in, or typed into a prompt
        return {}
    return {"source": hashlib.sha256(code.encode()).hexdigest()[:_DIGITS]}


def _config(module: nn.Module) -> Any:
    if type(module).__module__ == "torch.nn.modules.loss":
        return {name: value for name, value in vars(module).items() if name[0] != "_" and name != "training"}
    config = getattr(module, "config", None)
    if not callable(config):
        raise ValueError(
            f"{words(module)} does not say what it was made from: give its class a method config() that returns the "
            "constructor's arguments as plain data, or give a function that makes the object"
        )
    return config()


def _fields(value: Any) -> dict[str, Any]:
    """The fields that decide what an object computes."""
    if not isinstance(value, Method):
        skipped = ("seed", "on_epoch") if isinstance(value, Fit) else ()
        parts = attrs.fields(type(value)) if attrs.has(type(value)) else fields(value)
        return {part.name: getattr(value, part.name) for part in parts if part.name not in skipped}
    # Its settings leave out where it computes and what it keeps on the disk; its seed is the run's.
    known = {*value.settings(), "prune_heads"} - {"seed"}
    parts = [item for item in attrs.fields(type(value)) if item.init and item.alias in known]
    return {item.alias: getattr(value, item.name) for item in parts}


def _digest(state: Mapping[str, Tensor]) -> str:
    return state_digest(state)[:_DIGITS]
