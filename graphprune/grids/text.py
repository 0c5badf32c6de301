"""The text of a grid: what its YAML holds, and on which line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Keys are words, and none stands in a mapping twice: the last one would win silently."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands here twice", problem_mark=key.start_mark)
                key.tag = "tag:yaml.org,2002:str"
                seen.add(key.value)
        return node


def loaded(file: Path) -> tuple[str, Any]:
    """A YAML file: its text, and what it holds as plain data.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read or is no YAML, or a mapping has a key twice; with the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {file}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    try:
        return text, plain(yaml.load(text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{file}{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error


def line_of(text: str, place: Sequence[str | int]) -> int:
    """Where a YAML text has a value, or what it would be part of; places are the keys and list positions on the way."""
    loader = _Loader(text)
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
        raise ValueError(f"{value!r} is no plain data, such as a grid is made of")

    return json.loads(json.dumps(content, default=other))
