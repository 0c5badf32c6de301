"""Text for terminals and Markdown: tables, docstrings, and what a parser of options complains of."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(\*\*)?[\[+−-]?\d")


def without_markup(text: str) -> str:
    """A docstring's words without its roles and double backticks."""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "")


def first_line(thing: object) -> str:
    """What the docstring of a class or function says first."""
    return without_markup((inspect.getdoc(thing) or "").partition("\n")[0])


def numeric(rows: Sequence[Sequence[str]], columns: int) -> list[bool]:
    """Which columns after the first have a cell that begins with a number."""
    return [column > 0 and any(_NUMBER.match(row[column]) for row in rows) for column in range(columns)]


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False, markdown: bool = False
) -> str:
    """Columns aligned by spaces.

    Args:
        head: names of the columns.
        rows: cells, as many as columns in each row.
        numbers: columns of numbers go to the right.
        markdown: with the bars of a Markdown table (cells' own bars are escaped).
    """
    cells = [[cell.replace("|", "\\|") if markdown else cell for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = numeric(rows, len(head)) if numbers else [False] * len(head)
    aligned = [f"{{:{'>' if to_right else '<'}{width}}}" for width, to_right in zip(widths, right, strict=True)]
    lines = [[form.format(cell) for form, cell in zip(aligned, row, strict=True)] for row in cells]
    if not markdown:
        rule = ["-" * width for width in widths]
        return "\n".join("  ".join(line).rstrip() for line in (lines[0], rule, *lines[1:]))
    rule = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def explained(error: argparse.ArgumentError) -> str:
    """What jsonargparse says of a bad value, without its inner workings."""
    return _in_words(" ".join(str(error).split()))


def _in_words(text: str) -> str:
    text = text.replace(" - Expected a <class 'NoneType'>", "")  # of an option that may be left out
    found = re.match(r'Parser key "(?P<option>[\w.]+)": .*?(?:Got|Given) value: (?P<value>.*)$', text)
    if found is None:
        return text
    option, value = found["option"], found["value"]
    if inner := re.search(r"Problem with given class_path '[\w.]+': (.*?) Given value type", text):
        return f"{option}: {_in_words(inner[1])}"
    if literal := re.search(r"Literal\[(.*?)\]", text):
        words = [word.strip(" '\"") for word in literal[1].split(",")]
        near = difflib.get_close_matches(value, words, n=1, cutoff=0.5)
        other = " or a mapping" if "Protocol" in text else " or a list of numbers" if "Sequence" in text else ""
        guess = f"; did you mean {near[0]}?" if near else ""
        return f"{option} must be one of {', '.join(words)}{other}, got {value!r}{guess}"
    if re.search(r"Not a valid subclass|dot import path", text):
        return f"{option}: expected a mapping of options, got {value!r}"
    kind = re.search(r"Expected an? (?:<class ')?([\w.]+)", text)
    return f"{option}: expected {kind[1]}, got {value!r}" if kind else text
