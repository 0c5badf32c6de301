"""How numbers are written in tables, and what is told once a table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from graphprune.methods.core.shown import Table
from graphprune.report.results import Stat
from graphprune.report.stats import LEVEL, MIN_PAIRS, Interval

PERCENT = f"{LEVEL:.0%}"
_FEW = re.compile(r"^too few runs \(\d+ of at least \d+\)")


def table(
    title: str,
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    best: Iterable[tuple[int, int]] = (),
) -> Table:
    """A table whose caption says once that runs are too few, where any of its cells would."""
    cells = [list(row) for row in rows]
    if any(_FEW.match(cell) for row in cells for cell in row):
        caption += f" Where a claim is left out (–), there are too few runs for one: it takes {MIN_PAIRS}."
        cells = [[_FEW.sub("–", cell) for cell in row] for row in cells]
    return Table(title, caption.strip(), head, cells, frozenset(best))


def mean_sd(stat: Stat) -> str:
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
    """A share, in percent; NaN where there is nothing to have a share of."""
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def signed(found: Interval) -> str:
    """A difference and its interval."""
    if math.isnan(found.mean):
        return "–"
    ends = "" if math.isnan(found.low) else f" [{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.mean:+.4f}{ends}".replace("-", "−")


def ends(found: Interval) -> str:
    """An interval alone; of too few runs it would only be their range."""
    return "–" if found.n < MIN_PAIRS or math.isnan(found.low) else f"[{found.low:.4f}, {found.high:.4f}]"
