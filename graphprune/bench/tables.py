"""Tables as text, for terminals and Markdown, and how numbers are written in them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from graphprune.bench.collect import Stat
from graphprune.bench.stats import LEVEL, MIN_PAIRS, Interval

PERCENT = f"{LEVEL:.0%}"
_NUMBER = re.compile(r"[\[+−-]?\d")


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: heading.
        caption: what the numbers are, and over how many runs.
        head: names of the columns.
        rows: cells, as many as columns in each row.
    """

    title: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def without(self, columns: Collection[str]) -> Table:
        """This table less the columns of these names."""
        kept = [place for place, name in enumerate(self.head) if name not in columns]
        rows = [[row[place] for place in kept] for row in self.rows]
        return replace(self, head=[self.head[place] for place in kept], rows=rows)

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return numeric(self.rows, len(self.head))


def numeric(rows: Sequence[Sequence[str]], columns: int) -> list[bool]:
    """Which columns behind the first have a cell that begins with a number."""
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


def spread(stat: Stat) -> str:
    """Mean ± standard deviation; says in how many runs the metric is undefined."""
    if not stat.finite:
        return "undefined"
    text = f"{stat.mean:.4f}" + ("" if math.isnan(stat.sd) else f" ± {stat.sd:.4f}")
    missing = stat.count - stat.finite
    return f"{text} (undefined in {missing} of {stat.count} runs)" if missing else text


def percent(stat: Stat) -> str:
    """A mean share, in percent."""
    return share(stat.mean) if stat.finite else "–"


def share(value: float) -> str:
    """A share, in percent."""
    return f"{100 * value:.2f} %"


def signed(found: Interval) -> str:
    """A difference and its interval."""
    if math.isnan(found.mean):
        return "–"
    ends = "" if math.isnan(found.low) else f" [{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.mean:+.4f}{ends}".replace("-", "−")


def ends(found: Interval) -> str:
    """An interval alone; of too few runs it would only be their range."""
    return "–" if found.n < MIN_PAIRS or math.isnan(found.low) else f"[{found.low:.4f}, {found.high:.4f}]"
