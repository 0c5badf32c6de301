"""A user's own objects in a grid: words stand for them in its plain data, which are read as those of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

from graphprune.runs import objects
from graphprune.runs.config import RunConfig
from graphprune.runs.identity import OBJECT

ENTRIES = {"data": "data", "models": "model", "methods": "method"}
FIT = "fit"
FIT_OBJECT = f"{FIT}.{OBJECT}"


class Objects:
    """The objects of a grid.

    Args:
        found: by the word that stands for each.

    Attributes:
        config: from the JSON of a configuration with words in it to one with objects. Making one takes 20 ms, and a
            grid has many of few methods.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self.config = cache(self._config)

    def __contains__(self, word: object) -> bool:
        return word in self._found

    def options(self, kind: str, word: str) -> list[str]:
        """Full names of the options that the object takes."""
        return [f"{kind}.{name}" for name in objects.option_names(kind, self._found[word])]

    def _config(self, text: str) -> RunConfig:
        sections = json.loads(text)
        for section in sections.values():
            if OBJECT in section:
                section[OBJECT] = self._found[section[OBJECT]]
        return RunConfig.of(sections)


NONE = Objects({})


def told_apart(grid: Mapping[str, Any]) -> tuple[dict[str, Any], Objects]:
    """A grid with words in place of the objects in its axes, and of trainings in place of the sections ``fit``.

    A name such as ``my_package.nets:Net`` in an axis is imported and stands for what it names.

    Raises:
        ValueError: an object that is nothing of its kind, or that no other process would recognise; the text has the
            place, the reason and the remedy.
    """
    found: dict[str, Any] = {}
    plain = dict(grid)
    for axis, kind in ENTRIES.items():
        if isinstance(entries := grid.get(axis), Sequence) and not isinstance(entries, str):
            plain[axis] = [_entry(kind, entry, f"{axis}[{number}]", found) for number, entry in enumerate(entries)]
    if isinstance(common := grid.get("common"), Mapping):
        plain["common"] = _with_fit(common, "common", found)
    return plain, Objects(found)


def _entry(kind: str, entry: Any, place: str, found: dict[str, Any]) -> Any:
    options = {"name": entry} if isinstance(entry, str) else entry
    if isinstance(options, Mapping) and OBJECT not in options and objects.is_path(path := options.get("name")):
        try:
            value = objects.imported(kind, str(path))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        entry = {**options, OBJECT: value, "name": objects.name_of(value)}
    if entry is None or isinstance(entry, str | int | float | list):  # of which a grid says that it is no entry
        return entry
    given = _with_fit(entry, place, found) if isinstance(entry, Mapping) else {OBJECT: entry}
    if isinstance(value := given.get(OBJECT, ""), str):
        return given
    return {"name": objects.name_of(value), **given, OBJECT: _word(value, _known(kind, value, place), found)}


def _with_fit(options: Mapping[str, Any], place: str, found: dict[str, Any]) -> dict[str, Any]:
    """Options with the section of a training in place of one."""
    fit = options.get(FIT, {})
    if isinstance(fit, Mapping):
        return dict(options)
    known = _known(FIT, fit, f"{place}.{FIT}")
    return {**options, FIT: {OBJECT: _word(fit, known, found)} if OBJECT in known else known}


def _known(kind: str, value: Any, place: str) -> dict[str, Any]:
    try:
        return objects.known(kind, value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _word(value: Any, known: Mapping[str, Any], found: dict[str, Any]) -> str:
    """Where the object can be imported from, with a number if there is another one of that name."""
    words = (known[OBJECT] + (f" ({number})" if number > 1 else "") for number in count(1))
    word = next(word for word in words if found.setdefault(word, value) is value)
    return str(word)
