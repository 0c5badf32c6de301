"""``graphprune demo``: ICPG and its controls on an embedded OGB set, a few minutes on two cores."""

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

from graphprune.bench.config import RunConfig
from graphprune.bench.folder import METRICS
from graphprune.bench.grid import Job, Outcome, processes, run_grid
from graphprune.bench.progress import bars
from graphprune.bench.report import needed, write_report

# Width, dropout and learning rate: the best validation metric of the dense network among a handful that fit the time.
SEEDS = (0, 1, 2)
ROUNDS = 5
COMMON: dict[str, Any] = {
    "data": {"name": "ogbg-molbace"},
    "model": {"name": "gin", "hidden": 64, "layers": 3, "dropout": 0.2},
    "fit": {"epochs": 16, "lr": 3e-3, "batch_size": 64},
}
# The paper's rates.
RATES = {"rounds": ROUNDS, "edge_rate": 0.05, "weight_rate": 0.2}
METHODS: dict[str, dict[str, Any]] = {
    "icpg": RATES,
    "imp": {name: value for name, value in RATES.items() if name != "edge_rate"},
    "random": RATES,
    "dense": {},
    "no-edges": {},
}


def run_demo(out: Path, workers: int = 2) -> int:
    """Compare ICPG with its controls on ogbg-molbace and write a report.

    Runs ICPG, iterative magnitude pruning, random pruning, the dense network, the same network without any edges and
    a small dense network of the last ticket's size, three seeds each, validation selecting the epoch. The same command
    goes on where an interrupted demo stopped.
    """
    needed()
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    started = time.monotonic()
    jobs = [_job(out, name, seed, options) for seed in SEEDS for name, options in METHODS.items()]
    print(
        f"{len(jobs) + len(SEEDS)} runs of {COMMON['model']['name']} on {COMMON['data']['name']} in {out}, "
        f"{workers} at a time; Ctrl-C stops, the same command goes on"
    )
    with processes(workers) as executor, _shown(len(jobs) + len(SEEDS)) as show:
        outcomes = run_grid(jobs, executor, lambda done: show(done, jobs))
        twins = [
            _job(out, "small-dense", seed, {"params": _size(outcome)})
            for seed, outcome in zip(SEEDS, outcomes[:: len(METHODS)], strict=True)
            if outcome.rows
        ]
        outcomes += run_grid(twins, executor, lambda done: show([*outcomes, *done], [*jobs, *twins]))
    written = write_report([out], out)
    print(f"\n{written.summary}\n\n{time.monotonic() - started:.0f} s; report: {written.markdown}\n{written.html}")
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        print(f"failed: {outcome.job.config.title}: {outcome.error}", file=sys.stderr)
    return 1 if failed else 0


def _job(out: Path, method: str, seed: int, options: dict[str, Any]) -> Job:
    config = RunConfig.of({"method": {"name": method, **options}, **COMMON, "seed": seed})
    return Job(config, out / f"{method}-seed{seed}")


def _size(outcome: Outcome) -> int:
    return int(outcome.rows[-1]["params_kept"])


# ---------------------------------------------------------------------- progress

Show = Callable[[Sequence[Outcome], Sequence[Job]], None]


@contextmanager
def _shown(total: int) -> Iterator[Show]:
    """A bar a running job in a terminal, else a line a finished one."""
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
                print(f"{len(self._told)}/{self._total} {_told(outcome)}", flush=True)


class _Board:
    """Reads the metrics that the running jobs write: that works for any executor."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("runs", total=total, text="")
        self._tasks: dict[Path, Any] = {}

    def __call__(self, done: Sequence[Outcome], jobs: Sequence[Job]) -> None:
        finished = {outcome.job.out for outcome in done}
        for outcome in done:
            if (task := self._tasks.pop(outcome.job.out, None)) is not None:
                self._progress.remove_task(task)
                self._progress.console.print(_told(outcome), markup=False, highlight=False)
        for job in jobs:
            if job.out not in finished and (entry := _latest(job.out / METRICS)):
                if job.out not in self._tasks:
                    self._tasks[job.out] = self._progress.add_task(
                        job.out.name, total=job.config.method.get("rounds", 1), text=""
                    )
                text = f"{entry['phase']}, epoch {entry['epoch']}, val {entry['val_metric']:.4f}"
                self._progress.update(self._tasks[job.out], completed=entry["round"] - 1, text=text)
        self._progress.update(self._all, completed=len(done))


def _told(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.job.out.name}: {outcome.error}"
    row = outcome.rows[-1]
    seconds = sum(row["seconds"] for row in outcome.rows)
    return (
        f"{outcome.job.out.name}: edges removed {row['edge_sparsity_test']:.1%} (test), weights removed "
        f"{row['weight_sparsity']:.1%}, test {row['metric']} {row['test_metric']:.4f}, {seconds:.0f} s"
    )


def _latest(file: Path) -> dict[str, Any] | None:
    try:
        with file.open(encoding="utf-8") as stream:
            (line,) = deque(stream, maxlen=1)
        entry: dict[str, Any] = json.loads(line)
    except (OSError, ValueError):  # not there yet, or a line that is just being written
        return None
    return entry
