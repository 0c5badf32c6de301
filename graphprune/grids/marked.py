"""YAML files whose mistakes are told with the line they stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Marked:
    """What a YAML file holds, and where.

    Attributes:
        file: it was read from.
        text: of the file.
        content: plain data.
        lines: line numbers by place: the keys and list positions that lead to a value.
    """

    file: Path
    text: str
    content: Any
    lines: Mapping[Place, int]

    @classmethod
    def read(cls, file: Path) -> Marked:
        """Read a file.

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
        lines: dict[Place, int] = {}
        loader = None
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            content = None if node is None else _value(loader, node, (), lines)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f", line {mark.line + 1}" if mark else ""
            raise ValueError(f"{file}{line}: {error.problem or error.context}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
        finally:
            if loader is not None:
                loader.dispose()
        return cls(file, text, content, lines)

    def line(self, place: Place) -> int:
        """The line of a value, or of what it would be part of."""
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, place: Place, text: str) -> ValueError:
        """A mistake at some place."""
        return ValueError(f"{self.file}, line {self.line(place)}: {text}")


def _value(loader: Any, node: Any, place: Place, lines: dict[Place, int]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*place, number), lines) for number, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    seen: set[Any] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise yaml.MarkedYAMLError(problem=f"{key.value} stands here twice", problem_mark=key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)  # what "<<: *anchor" merges in
    content = {}
    for key, item in node.value:
        name = str(key.value)
        lines[(*place, name)] = key.start_mark.line + 1
        content[name] = _value(loader, item, (*place, name), lines)
    return content
