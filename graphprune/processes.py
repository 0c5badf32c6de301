"""Processes that compute side by side, and end with the one that has started them, whatever ends that."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from pebble import ProcessExpired, ProcessPool

RESTARTS = 3  # as a Dask scheduler does by default


class Processes(Executor):
    """So many processes; a call whose process dies runs again in a new one, up to ``RESTARTS`` times.

    Each process is a pool of its own, fed by a thread: processes of one pool share pipes and locks, with which one that
    is killed could take the others along.

    Args:
        number: of processes; they start when they are needed.
    """

    def __init__(self, number: int) -> None:
        self._threads = ThreadPoolExecutor(number)
        self._lock = threading.Lock()
        self._idle = [_one_process() for _ in range(number)]
        self._running: dict[ProcessPool, Future[Any]] = {}
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in one of the processes; it and all it takes and returns must pickle.

        The future raises ``BrokenExecutor`` where the call killed its process again and again.
        """
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after the last call, or now if nobody waits."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures or not wait)
        with self._lock:
            self._closed = True
            pools = [*self._idle, *self._running]
            for pool in pools:
                pool.stop()  # type: ignore[no-untyped-call]
            for call in self._running.values():
                call.cancel()
        for pool in pools:
            pool.join()

    def _call(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        how = "something that left no trace"
        for _ in range(1 + RESTARTS):
            with self._lock:
                if self._closed:
                    raise BrokenExecutor("the executor was shut down")
                pool = self._idle.pop()
                if not pool.active:  # its process died while it had nothing to do
                    pool = _one_process()
                self._running[pool] = call = pool.schedule(fn, args, kwargs)
            try:
                return call.result()
            except CancelledError:
                raise BrokenExecutor("the executor was shut down") from None
            except ProcessExpired as error:
                how = _how(error.exitcode)
            except BrokenProcessPool:  # before pebble knew what it was at; the next death will tell
                continue
            finally:
                with self._lock:
                    del self._running[pool]
                    self._idle.append(pool)
        raise BrokenExecutor(f"its process died {1 + RESTARTS} times, by {how}")


def _one_process() -> ProcessPool:
    # A fork would inherit torch's threads in any state.
    return ProcessPool(1, initializer=_die_at_once, context=multiprocessing.get_context("spawn"))


def _die_at_once() -> None:
    """End when told to, and with a parent that is killed, in the middle of a run."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler would wait for the end of an operation
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _how(code: int) -> str:
    return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Another Ctrl-C changes nothing; threads but the main one never get any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def processes(number: int) -> Iterator[Executor]:
    """An executor of so many processes; an error or Ctrl-C inside the block ends them at once.

    Raises:
        ValueError: fewer than one.
    """
    if number < 1:
        raise ValueError(f"--workers must be at least 1, got {number}")
    with ended_at_once(Processes(number)) as executor:
        yield executor


@contextmanager
def ended_at_once(executor: Executor) -> Iterator[Executor]:
    """The executor, which an error or Ctrl-C inside the block ends at once."""
    try:
        yield executor
        executor.shutdown()
    except BaseException:
        with _undisturbed():
            executor.shutdown(wait=False)
        raise
