"""Many runs on any executor: processes here, or whatever else speaks ``concurrent.futures``."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from graphprune.bench.config import RunConfig
from graphprune.bench.folder import Row
from graphprune.bench.run import run_one


@dataclass(frozen=True)
class Job:
    """One run of a grid.

    Attributes:
        config: what to compute.
        out: its folder.
        threads: of torch, in the process that runs it; None: as they are there. Small graph networks gain more from
            runs side by side than from threads.
    """

    config: RunConfig
    out: Path
    threads: int | None = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: the job.
        rows: its results; empty if it failed.
        error: why it failed.
    """

    job: Job
    rows: list[Row]
    error: Exception | None = None


def run_grid(
    jobs: Sequence[Job], executor: Executor, tick: Callable[[list[Outcome]], None] | None = None
) -> list[Outcome]:
    """Run all jobs; one that fails does not stop the others, and finished ones cost next to nothing.

    Args:
        jobs: in the order in which they are handed out.
        executor: where they run; their folders must be reachable from there.
        tick: called about twice a second with the outcomes so far.

    Returns:
        An outcome for each job, in their order.
    """
    futures: dict[Future[list[Row]], Job] = {executor.submit(_run, job): job for job in jobs}
    done: dict[Path, Outcome] = {}
    left = set(futures)
    while left:
        finished, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished:
            done[futures[future].out] = _outcome(futures[future], future)
        if tick is not None:
            tick(list(done.values()))
    return [done[job.out] for job in jobs]


def _outcome(job: Job, future: Future[list[Row]]) -> Outcome:
    try:
        return Outcome(job, future.result())
    except Exception as error:
        return Outcome(job, [], error)


def _run(job: Job) -> list[Row]:
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    return run_one(job.config, job.out)


@contextmanager
def processes(number: int) -> Iterator[Executor]:
    """An executor of so many processes; an error or Ctrl-C inside the block ends them."""
    # Ctrl-C reaches every process of a terminal: they end at once, as any run can be taken up again. The initialiser
    # is a plain function of the standard library, so that this holds while they still import torch.
    executor = ProcessPoolExecutor(
        number,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
