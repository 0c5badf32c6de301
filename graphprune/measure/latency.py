"""How long calls take, and on which machine."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from graphprune.checks import whole

Clock = Callable[[], float]


@dataclass(frozen=True)
class Latency:
    """Seconds of a call that was repeated.

    Attributes:
        median: of all repeats.
        low: first quartile.
        high: third quartile.
        repeats: how many were timed.
    """

    median: float
    low: float
    high: float
    repeats: int

    def __truediv__(self, parts: float) -> Latency:
        """Of one of so many equal parts."""
        return Latency(self.median / parts, self.low / parts, self.high / parts, self.repeats)


def time_calls(
    call: Callable[[], object],
    *,
    repeats: int = 20,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
    before: Callable[[], object] = lambda: None,
) -> Latency:
    """Time a call.

    Args:
        call: returns when its work is done; work on a device has to be waited for in it.
        repeats: timed calls.
        warmup: calls before them that are not timed.
        clock: seconds.
        before: runs before each call, outside of its time.

    Raises:
        ValueError: no repeats, or a negative number of warm-up calls.
    """
    whole("repeats", repeats, 1)
    whole("warmup", warmup, 0)
    for _ in range(warmup):
        before()
        call()
    seconds = []
    for _ in range(repeats):
        before()
        begin = clock()
        call()
        seconds.append(clock() - begin)
    low, median, high = (float(value) for value in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Latency(median, low, high, repeats)


def break_even(scoring_seconds: float, seconds_full: float, seconds_pruned: float) -> float:
    """After how many inferences over the same graphs the scoring of their edges has paid; infinite if it never does.

    Of graphs that are each seen only once it has paid if this is not above 1.

    Args:
        scoring_seconds: what scoring and pruning takes, once.
        seconds_full: an inference over the full graphs.
        seconds_pruned: the same over the pruned ones.

    Raises:
        ValueError: seconds that are negative or no numbers.
    """
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in (scoring_seconds, seconds_full, seconds_pruned)):
        raise ValueError(
            f"seconds must be finite and not negative, got {scoring_seconds=}, {seconds_full=}, {seconds_pruned=}"
        )
    saved = seconds_full - seconds_pruned
    return scoring_seconds / saved if saved > 0 else math.inf


def processor() -> str:
    """The CPU by name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def clock(device: str) -> dict[str, str]:
    """What measured seconds depend on beside the network: a device's processor, and torch's version, by name."""
    gpu = torch.device(device).type == "cuda"
    return {"processor": torch.cuda.get_device_name(device) if gpu else processor(), "torch": torch.__version__}


def check_device(device: str) -> None:
    """Raise ValueError where nothing can be computed on a device."""
    try:
        there = torch.device(device).type != "meta"
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={device!r} is not there: {str(error).splitlines()[0]}") from error
    if not there:
        raise ValueError(f"device={device!r} computes nothing")
