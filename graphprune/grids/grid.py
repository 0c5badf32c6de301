"""Many runs on any executor: processes here, Dask, or whatever else speaks ``concurrent.futures``."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import graphprune
from graphprune.runs.config import RunConfig
from graphprune.runs.folder import Row, RunFolder
from graphprune.runs.run import run_one

# Torch's random state belongs to a process: jobs that an executor gives to threads of one process take turns.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Job:
    """One run of a grid.

    Attributes:
        config: what to compute.
        out: its folder.
        name: in messages.
        threads: of torch, in the process that runs it; None: as they are there. Small graph networks gain more from
            runs side by side than from threads.
        version: of the package that asks for it.
    """

    config: RunConfig
    out: Path
    name: str
    threads: int | None = 1
    version: str = graphprune.__version__


@dataclass(frozen=True)
class Outcome:
    """What became of a job; plain data, so that it comes back from any executor.

    Attributes:
        job: the job.
        rows: its results; empty if it failed.
        error: why it failed: kind and text of the error.
        trace: where it failed.
        earlier: it was finished before this grid asked for it.
    """

    job: Job
    rows: list[Row]
    error: str | None = None
    trace: str = ""
    earlier: bool = False


def standing(job: Job) -> Outcome | None:
    """What can be said of a job from its folder alone: its results, or that something else is there.

    Takes a few milliseconds: neither data nor models are made. None: there is something to compute.
    """
    try:
        rows = RunFolder(job.out).finished_rows(job.config)
    except (ValueError, OSError) as error:
        return _failed(job, error)
    return None if rows is None else Outcome(job, rows, earlier=True)


def run_grid(
    jobs: Sequence[Job], executor: Executor, tick: Callable[[list[Outcome]], None] | None = None
) -> list[Outcome]:
    """Run all jobs; one that fails does not stop the others, and finished ones are only looked at.

    Args:
        jobs: in the order in which they are handed out; each with a folder of its own.
        executor: where they run; their folders must be reachable from there. One that gives a job of a dead process to
            another one, as both of :mod:`graphprune.grids.executors` do, costs that job its current round.
        tick: called about twice a second with the outcomes so far.

    Returns:
        An outcome for each job, in their order.
    """
    found = {job.out: standing(job) for job in jobs}
    done = {out: outcome for out, outcome in found.items() if outcome is not None}
    futures: dict[Future[Outcome], Job] = {executor.submit(run_job, job): job for job in jobs if job.out not in done}
    left = set(futures)
    while True:
        if tick is not None:
            tick(list(done.values()))
        if not left:
            return [done[job.out] for job in jobs]
        finished, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished:
            done[futures[future].out] = _outcome(futures[future], future)


def run_job(job: Job) -> Outcome:
    """Run a job in this process.

    Where another process runs in its folder, such as the worker of a grid that was killed, it waits: what that one
    finishes need not be computed again.
    """
    bare = replace(job, config=replace(job.config, objects={}))  # a user's data need not travel back
    with _TURN:
        try:
            if job.version != graphprune.__version__:
                raise RuntimeError(
                    f"the grid was started by graphprune {job.version}, this worker has {graphprune.__version__}"
                )
            if job.threads is not None:
                torch.set_num_threads(job.threads)
            while True:
                RunFolder(job.out).wait()
                try:
                    return Outcome(bare, run_one(job.config, job.out))
                except BlockingIOError:
                    continue
        except Exception as error:
            return _failed(bare, error)


def _outcome(job: Job, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except CancelledError:
        return Outcome(job, [], "lost: the executor was shut down, or its scheduler went away")
    except Exception as error:
        return _failed(job, error)


def _failed(job: Job, error: Exception) -> Outcome:
    text = " ".join(str(error).split())
    return Outcome(job, [], f"{type(error).__name__}: {text}", "".join(traceback.format_exception(error)))
