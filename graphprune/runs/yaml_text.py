"""YAML files of options and grids: plain data with the lines they stand on, within limits, and no key twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from graphprune import limits

_WORD = 64  # characters of a text that count as a value more
_MERGE = "tag:yaml.org,2002:merge"


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Keys are words, and none stands in a mapping twice: the last one would win silently.

    Values are counted while they are put together, an alias as all that it stands for. What a tag cannot read is an
    error with its line.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count, self._most = 0, limits.limit("yaml")
        self._sizes: dict[int, int] = {}  # of what has an anchor, by the identity of its node

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, counted; an alias counts as what it stands for."""
        event, before = self.peek_event(), self._count
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                problem = f"{event.anchor} holds itself"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
            self._count += self._sizes[id(node)]
        else:
            self._count += 1 + (len(node.value) // _WORD if isinstance(node, yaml.ScalarNode) else 0)
            self._sizes[id(node)] = self._count - before
        if self._count > self._most:
            problem = (
                f"line {event.start_mark.line + 1}: {self._count:,} values so far, counting what aliases stand for"
            )
            limits.refuse("yaml", problem, 2 * self._count)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping whose keys are words, each there once."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.tag != _MERGE:
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands here twice", problem_mark=key.start_mark)
                key.tag = "tag:yaml.org,2002:str"
                seen.add(key.value)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """What a node stands for; what its tag cannot read is named with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            tag = node.tag.rpartition(":")[2]
            told = f"{node.value!r}"[:60] if isinstance(node, yaml.ScalarNode) else "this"
            raise yaml.MarkedYAMLError(
                problem=f"{told} is no {tag}; a word needs quotes here", problem_mark=node.start_mark
            ) from error


def read(file: Path) -> tuple[str, Any]:
    """A YAML file: its text, and what it holds as plain data.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, is no YAML or larger than a limit, or a mapping has a key twice; with the line.
    """
    try:
        limits.check("document", file.stat().st_size, str(file))
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {file}") from None
    except limits.LimitExceeded:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    return text, parsed(text, str(file))


def parsed(text: str, where: str) -> Any:
    """What a YAML text holds as plain data; errors call it ``where``.

    Raises:
        ValueError: as :func:`read`.
    """
    try:
        return plain(yaml.load(text, Loader))
    except limits.LimitExceeded as error:
        raise limits.LimitExceeded(f"{where}, {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{where} is not YAML{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from error


def line_of(text: str, place: Sequence[str | int]) -> int:
    """Where a YAML text has a value, or what it would be part of; places are the keys and list positions on the way."""
    loader = Loader(text)
    node = loader.get_single_node()
    line = 1 if node is None else node.start_mark.line + 1
    for step in place:
        parts: dict[str | int, Any] = {}
        if isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)  # what "<<: *anchor" merges in
            parts = {key.value: (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            parts = {number: (item, item) for number, item in enumerate(node.value)}
        if step not in parts:
            break
        first, node = parts[step]
        line = first.start_mark.line + 1
    return line


def plain(content: Any) -> Any:
    """What YAML or Python gives as JSON would hold it: tuples are lists, numpy's numbers are numbers.

    Raises:
        ValueError: it holds something else, or itself.
    """

    def other(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        if isinstance(value, (date, PathLike)):
            return str(value)
        raise ValueError(f"{value!r} is no plain data, such as options are made of")

    return json.loads(json.dumps(content, default=other))
