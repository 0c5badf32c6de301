"""Tables as text, for terminals and Markdown, and how numbers are written in them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from graphprune.report.results import Stat
from graphprune.report.stats import LEVEL, MIN_PAIRS, Interval
from graphprune.runs.text import numeric

PERCENT = f"{LEVEL:.0%}"


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
