"""What tests let processes do, and a program whose processes outlive it if nothing ends them."""

import os
import signal
import sys
import time
from pathlib import Path

from graphprune.grids.executors import processes


def add(one: int, other: int) -> int:
    return one + other


def fail(text: str) -> None:
    raise KeyError(text)


def die_once(mark: Path) -> int:
    """Kills its process, unless it has been here."""
    if mark.exists():
        return os.getpid()
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def die(tries: Path) -> None:
    with tries.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def linger(mark: Path) -> None:
    """Stays, and says who it is."""
    mark.write_text(str(os.getpid()))
    time.sleep(120)


if __name__ == "__main__":
    from tests.grids import calls  # under its own name, by which the processes find it

    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit that it is ignored
    with processes(2) as executor:
        futures = [executor.submit(calls.linger, Path(mark)) for mark in sys.argv[1:]]
        futures[0].result()
