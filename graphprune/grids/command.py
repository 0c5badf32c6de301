"""``graphprune bench``: a grid of runs, one folder a cell, and what became of each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from graphprune.files import below, write_json, write_text, writing
from graphprune.grids.board import shown
from graphprune.grids.file import read_grid
from graphprune.grids.grid import Job, Outcome, run_grid, standing
from graphprune.report.records import CELLS
from graphprune.report.report import write_report
from graphprune.runs.folder import CONFIG, RESULTS

GRID = "grid.yaml"


def run_bench(source: Path | Mapping[str, Any], out: Path, workers: AbstractContextManager[Executor]) -> int:
    """Run every cell of a grid that is not finished, and write the report on all of them.

    Args:
        source: a grid file, see docs/grids.md, or what such a file holds.
        out: gets a folder a cell, ``grid.yaml`` (the grid), ``cells.json`` (the state of every cell) and the
            report. The same call goes on where an earlier one stopped.
        workers: gives the executor; see :mod:`graphprune.grids.executors`.

    Returns:
        0, or 1 if a cell failed.

    Raises:
        ValueError: a mistake in the grid, before anything runs; the text has its place.
        FileNotFoundError: there is no such file.
        FileExistsError: ``out`` is a file, or the folder of a single run, or cells hold something else than the grid
            asks for.
        ConnectionError: the executor cannot be reached.
    """
    started = time.monotonic()
    grid = read_grid(source)
    if (out / CONFIG).exists() or (out.exists() and not out.is_dir()):
        raise FileExistsError(f"{out} is a file or holds a single run; choose another --out")
    jobs = [Job(cell.config, out.absolute() / cell.name, cell.name) for cell in grid.cells]
    before = [outcome for job in jobs if (outcome := standing(job)) is not None]
    _refuse_changed(before)
    settled = {outcome.job.name for outcome in before}
    grid.check_data(cell for cell in grid.cells if cell.name not in settled)
    rest = [job for job in jobs if job.name not in settled]
    with workers as executor:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        write_text(out / GRID, grid.text)
        print(f"{len(jobs)} cells in {out}, {len(before)} finished; Ctrl-C stops, the same command goes on", flush=True)
        states: list[dict[str, str]] = []

        def tick(done: list[Outcome]) -> None:
            nonlocal states
            done = [*before, *done]
            show(done, jobs)
            if (now := _states(jobs, done)) != states:
                states = now
                write_json(out / CELLS, states)

        with shown(len(jobs)) as show:
            outcomes = run_grid(rest, executor, tick)
    _say_report(out, started)
    _say_strangers(out, jobs)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        print(f"failed: {outcome.job.name}: {outcome.error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(jobs)} cells failed; {out / CELLS} says where", file=sys.stderr)
    return 1 if failed else 0


def _refuse_changed(before: Sequence[Outcome]) -> None:
    """Nothing of a series runs with new options while other cells of it hold results of the old ones."""
    changed = [outcome for outcome in before if outcome.error is not None]
    if changed:
        more = f", as are {len(changed) - 1} other cells" if len(changed) > 1 else ""
        raise FileExistsError(
            f"{changed[0].error}. That is cell {changed[0].job.name}{more}: give the changed entry a label of its own, "
            "or delete these folders to compute them again"
        )


def _states(jobs: Sequence[Job], done: Sequence[Outcome]) -> list[dict[str, str]]:
    by_name = {outcome.job.name: outcome for outcome in done}
    return [{"cell": job.name, **_state(by_name.get(job.name))} for job in jobs]


def _state(outcome: Outcome | None) -> dict[str, str]:
    if outcome is None:
        return {"state": "unfinished"}
    if outcome.error is None:
        return {"state": "done"}
    return {"state": "failed", "error": outcome.error, "trace": outcome.trace}


def _say_report(out: Path, started: float) -> None:
    """Write the report, if it can be written: cells that failed are listed all the same."""
    try:
        written = write_report([out], out)
    except (ImportError, ValueError, FileNotFoundError) as error:
        print(f"no report: {error}", file=sys.stderr)
        return
    print(f"\n{written.summary}\n\n{time.monotonic() - started:.0f} s; report: {written.markdown}\n{written.html}")


def _say_strangers(out: Path, jobs: Sequence[Job]) -> None:
    """Runs of an earlier grid, which the report holds too."""
    mine = {job.out for job in jobs}
    strangers = sorted(
        os.path.relpath(file.parent, out) for file in below(out.absolute(), RESULTS) if file.parent not in mine
    )
    if strangers:
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        print(f"in the report, but not in this grid: {', '.join(strangers[:3])}{more}", file=sys.stderr)
