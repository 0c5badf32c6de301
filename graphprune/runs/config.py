"""`RunConfig`: everything that decides what a run computes, as plain data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import yaml
from jsonargparse import ArgumentParser, Namespace

from graphprune.files import write_text
from graphprune.methods import METHODS
from graphprune.runs.identity import OBJECT, plain
from graphprune.runs.objects import LAST_ROUND, SAID, imported, is_path, name_of, section
from graphprune.runs.options import LATER, SECTIONS, check_names, check_sections, flat, read_yaml, run_parser
from graphprune.runs.text import explained
from graphprune.train import Fit

Section = Mapping[str, Any]

# May differ when a run is taken up again: the data's digest is in every ticket.
MOVABLE = "data.root"
GROWING = "method.rounds"
LENGTH = f"method.{LAST_ROUND}"  # what a method that is an object says of its rounds
SAME = (MOVABLE, GROWING, LENGTH)

# Making a parser takes longer than parsing, and a grid has many configurations of few methods.
parser_of = cache(run_parser)


@dataclass(frozen=True)
class RunConfig:
    """One run of one method: five sections of options, complete, with defaults filled in.

    Make it with :meth:`of`, :meth:`load` or :meth:`parsed`. Two of them are equal if their plain data are.

    Attributes:
        method: ``name`` in the registry of methods, and the method's options.
        data: ``name`` and the options of :func:`graphprune.data.load`.
        model: ``name`` in the registry of models, and the options of its constructor.
        fit: options of :class:`graphprune.train.Fit`.
        predictor: options of :class:`graphprune.EdgePredictor`; empty for methods without one.
        seed: of initial weights, order of the graphs and random choices.
        objects: a user's own, by section: what :mod:`graphprune.runs.build` takes in place of what the options say. A
            configuration that was loaded has none, and cannot be run if its sections tell of some.
    """

    method: Section
    data: Section
    model: Section
    fit: Section = field(default_factory=dict)
    predictor: Section = field(default_factory=dict)
    seed: int = 0
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A configuration from nested plain data; what is missing gets its default.

        A section other than ``predictor`` may be an object (see :data:`graphprune.runs.objects.KINDS`) in place of a
        mapping, or have it as its ``object`` beside a ``name`` and keyword arguments for it.

        Raises:
            ValueError: an unknown name or option, a value of the wrong type, or an object without an identity.
        """
        check_sections(values, (*SECTIONS, "seed"))
        values, objects = _split(values)
        own = {name: values[name] for name in SECTIONS if OBJECT in values.get(name, {})}
        # What the parser is told in place of an object, whose options it does not know.
        standing = {"method": {"name": "dense"}, "data": {"name": "own"}, "model": {"name": "gin"}, "fit": {}}
        values |= {name: standing[name] for name in own}
        method, model = (values.get(section, {}).get("name") for section in ("method", "model"))
        if method is None:
            raise ValueError("the configuration names no method: {'method': {'name': 'icpg'}, ...}")
        if is_path(model):  # a run's folder may be anybody's
            raise ValueError(f"{model} is imported for the command line and for grids: here give the class itself")
        parser = parser_of(method, model or "gin")
        check_names(values, parser)
        try:
            parsed = cls.parsed(parser, parser.parse_object(values))
        except argparse.ArgumentError as error:
            raise ValueError(explained(error)) from error
        return replace(parsed, **own, objects=objects)

    @classmethod
    def parsed(cls, parser: ArgumentParser, values: Namespace) -> Self:
        """A configuration from what its parser returned; a model of the user's own is imported."""
        plain = yaml.safe_load(parser.dump(values))
        fit, unsaid = plain.get("fit", {}), {name: getattr(Fit, name) for name in LATER["fit"]}
        plain["fit"] = {name: value for name, value in fit.items() if name not in unsaid or value != unsaid[name]}
        method = plain["method"]
        later = METHODS[method["name"]].later if method["name"] in METHODS else {}
        plain["method"] = {name: value for name, value in method.items() if name not in later or value != later[name]}
        plain = {name: plain[name] for name in (*SECTIONS, "seed") if name in plain}
        if is_path(path := plain["model"]["name"]):
            own = imported("model", path)
            return cls.of(plain | {"model": {**plain["model"], OBJECT: own, "name": name_of(own)}})
        return cls(**plain)

    @classmethod
    def load(cls, file: Path | str) -> Self:
        """A configuration from a YAML file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no valid configuration.
        """
        values = read_yaml(Path(file))
        try:
            return cls.of(values)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def plain(self) -> dict[str, Any]:
        """Nested plain data, without empty sections."""
        return {name: plain(value) for name in (*SECTIONS, "seed") if (value := getattr(self, name)) != {}}

    def options(self, section: str) -> dict[str, Any]:
        """The options of a section: all but its name, and what it says of an object."""
        return {name: value for name, value in getattr(self, section).items() if name not in SAID}

    def save(self, file: Path) -> None:
        """Write a YAML file that :meth:`load` reads."""
        write_text(file, yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True))

    def differences(self, other: RunConfig) -> list[str]:
        """Options in which another configuration differs, as ``name: here -> there``.

        Another number of rounds, of which a run may get more, and another folder of raw data are no differences.
        """
        mine, others = flat(self.plain()), flat(other.plain())
        return [
            f"{name}: {mine.get(name)} -> {others.get(name)}"
            for name in sorted(mine.keys() | others.keys())
            if mine.get(name) != others.get(name) and name not in SAME
        ]

    @property
    def title(self) -> str:
        """A short name for progress displays."""
        return f"{self.method['name']}, {self.data['name']}, {self.model['name']}, seed {self.seed}"


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data of a configuration, and the objects that were given among them."""
    said, objects = {}, {}
    for name, value in values.items():
        given = value if isinstance(value, Mapping) else {OBJECT: value}
        if name == "seed" or isinstance(given.get(OBJECT, ""), str):
            said[name] = value if name == "seed" else dict(value)
            continue
        options = {option: each for option, each in given.items() if option not in (OBJECT, "name")}
        try:
            said[name], found = section(name, given[OBJECT], given.get("name"), options)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if found is not None:
            objects[name] = found
    return json.loads(json.dumps(said, default=_told)), objects


def _told(value: Any) -> Any:
    """What JSON has no word for, such as numpy's numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
