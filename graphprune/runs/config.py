"""`RunConfig`: everything that decides what a run computes, as plain data."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader

from graphprune.files import write_text
from graphprune.runs.options import SECTIONS, check_names, check_sections, explained, flat, read_yaml, run_parser

Section = Mapping[str, Any]

# May differ when a run is taken up again: the data's digest is in every ticket.
MOVABLE = "data.root"
GROWING = "method.rounds"

# Making a parser takes longer than parsing, and a grid has many configurations of few methods.
parser_of = cache(run_parser)


@dataclass(frozen=True)
class RunConfig:
    """One run of one method: five sections of options, complete, with defaults filled in.

    Make it with :meth:`of`, :meth:`load` or :meth:`parsed`.

    Attributes:
        method: ``name`` in the registry of methods, and the method's options.
        data: ``name`` and the options of :func:`graphprune.data.load`.
        model: ``name`` in the registry of models, and the options of its constructor.
        fit: options of :class:`graphprune.train.Fit`.
        predictor: options of :class:`graphprune.EdgePredictor`; empty for methods without one.
        seed: of initial weights, order of the graphs and random choices.
    """

    method: Section
    data: Section
    model: Section
    fit: Section = field(default_factory=dict)
    predictor: Section = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A configuration from nested plain data; what is missing gets its default.

        Raises:
            ValueError: an unknown name or option, or a value of the wrong type.
        """
        check_sections(values, (*SECTIONS, "seed"))
        method, model = (values.get(section, {}).get("name") for section in ("method", "model"))
        if method is None:
            raise ValueError("the configuration names no method: {'method': {'name': 'icpg'}, ...}")
        parser = parser_of(method, model or "gin")
        check_names(values, parser)
        try:
            return cls.parsed(parser, parser.parse_object(dict(values)))
        except argparse.ArgumentError as error:
            raise ValueError(explained(error)) from error

    @classmethod
    def parsed(cls, parser: ArgumentParser, values: Namespace) -> Self:
        """A configuration from what its parser returned."""
        plain = get_loader("yaml")(parser.dump(values))
        return cls(**{name: plain[name] for name in (*SECTIONS, "seed") if name in plain})

    @classmethod
    def load(cls, file: Path | str) -> Self:
        """A configuration from a YAML file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no valid configuration.
        """
        try:
            return cls.of(read_yaml(Path(file)))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def plain(self) -> dict[str, Any]:
        """Nested plain data, without empty sections."""
        return {name: value for name, value in asdict(self).items() if value != {}}

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
            if mine.get(name) != others.get(name) and name not in (GROWING, MOVABLE)
        ]

    @property
    def title(self) -> str:
        """A short name for progress displays."""
        return f"{self.method['name']}, {self.data['name']}, {self.model['name']}, seed {self.seed}"
