"""A whole grid of runs, by ``graphprune bench`` or from Python: one folder a cell, and what became of each."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from graphprune.files import below, taking_turns, write_json, write_text
from graphprune.grids.board import shown
from graphprune.grids.executors import processes
from graphprune.grids.file import read_grid
from graphprune.grids.grid import Job, Outcome, run_grid, standing
from graphprune.report.report import write_report
from graphprune.runs.entries import CELLS
from graphprune.runs.folder import CONFIG, RESULTS
from graphprune.sealed import seal

GRID = "grid.yaml"


def run(
    grid: Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
) -> list[Outcome]:
    """Run every cell of a grid that is not finished, and write the report on all of them.

    A script that calls this needs the guard ``if __name__ == "__main__":``, as worker processes import it again.

    Args:
        grid: what a grid file holds, or such a file. Entries of ``data``, ``models`` and ``methods`` may also be
            objects, or mappings with one as ``object``, a ``name`` and options for it, and so may ``fit`` wherever it
            stands; see docs/grids-from-python.md and :data:`graphprune.runs.objects.KINDS`.
        out: gets a folder a cell, ``grid.yaml`` (the grid), ``cells.json`` (the state of every cell) and the report.
            The same call goes on where an earlier one stopped.
        workers: processes side by side; None: one a CPU.
        executor: runs the cells in place of such processes, as that of :func:`graphprune.grids.dask`; it stays open.

    Returns:
        What became of each cell, in the order in which they run; where one fails the others go on.

    Raises:
        ValueError: a mistake in the grid, or an object that no other process would recognise, before anything runs; the
            text has its place.
        FileNotFoundError: there is no such file.
        FileExistsError: ``out`` is a file, or the folder of a single run, or cells hold something else than the grid
            asks for, such as results of a function that has changed since.
        RuntimeError: the guard is missing.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError("a worker came here as it imported the script: call this under if __name__ == '__main__':")
    source = grid if isinstance(grid, Mapping) else Path(grid)
    if executor is None:
        _check_main(source)
    elif workers is not None:
        raise ValueError("give workers or an executor, which has workers of its own")
    number = (os.cpu_count() or 1) if workers is None else workers
    return run_cells(source, Path(out), processes(number) if executor is None else nullcontext(executor))


def _check_main(source: Path | Mapping[str, Any]) -> None:
    """Processes import the script again; what was typed into a prompt or a notebook they cannot."""
    if Path(getattr(sys.modules["__main__"], "__file__", None) or "").is_file():
        return
    for cell in read_grid(source).cells:
        if "__main__:" in (text := str(cell.config.plain())):
            name = re.findall(r"__main__:([\w.]+)", text)[0]
            raise ValueError(
                f"{name} was typed into this session, where worker processes do not find it: move it to a module, or "
                "give executor=concurrent.futures.ThreadPoolExecutor(1)"
            )


def run_bench(file: Path, out: Path, workers: AbstractContextManager[Executor]) -> int:
    """What ``graphprune bench`` does: see :func:`run_cells`; returns 0, or 1 if a cell failed."""
    return int(any(outcome.error is not None for outcome in run_cells(file, out, workers)))


def run_cells(source: Path | Mapping[str, Any], out: Path, workers: AbstractContextManager[Executor]) -> list[Outcome]:
    """What :func:`run` does, with an executor that ``workers`` gives: see :mod:`graphprune.grids.executors`.

    Raises:
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
        with taking_turns(out):
            write_text(out / GRID, grid.text)
        print(f"{len(jobs)} cells in {out}, {len(before)} finished; Ctrl-C stops, the same command goes on", flush=True)
        states: list[dict[str, str]] = []

        def tick(done: list[Outcome]) -> None:
            nonlocal states
            done = [*before, *done]
            show(done, jobs)
            if (now := _states(jobs, done)) != states:
                states = now
                with taking_turns(out):
                    write_json(out / CELLS, [seal(state) for state in states])

        with shown(len(jobs)) as show:
            outcomes = run_grid(rest, executor, tick)
    _say_report(out, started)
    _say_strangers(out, jobs)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        print(f"failed: {outcome.job.name}: {outcome.error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(jobs)} cells failed; {out / CELLS} says where", file=sys.stderr)
    by_name = {outcome.job.name: outcome for outcome in (*before, *outcomes)}
    return [by_name[job.name] for job in jobs]


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
