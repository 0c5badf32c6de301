"""A user's own objects in place of the names of a configuration: data, a model, a method, a training."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs
from torch import nn

from graphprune.data import GraphData, ImageData
from graphprune.data.labelled import LabelledData
from graphprune.methods import Method
from graphprune.runs.identity import OBJECT, identity, plain, words
from graphprune.train import Fit

# What the sections of a configuration may be given as.
KINDS = {
    "data": "a GraphData, an ImageData, or a function that returns one",
    "model": "a class with for_data(data), or a function of the data that returns a network",
    "method": "a Method, or a function of the data that returns one",
    "fit": "a graphprune.train.Fit, a training function of a FitJob, or a function of the seed that returns either",
}
# What a model's for_data() takes from the data set, with values to try its other arguments with.
FROM_DATA: dict[str, Any] = {
    "features": 1,
    "edge_features": 1,
    "shape": (1, 32, 32),
    "num_outputs": 1,
    "log_degree": 1.0,
    "encodings": None,
}
# What the folder of a run has beside its configuration: a row a round, those of all rounds, and where they are from.
RECORDS = ("metrics.jsonl", "results.json", "provenance.json")
LAST_ROUND = "last_round"
# What a section says of its object: options of the object go by other names.
SAID = ("name", OBJECT, "source", "digest", "arguments", LAST_ROUND)


def is_path(name: Any) -> bool:
    """Whether a name is that of an object in a module, as ``my_package.nets:Net``."""
    return isinstance(name, str) and bool(re.fullmatch(r"[\w.]+:[\w.]+", name))


def imported(kind: str, path: str) -> Any:
    """The object that a user names as ``module:name``; modules of the working directory are found, too.

    For names that the user types or writes into a grid: what a folder of results says is never imported.

    Raises:
        ValueError: no such module or name, or nothing of that kind.
    """
    module, _, name = path.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        found = attrgetter(name)(import_module(module))
    except (ImportError, AttributeError) as error:
        missing = f"has no {name}" if isinstance(error, AttributeError) else f"cannot be imported: {error}"
        raise ValueError(f"{kind} {path}: module {module} {missing}; it must be installed, or lie in {here}") from error
    if not _fits(kind, found):
        raise ValueError(f"{kind} {path}: expected {KINDS[kind]}, got {words(found)}")
    return found


def check_file(file: str | None, content: Mapping[str, Any], *, typed: str | None) -> None:
    """Make sure that a file of options brings along no object, and that no folder of results has one imported.

    Args:
        file: of a run's options, if there is one.
        content: its sections.
        typed: the model on the command line, if it is named there.

    Raises:
        ValueError: it describes a run of objects, or lies in a run's folder and would import a model that is not typed.
    """
    for name, options in content.items():
        if isinstance(options, Mapping) and (path := options.get(OBJECT)):
            raise ValueError(
                f"{file} describes a run whose {name} was your own, {path}, which no file brings along: start it as it "
                f"was started, by a program, a grid or --{name} {path} with its options"
            )
    model = (content.get("model") or {}).get("name")
    if file and not typed and is_path(model) and any(Path(file).with_name(each).exists() for each in RECORDS):
        raise ValueError(
            f"{file} lies in a folder of results, for which nothing is imported: type --model {model} if you trust it"
        )


def section(kind: str, value: Any, name: str | None, options: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """What a configuration says of an object, and the object that a run is given.

    Args:
        kind: the section, one of :data:`KINDS`.
        value: the object.
        name: in folders and reports; None: the object's own.
        options: keyword arguments of a callable, as plain data.

    Returns:
        The section and the object: of a class of methods an instance with the options. A ``Fit`` of the package, unless
        it has a schedule or loss of the user's, becomes a section of options like any other, and None.

    Raises:
        ValueError: nothing of that kind, options that it does not take, or an object that no other process would
            recognise; the text says why and what to do.
    """
    said = known(kind, value)
    if kind == "fit" and OBJECT not in said:
        return {**said, **options}, None
    if odd := [option for option in options if option in SAID]:
        raise ValueError(f"an option of an object cannot be called {odd[0]}: rename the argument")
    name = name or name_of(value)
    if kind == "method" and _method_class(value):
        value, options = _with_options(value, options), {}
        said = identity(value)
    else:
        _check_call(kind, value, options)
    said = {"name": name, **said, **plain(options)}
    return said | ({LAST_ROUND: value.last_round} if isinstance(value, Method) else {}), value


def known(kind: str, value: Any) -> dict[str, Any]:
    """What an object is known by; a ``Fit`` of the package by its options alone, where these are words and numbers.

    Raises:
        ValueError: nothing of that kind, or an object that no other process would recognise.
    """
    if isinstance(value, nn.Module) and kind == "model":
        raise ValueError(f"{words(value)} is a network with weights, which all runs would share: give what makes it")
    if not _fits(kind, value):
        raise ValueError(f"expected {KINDS.get(kind, 'plain data')}, got {words(value)}")
    if isinstance(value, Fit) and value.on_epoch is not None:
        raise ValueError("a Fit with on_epoch: leave it out, the run logs the epochs itself")
    found = identity(value)
    if type(value) is not Fit or not (isinstance(value.schedule, str) and isinstance(value.loss, str | None)):
        return found
    return {name: each for name, each in found.items() if name != OBJECT}


def name_of(value: Any) -> str:
    """What an object is called where nobody gives it a name."""
    if isinstance(value, LabelledData | Method) or _method_class(value):
        return str(_inner(value).name)
    return str(getattr(_inner(value), "__name__", type(value).__name__))


def option_names(kind: str, value: Any) -> tuple[str, ...]:
    """The options that an object takes, by name."""
    if kind == "fit" or isinstance(value, LabelledData | Method):
        return ()
    own_class, call = _method_class(value), _call(kind, value)
    taken = list(_parameters(call).values())[0 if kind == "data" or own_class else 1 :]
    if call is not value:
        taken += [each for each in _handed_on(value) if each.name not in FROM_DATA]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = (each.name for each in taken if each.kind in named and not (own_class and each.name == "seed"))
    return tuple(dict.fromkeys(names))


def made(kind: str, value: Any, data: Any, options: Mapping[str, Any], seed: int) -> Any:
    """What a run works with: the object itself, with the run's seed where it has one, or what it makes.

    Args:
        kind: the section, one of :data:`KINDS`.
        value: the object.
        data: of the run; None where these are made.
        options: keyword arguments of a callable.
        seed: of the run.

    Raises:
        TypeError: a function returned something else.
    """
    if kind == "fit":
        value = value(seed=seed) if _makes_fit(value) else _with_seed(value, seed)
        wanted: Any = Callable
    elif kind == "data":
        value = value if isinstance(value, LabelledData) else value(**options)
        wanted = GraphData | ImageData
    elif kind == "model":
        value, wanted = _call(kind, value)(data, **options), nn.Module
    else:
        value = _with_seed(value if isinstance(value, Method) else value(data, **options), seed)
        wanted = Method
    if not isinstance(value, wanted):
        raise TypeError(f"the {kind} is {words(value)}: expected {KINDS[kind]}")
    return value


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, LabelledData | Method):
        return kind in ("data", "method") and isinstance(value, Method if kind == "method" else GraphData | ImageData)
    return kind in KINDS and callable(value) and not isinstance(value, nn.Module)


def _inner(value: Any) -> Any:
    return value.func if isinstance(value, partial) else value


def _method_class(value: Any) -> bool:
    return isinstance(_inner(value), type) and issubclass(_inner(value), Method)


def _makes_fit(value: Any) -> bool:
    """Whether a function is no training but makes one: it takes a seed and no job."""
    return "seed" in _parameters(value) and "job" not in _parameters(value)


def _call(kind: str, value: Any) -> Any:
    return getattr(value, "for_data", value) if kind == "model" else value


def _parameters(value: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(value).parameters
    except (TypeError, ValueError):  # written in C
        return {}


def _handed_on(value: Any) -> list[inspect.Parameter]:
    """What for_data(data, **options) hands on: to those of the bases, to the constructor, and to theirs."""
    found: list[inspect.Parameter] = []
    handed = True
    for method in ("for_data", "__init__"):
        for owner in getattr(value, "__mro__", ()):
            if handed and method in vars(owner):
                taken = list(_parameters(getattr(owner, method)).values())[1:]  # without the data, or self
                handed = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken)
                found += taken
    return found


def _with_options(method: Any, options: Mapping[str, Any]) -> Any:
    try:
        return method(**options)
    except TypeError as error:
        raise ValueError(f"{words(method)}: {error}") from error


def _check_call(kind: str, value: Any, options: Mapping[str, Any]) -> None:
    """Make sure that an object takes these options, as far as its signature tells."""
    if kind == "fit" or isinstance(value, LabelledData | Method):
        if options:
            raise ValueError(f"{words(value)} has all its options: {', '.join(options)} cannot be set beside it")
        return
    try:
        inspect.signature(_call(kind, value)).bind(*() if kind == "data" else (None,), **options)
    except TypeError as error:
        raise ValueError(f"{words(value)} cannot be called with the options {dict(options)}: {error}") from error
    except ValueError:  # written in C
        return


def _with_seed(value: Any, seed: int) -> Any:
    if attrs.has(type(value)):
        return attrs.evolve(value, seed=seed) if "seed" in attrs.fields_dict(type(value)) else value
    if is_dataclass(value) and not isinstance(value, type) and "seed" in {part.name for part in fields(value)}:
        return replace(value, seed=seed)
    return value
