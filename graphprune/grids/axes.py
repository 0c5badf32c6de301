"""What a grid file says: data sets, models, methods, sparsities, seeds and folds, and the options of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from graphprune.grids.marked import Marked, Place
from graphprune.methods import METHODS, Dense
from graphprune.models import MODELS
from graphprune.runs.config import GROWING, parser_of
from graphprune.runs.options import SECTIONS, hint, list_options, named

# The axes of entries, each with the section of a run that it sets.
ENTRIES = {"data": "data", "models": "model", "methods": "method"}
REPEATS = ("seeds", "folds")
KEYS = ("common", *ENTRIES, "sparsity", "joint", *REPEATS)
REGISTRIES: Mapping[str, Mapping[str, type]] = {"model": MODELS, "method": METHODS}


@dataclass(frozen=True)
class Given:
    """The value of an option, and where the file has it."""

    value: Any
    place: Place


Options = Mapping[str, Given]  # by full name, such as fit.epochs


@dataclass(frozen=True)
class Entry:
    """One value of an axis.

    Attributes:
        name: in its registry.
        label: of its folder.
        own: options of its own section, which has to have them.
        other: options of other sections, for those methods and models that have them.
        repeats: seeds and folds of its own.
        place: in the file.
    """

    name: str
    label: str
    own: Options
    other: Options
    repeats: Mapping[str, Sequence[int]]
    place: Place


@dataclass(frozen=True)
class Axes:
    """All of a grid file.

    Attributes:
        source: the file.
        common: options for every cell that has them.
        data: the data sets.
        models: the models; GIN if none is given.
        methods: the methods.
        sparsities: sets of options for the methods that have them; one empty set if none is given.
        repeats: seeds (0 if none are given) and perhaps folds.
    """

    source: Marked
    common: Options
    data: Sequence[Entry]
    models: Sequence[Entry]
    methods: Sequence[Entry]
    sparsities: Sequence[Options]
    repeats: Mapping[str, Sequence[int]]


def read_axes(source: Marked) -> Axes:
    """Check the layout of a grid file; options are checked where their methods and models are known.

    Raises:
        ValueError: unknown keys or names, empty axes, sparsity beside joint, repeated values; with the line.
    """
    top = _mapping(source, source.content, (), "a grid")
    for key in top:
        if key not in KEYS:
            raise source.error((key,), f"unknown key {key!r}: {hint(key, KEYS)}")
    for axis in ("data", "methods"):
        if axis not in top:
            raise source.error((), f"the grid has no {axis}")
    if "sparsity" in top and "joint" in top:
        line = source.line(("sparsity",))
        raise source.error(("joint",), f"a grid has either joint or sparsity, and sparsity is in line {line}")
    return Axes(
        source,
        common=_sections(source, top.get("common", {}), ("common",)),
        data=_entries(source, "data", top["data"]),
        models=_entries(source, "models", top.get("models", ["gin"])),
        methods=_entries(source, "methods", top["methods"]),
        sparsities=_sparsities(source, top),
        repeats={"seeds": (0,), **{name: _numbers(source, top[name], (name,)) for name in REPEATS if name in top}},
    )


def told(options: Mapping[str, Any]) -> str:
    """Options in the name of a folder; the number of rounds is not part of it, as a run may grow."""
    texts = {name: "+".join(map(str, value)) if isinstance(value, list) else value for name, value in options.items()}
    return "".join(f",{name.rpartition('.')[2]}={text}" for name, text in texts.items() if name != GROWING)


def _entries(source: Marked, axis: str, value: Any) -> tuple[Entry, ...]:
    section, found = ENTRIES[axis], []
    for number, item in enumerate(_listed(source, value, (axis,))):
        place = (axis, number)
        entry = {"name": item} if isinstance(item, str) else item
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise source.error(place, f"an entry of {axis} is a name, or a mapping with a name")
        if section in REGISTRIES:
            try:
                named(section, entry["name"], REGISTRIES[section])
            except ValueError as error:
                raise source.error((*place, "name"), str(error)) from error
        inner = {key: entry[key] for key in SECTIONS if key in entry and key not in (section, "data")}
        repeats = {key: entry[key] for key in REPEATS if key in entry and axis == "data"}
        rest = {key: value for key, value in entry.items() if key not in ("name", "label", *inner, *repeats)}
        lists = list_options(parser_of(*_parser_for(section, entry["name"])))
        for label, own in _spread(source, _section(source, section, rest, place), lists):
            found.append(
                Entry(
                    entry["name"],
                    _folder(str(entry.get("label", entry["name"])) + label),
                    own,
                    _sections(source, inner, place),
                    {key: _numbers(source, value, (*place, key)) for key, value in repeats.items()},
                    place,
                )
            )
    return tuple(found)


def _parser_for(section: str, name: str) -> tuple[str, str]:
    """A method and a model whose parser knows the options of an entry."""
    return name if section == "method" else Dense.name, name if section == "model" else "gin"


def _sparsities(source: Marked, top: Mapping[str, Any]) -> tuple[Options, ...]:
    if "joint" in top:
        joint = _rates(source, top["joint"], ("joint",))
        return tuple(options for _, options in _spread(source, joint))
    if "sparsity" not in top:
        return ({},)
    found: dict[str, Options] = {}
    for number, item in enumerate(_listed(source, top["sparsity"], ("sparsity",))):
        place = ("sparsity", number)
        options = _rates(source, item, place)
        label = told({name: given.value for name, given in options.items()})
        if label in found:
            raise source.error(place, "this sparsity is there twice (a number of rounds tells no cells apart)")
        found[label] = options
    return tuple(found.values())


def _rates(source: Marked, value: Any, place: Place) -> Options:
    if not isinstance(value, dict) or not value:
        raise source.error(place, "give options of the methods, such as {rounds: 5, edge_rate: 0.05, weight_rate: 0.2}")
    return _section(source, "method", value, place)


def _spread(source: Marked, options: Options, lists: frozenset[str] = frozenset()) -> Iterator[tuple[str, Options]]:
    """Every choice of one value of each option that has a list of them, and what tells it from the others.

    An option of ``lists`` has one value that is a list; its axis is a list of lists.
    """
    axes = {
        name: given
        for name, given in options.items()
        if isinstance(given.value, list)
        and (name not in lists or any(isinstance(value, list) for value in given.value))
    }
    for chosen in product(*(_listed(source, given.value, given.place) for given in axes.values())):
        values = dict(zip(axes, chosen, strict=True))
        yield told(values), {**options, **{name: Given(value, axes[name].place) for name, value in values.items()}}


def _sections(source: Marked, value: Any, place: Place) -> Options:
    """Options by section."""
    options: dict[str, Given] = {}
    for section, inner in _mapping(source, value, place, "this").items():
        at = (*place, section)
        if section not in SECTIONS:
            raise source.error(at, f"unknown section {section!r}: {hint(section, SECTIONS)}")
        options |= _section(source, section, _mapping(source, inner, at, section), at)
    return options


def _section(source: Marked, section: str, values: Mapping[str, Any], place: Place) -> Options:
    if "name" in values:
        raise source.error((*place, "name"), "a name stands in an axis: data, models or methods")
    return {f"{section}.{key}": Given(value, (*place, key)) for key, value in values.items()}


def _mapping(source: Marked, value: Any, place: Place, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise source.error(place, f"{what} must be a mapping")
    return value


def _listed(source: Marked, value: Any, place: Place) -> list[Any]:
    """The values of an axis."""
    if not isinstance(value, list):
        raise source.error(place, f"{place[-1]} must be a list, as [{value}]")
    if not value:
        raise source.error(place, f"{place[-1]} is an empty list: nothing would run")
    for number, item in enumerate(value):
        if item in value[:number]:
            raise source.error((*place, number), f"{item} is there twice")
    return value


def _numbers(source: Marked, value: Any, place: Place) -> tuple[int, ...]:
    for number, item in enumerate(_listed(source, value, place)):
        if not isinstance(item, int) or isinstance(item, bool) or item < 0:
            raise source.error((*place, number), f"{place[-1]} are whole numbers from 0, got {item!r}")
    return tuple(value)


def _folder(label: str) -> str:
    """A label as the name of one folder."""
    return re.sub(r"[^\w.,=+-]+", "_", label).lstrip(".") or "_"
