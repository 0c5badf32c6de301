"""Runs a configuration in processes that are killed after given seconds, then once to the end.

The children are forked from this process, which has everything imported, so that they spend their time on the run.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from graphprune.runs import RunConfig, run_one


def child(config: RunConfig, out: Path) -> int:
    """Starts a process that runs the configuration; returns its number."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            run_one(config, out)
            code = 0
        finally:
            os._exit(code)
    return process


def timed(config: RunConfig, out: Path) -> float:
    """Runs without interruption."""
    started = time.monotonic()
    _, status = os.waitpid(child(config, out), 0)
    assert status == 0
    return time.monotonic() - started


def main() -> None:
    file, parts, *sequences = sys.argv[1:]
    config, folder = RunConfig.load(file), Path(parts)
    whole = timed(config, folder / "whole")
    for number, sequence in enumerate(sequences):
        out = folder / f"killed-{number}"
        for share in map(float, sequence.split(",")):
            process = child(config, out)
            time.sleep(share * whole)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            print(f"{out.name}: killed at {share:.2f}, rounds finished: {len(list(out.glob('round-*')))}")
        timed(config, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
