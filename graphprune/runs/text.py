"""Tables as text, for terminals and Markdown."""

from __future__ import annotations

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
