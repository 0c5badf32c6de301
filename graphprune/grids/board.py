"""How many runs side by side show themselves: a bar a running one in a terminal, a line a finished one elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import Progress

from graphprune.grids.grid import Job, Outcome
from graphprune.runs.build import last_round
from graphprune.runs.folder import METRICS
from graphprune.runs.progress import bars, validation

Show = Callable[[Sequence[Outcome], Sequence[Job]], None]


@contextmanager
def shown(total: int) -> Iterator[Show]:
    """A function of the outcomes so far and all jobs; runs that were finished before are counted, not told.

    Args:
        total: number of runs, if more jobs are to come.
    """
    if sys.stderr.isatty():
        with bars() as progress:
            yield _Board(progress, total)
    else:
        yield _Log(total)


class _Log:
    def __init__(self, total: int) -> None:
        self._total = total
        self._told: set[Path] = set()

    def __call__(self, done: Sequence[Outcome], jobs: Sequence[Job]) -> None:
        for outcome in done:
            if outcome.job.out not in self._told:
                self._told.add(outcome.job.out)
                if not outcome.earlier:
                    print(f"{len(self._told)}/{self._total} {_told(outcome)}", flush=True)


class _Board:
    """Reads the metrics that the running jobs write: that works for any executor."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("runs", total=total, text="")
        self._tasks: dict[Path, Any] = {}
        self._told: set[Path] = set()
        self._started = time.time()

    def __call__(self, done: Sequence[Outcome], jobs: Sequence[Job]) -> None:
        for outcome in done:
            if outcome.job.out not in self._told:
                self._told.add(outcome.job.out)
                self._tell(outcome)
        for job in jobs:
            if job.out not in self._told and (entry := _latest(job.out / METRICS, self._started)):
                if job.out not in self._tasks:
                    self._tasks[job.out] = self._progress.add_task(job.name, total=last_round(job.config), text="")
                text = f"{entry['phase']}, {validation(entry)}epoch {entry['epoch']}"
                self._progress.update(self._tasks[job.out], completed=entry["round"] - 1, text=text)
        self._progress.update(self._all, completed=len(done))

    def _tell(self, outcome: Outcome) -> None:
        if (task := self._tasks.pop(outcome.job.out, None)) is not None:
            self._progress.remove_task(task)
        if not outcome.earlier:
            self._progress.console.print(_told(outcome), markup=False, highlight=False, soft_wrap=True)


def _told(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.job.name}: {outcome.error}"
    row = outcome.rows[-1]
    seconds = sum(row["seconds"] for row in outcome.rows)
    return (
        f"{outcome.job.name}: edges removed {row['edge_sparsity_test']:.1%} (test), weights removed "
        f"{row['weight_sparsity']:.1%}, test {row['metric']} {row['test_metric']:.4f}, {seconds:.0f} s"
    )


def _latest(file: Path, since: float) -> dict[str, Any] | None:
    """The last line, if anything was written lately: what an interrupted run left says nothing of a running one."""
    try:
        if file.stat().st_mtime < since:
            return None
        with file.open(encoding="utf-8") as stream:
            (line,) = deque(stream, maxlen=1)
        entry: dict[str, Any] = json.loads(line)
    except (OSError, ValueError):  # not there yet, or a line that is just being written
        return None
    return entry
