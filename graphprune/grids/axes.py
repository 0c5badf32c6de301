"""What a grid says: data sets, models, methods, sparsities, seeds and folds, and the options of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from graphprune.grids.objects import ENTRIES, FIT_OBJECT, NONE, Objects
from graphprune.methods import METHODS, Dense
from graphprune.models import MODELS
from graphprune.runs.config import GROWING, parser_of
from graphprune.runs.identity import OBJECT
from graphprune.runs.options import SECTIONS, hint, named, option_names
from graphprune.runs.protocols import rule_hint
from graphprune.runs.typed import list_options

REPEATS = ("seeds", "folds")
KEYS = ("common", *ENTRIES, "sparsity", "joint", *REPEATS)
REGISTRIES: Mapping[str, Mapping[str, type]] = {"model": MODELS, "method": METHODS}

Place = tuple[str | int, ...]  # the keys and list positions that lead to a value


class Mistake(ValueError):
    """Something wrong at some place of a grid; its text begins with the place, as in ``methods[2].rounds``."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(f"{dotted(place)}: {text}" if place else text)
        self.place = place


def dotted(place: Place) -> str:
    """A place as one reads it: ``methods[2].rounds``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)[1:]


@dataclass(frozen=True)
class Given:
    """The value of an option, and where the grid has it."""

    value: Any
    place: Place


Options = Mapping[str, Given]  # by full name, such as fit.epochs


@dataclass(frozen=True)
class Entry:
    """One value of an axis.

    Attributes:
        name: in its registry, or of an object.
        word: that stands for the object; empty if it is none.
        label: of its folder.
        own: options of its own section, which has them.
        other: options of other sections, for those methods and models that have them.
        repeats: seeds and folds of its own.
        place: in the grid.
    """

    name: str
    word: str
    label: str
    own: Options
    other: Options
    repeats: Mapping[str, Sequence[int]]
    place: Place


@dataclass(frozen=True)
class Axes:
    """All of a grid.

    Attributes:
        common: options for every cell that has them.
        data: the data sets.
        models: the models; GIN if none is given.
        methods: the methods.
        sparsities: sets of options for the methods that have them; one empty set if none is given.
        repeats: seeds (0 if none are given) and perhaps folds.
        objects: a user's own.
    """

    common: Options
    data: Sequence[Entry]
    models: Sequence[Entry]
    methods: Sequence[Entry]
    sparsities: Sequence[Options]
    repeats: Mapping[str, Sequence[int]]
    objects: Objects

    def known(self, one: Entry, model: Entry, method: Entry) -> tuple[str, ...]:
        """Full names of the options that a run of these three has."""
        parser = parser_of(Dense.name if method.word else method.name, "gin" if model.word else model.name)
        own = {kind: entry.word for kind, entry in (("data", one), ("model", model), ("method", method)) if entry.word}
        left = [name for name in option_names(parser) if name.partition(".")[0] not in own]
        return (*left, *chain.from_iterable(self.objects.options(kind, word) for kind, word in own.items()), FIT_OBJECT)


def read_axes(content: Any, objects: Objects = NONE) -> Axes:
    """Check the layout of a grid, and the options of its entries; how they go together is checked for each cell.

    Args:
        content: plain data, as a YAML file holds them.
        objects: for which words stand in it.

    Raises:
        Mistake: unknown keys or names, empty axes, sparsity beside joint, repeated values.
    """
    top = _mapping(content, (), "a grid")
    for key in top:
        if key not in KEYS:
            raise Mistake((key,), f"unknown key {key!r}: {hint(key, KEYS)}")
    for axis in ("data", "methods"):
        if axis not in top:
            raise Mistake((), f"the grid has no {axis}")
    if "sparsity" in top and "joint" in top:
        raise Mistake(("joint",), "a grid has either joint or sparsity: leave one out")
    return Axes(
        common=_sections(top.get("common", {}), ("common",)),
        data=_entries("data", top["data"], objects),
        models=_entries("models", top.get("models", ["gin"]), objects),
        methods=_entries("methods", top["methods"], objects),
        sparsities=_sparsities(top),
        repeats={"seeds": (0,), **{name: _numbers(top[name], (name,)) for name in REPEATS if name in top}},
        objects=objects,
    )


def told(options: Mapping[str, Any]) -> str:
    """Options in the name of a folder; the number of rounds is not part of it, as a run may grow."""
    texts = {name: "+".join(map(str, value)) if isinstance(value, list) else value for name, value in options.items()}
    return "".join(f",{name.rpartition('.')[2]}={text}" for name, text in texts.items() if name != GROWING)


def require(given: Mapping[str, Given], known: Iterable[str], who: str) -> None:
    """Make sure that all these options are known.

    Raises:
        Mistake: one that is not; the text has the nearest ones of its section.
    """
    for name in given.keys() - set(known):
        section, _, option = name.partition(".")
        inside = [other.partition(".")[2] for other in known if other.startswith(f"{section}.")]
        near = rule_hint(option, given[name].value) or hint(option, [other for other in inside if other != "name"])
        raise Mistake(given[name].place, f"{who} option {option}: {near}")


def _entries(axis: str, value: Any, objects: Objects) -> tuple[Entry, ...]:
    section, found = ENTRIES[axis], []
    for number, item in enumerate(_listed(value, (axis,))):
        place = (axis, number)
        entry = {"name": item} if isinstance(item, str) else item
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise Mistake(place, f"an entry of {axis} is a name, or a mapping with a name")
        name, word = entry["name"], entry.get(OBJECT, "")
        if word and word not in objects:
            raise Mistake((*place, OBJECT), "objects come from Python: graphprune.grids.run({...}) takes them")
        if section in REGISTRIES and not word:
            try:
                named(section, name, REGISTRIES[section])
            except ValueError as error:
                raise Mistake((*place, "name"), str(error)) from error
        inner = {key: entry[key] for key in SECTIONS if key in entry and key not in (section, "data")}
        repeats = {key: entry[key] for key in REPEATS if key in entry and axis == "data"}
        rest = {key: value for key, value in entry.items() if key not in ("name", "label", OBJECT, *inner, *repeats)}
        options, lists = _section(section, rest, place), frozenset[str]()
        if not word:
            parser = parser_of(name if section == "method" else Dense.name, name if section == "model" else "gin")
            require(options, option_names(parser), f"{name} has no")
            lists = frozenset(option for option, words in list_options(parser).items() if not words)
        for label, own in _spread(options, lists):
            found.append(
                Entry(
                    name,
                    word,
                    _folder(str(entry.get("label", name)) + label),
                    own,
                    _sections(inner, place),
                    {key: _numbers(value, (*place, key)) for key, value in repeats.items()},
                    place,
                )
            )
    return tuple(found)


def _sparsities(top: Mapping[str, Any]) -> tuple[Options, ...]:
    if "joint" in top:
        return tuple(options for _, options in _spread(_rates(top["joint"], ("joint",))))
    if "sparsity" not in top:
        return ({},)
    found: dict[str, Options] = {}
    for number, item in enumerate(_listed(top["sparsity"], ("sparsity",))):
        place = ("sparsity", number)
        options = _rates(item, place)
        label = told({name: given.value for name, given in options.items()})
        if label in found:
            raise Mistake(place, "this sparsity is there twice (a number of rounds tells no cells apart)")
        found[label] = options
    return tuple(found.values())


def _rates(value: Any, place: Place) -> Options:
    if not isinstance(value, dict) or not value:
        raise Mistake(place, "give options of the methods, such as {rounds: 5, edge_rate: 0.05, weight_rate: 0.2}")
    return _section("method", value, place)


def _spread(options: Options, lists: frozenset[str] = frozenset()) -> Iterator[tuple[str, Options]]:
    """Every choice of one value of each option that has a list of them, and what tells it from the others.

    An option of ``lists`` has one value that is a list; its axis is a list of lists.
    """
    axes = {
        name: given
        for name, given in options.items()
        if isinstance(given.value, list)
        and (name not in lists or any(isinstance(value, list) for value in given.value))
    }
    for chosen in product(*(_listed(given.value, given.place) for given in axes.values())):
        values = dict(zip(axes, chosen, strict=True))
        yield told(values), {**options, **{name: Given(value, axes[name].place) for name, value in values.items()}}


def _sections(value: Any, place: Place) -> Options:
    """Options by section."""
    options: dict[str, Given] = {}
    for section, inner in _mapping(value, place, "this").items():
        at = (*place, section)
        if section not in SECTIONS:
            raise Mistake(at, f"unknown section {section!r}: {hint(section, SECTIONS)}")
        options |= _section(section, _mapping(inner, at, section), at)
    return options


def _section(section: str, values: Mapping[str, Any], place: Place) -> Options:
    if "name" in values:
        raise Mistake((*place, "name"), "a name stands in an axis: data, models or methods")
    return {f"{section}.{key}": Given(value, (*place, key)) for key, value in values.items()}


def _mapping(value: Any, place: Place, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Mistake(place, f"{what} must be a mapping")
    return value


def _listed(value: Any, place: Place) -> list[Any]:
    """The values of an axis."""
    if not isinstance(value, list):
        raise Mistake(place, f"{place[-1]} must be a list, as [{value}]")
    if not value:
        raise Mistake(place, f"{place[-1]} is an empty list: nothing would run")
    for number, item in enumerate(value):
        if item in value[:number]:
            raise Mistake((*place, number), f"{item} is there twice")
    return value


def _numbers(value: Any, place: Place) -> tuple[int, ...]:
    for number, item in enumerate(_listed(value, place)):
        if not isinstance(item, int) or isinstance(item, bool) or item < 0:
            raise Mistake((*place, number), f"{place[-1]} are whole numbers from 0, got {item!r}")
    return tuple(value)


def _folder(label: str) -> str:
    """A label as the name of one folder."""
    return re.sub(r"[^\w.,=+-]+", "_", label).lstrip(".") or "_"
