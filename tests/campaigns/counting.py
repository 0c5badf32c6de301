"""What campaigns count, and how they run one trial: in a process of its own, with limits of time and memory."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

KEPT = 5  # examples of each fault


class Counters:
    """How often what happened, with a few examples, for a limited time.

    Args:
        faults: what is to be 0 in the end.
        seconds: until `running` ends.
    """

    def __init__(self, faults: tuple[str, ...], seconds: float) -> None:
        self.faults, self.found = faults, Counter(dict.fromkeys(faults, 0))
        self.examples: dict[str, list[str]] = defaultdict(list)
        self._end = time.monotonic() + seconds

    def running(self, trials: int) -> Iterator[int]:
        """Numbers of trials, until there were so many or the time is over."""
        for number in range(trials):
            if time.monotonic() > self._end:
                return
            yield number

    def add(self, what: str, example: str = "") -> None:
        """Count; of faults examples are kept."""
        self.found[what] += 1
        if what in self.faults and len(self.examples[what]) < KEPT:
            self.examples[what].append(example)
            print(f"{what}: {example}", file=sys.stderr, flush=True)

    def close(self, file: Path | None = None) -> int:
        """Print all; the number of faults."""
        print(json.dumps(found := {"counts": dict(self.found), "examples": dict(self.examples)}, indent=1))
        if file is not None:
            file.write_text(json.dumps(found, indent=1) + "\n")
        return sum(self.found[fault] for fault in self.faults)


def options(about: str | None, trials: dict[str, int], seconds: float) -> argparse.Namespace:
    """What a campaign is told: how many trials of each kind there are at most, and for how long."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, number in trials.items():
        parser.add_argument(f"--{kind}", type=int, default=number)
    parser.add_argument("--seconds", type=float, default=seconds, help="for all of it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="names of subjects or commands")
    parser.add_argument("--json", type=Path, help="file for the counts")
    torch.set_num_threads(1)
    return parser.parse_args()


def child(call: Callable[[], int | None], log: Path, memory: int | None = None) -> int:
    """Start a process that makes a call; its number. It ends with 0, the call's code, or 70 for an error in the log."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        with log.open("a") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (used() + memory,) * 2)
        code = call() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def used() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def ended(process: int, seconds: float) -> int | None:
    """The exit code of a process, minus its signal if it was killed; None: it had to be ended after so many seconds."""
    end, pause = time.monotonic() + seconds, 0.001
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None
