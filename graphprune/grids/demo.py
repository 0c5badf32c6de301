"""``graphprune demo``: ICPG and its controls on an embedded OGB set, a few minutes on two cores."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from graphprune.grids.board import shown
from graphprune.grids.executors import processes
from graphprune.grids.grid import Job, Outcome, run_grid
from graphprune.report.report import needed, write_report
from graphprune.runs.config import RunConfig

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
    started = time.monotonic()
    jobs = [_job(out, name, seed, options) for seed in SEEDS for name, options in METHODS.items()]
    print(
        f"{len(jobs) + len(SEEDS)} runs of {COMMON['model']['name']} on {COMMON['data']['name']} in {out}, "
        f"{workers} at a time; Ctrl-C stops, the same command goes on"
    )
    with processes(workers) as executor, shown(len(jobs) + len(SEEDS)) as show:
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
    name = f"{method}-seed{seed}"
    return Job(config, out / name, name)


def _size(outcome: Outcome) -> int:
    return int(outcome.rows[-1]["params_kept"])
