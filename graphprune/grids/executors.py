"""Where the runs of a grid compute: processes of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

RESTARTS = 3  # as a Dask scheduler does by default


class Processes(Executor):
    """So many processes, each fed by a thread; a call whose process dies runs again in a new one.

    ``ProcessPoolExecutor`` would end all of its processes with the first that dies.

    Args:
        number: of processes; they start when they are needed.
    """

    def __init__(self, number: int) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._own = threading.local()
        self._lock = threading.Lock()
        self._running: set[_Worker] = set()
        self._closed = False
        # Daemons and a last resort: a second Ctrl-C in the middle of a shutdown must leave nobody waiting.
        atexit.register(self.shutdown, wait=False)
        self._threads = [threading.Thread(target=self._feed, daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in one of the processes; it and all it takes and returns must pickle.

        The future raises ``BrokenExecutor`` where the call killed its process again and again.
        """
        future: Future[Any] = Future()
        with self._lock:
            self._check_open()
            self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: behind the last call, or now if nobody waits."""
        with self._lock:
            self._closed = True
            while (cancel_futures or not wait) and not self._calls.empty():
                if (waiting := self._calls.get()) is not None:
                    waiting[0].cancel()
            for _ in self._threads:
                self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join()
        with self._lock:
            for worker in self._running:
                worker.end()
        atexit.unregister(self.shutdown)

    def _check_open(self) -> None:
        if self._closed:
            raise BrokenExecutor("the executor was shut down")

    def _feed(self) -> None:
        """What a thread does: hand calls to its process, and answers to those who asked."""
        _deaf()
        while (waiting := self._calls.get()) is not None:
            future, call = waiting
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._call(call))
                except Exception as error:
                    future.set_exception(error)

    def _call(self, call: Callable[[], Any]) -> Any:
        for _ in range(1 + RESTARTS):
            worker = self._worker()
            try:
                answer, error = worker.ask(call)
            except (EOFError, OSError):
                how = self._bury(worker)
                continue
            if error is not None:
                raise error
            return answer
        raise BrokenExecutor(f"its process died {1 + RESTARTS} times, the last time by {how}")

    def _worker(self) -> _Worker:
        """This thread's process."""
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            with self._lock:
                self._check_open()
                self._own.worker = worker = _Worker()
                self._running.add(worker)
        return worker

    def _bury(self, worker: _Worker) -> str:
        """Forget a process that died; how it did."""
        self._own.worker = None
        with self._lock:
            self._running.discard(worker)
            return worker.end()


class _Worker:
    """A process that answers calls."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in any state
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_answer, args=(there,))
        self._process.start()
        there.close()  # so that the pipe ends with the process

    def ask(self, call: Callable[[], Any]) -> tuple[Any, Exception | None]:
        self._pipe.send(call)
        answer: tuple[Any, Exception | None] = self._pipe.recv()
        return answer

    def end(self) -> str:
        """End the process at once; how it died."""
        self._process.terminate()
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


def _answer(pipe: Connection) -> None:
    """Answer calls until the other end is gone. A parent that is killed takes its processes along in mid-run."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        answer, failure = None, None
        try:
            answer = call()
        except Exception as error:
            failure = error
        pipe.send((answer, failure))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _deaf() -> None:
    """Keep a terminal's Ctrl-C from the processes that this thread starts: the parent ends them."""
    if sys.platform != "win32":
        resource_tracker.ensure_running()  # the first process would start it, which unblocks the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextmanager
def processes(number: int) -> Iterator[Executor]:
    """An executor of so many processes; an error or Ctrl-C inside the block ends them at once.

    Raises:
        ValueError: fewer than one.
    """
    if number < 1:
        raise ValueError(f"--workers must be at least 1, got {number}")
    with _ended_at_once(Processes(number)) as executor:
        yield executor


@contextmanager
def dask(scheduler: str, timeout: float = 10.0) -> Iterator[Executor]:
    """The workers of a Dask scheduler, and so whatever Dask runs on.

    A cell whose worker dies is given to another one, up to ``distributed.scheduler.allowed-failures`` times (3 unless
    the scheduler is told otherwise).

    Args:
        scheduler: its address, such as ``tcp://127.0.0.1:8786``.
        timeout: seconds to wait for it.

    Raises:
        ImportError: the extra ``dask`` is missing.
        ConnectionError: nobody answers there.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise ImportError("--executor dask needs the package distributed: pip install 'graphprune[dask]'") from error
    # Tracebacks of lost connections: what becomes of the cells is told as their outcome.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        get_address_host_port(scheduler)  # a client of a bad address takes long to give up
        client = Client(scheduler, timeout=timeout, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler to be reached at {scheduler!r}: {' '.join(str(error).split())}. Start one with 'dask "
            "scheduler', and workers with 'dask worker ADDRESS --nthreads 1'"
        ) from error
    with client, _ended_at_once(client.get_executor(pure=False)) as executor:  # type: ignore[no-untyped-call]
        yield executor


@contextmanager
def _ended_at_once(executor: Executor) -> Iterator[Executor]:
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False)
        raise
    executor.shutdown()
