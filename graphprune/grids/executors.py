"""Where the runs of a grid compute: processes of this machine, or the workers of a Dask scheduler."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from graphprune.processes import ended_at_once, processes

__all__ = ["dask", "processes"]


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
    with client, ended_at_once(client.get_executor(pure=False)) as executor:  # type: ignore[no-untyped-call]
        yield executor
