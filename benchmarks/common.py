"""What every benchmark needs: jobs that take turns, medians, ratios, and a file that says where they were measured."""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch_geometric
from torch import nn

import graphprune


def take_turns(
    jobs: Mapping[str, Callable[[], object]],
    repeats: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each job. The jobs run in turn, so that a drift of the machine's speed hits all alike.

    ``clock=time.process_time`` counts the CPU's seconds: for one thread on a machine that others use too.
    """
    for _ in range(warmup):
        for job in jobs.values():
            job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            begin = clock()
            job()
            seconds[name].append(clock() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def own_time() -> Callable[[], float]:
    """The CPU's seconds where one thread computes, which other programs take no part of; else the wall clock."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def onnx_session(path: Path, threads: int) -> Any:
    """An ONNX file, loaded in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options)


def as_trained(model: nn.Module) -> nn.Module:
    """The network with random biases and norms: behind these a channel without weights is no zero."""
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith("running_var"):
            value.data.uniform_(0.5, 2)
        elif name.endswith(("bias", "running_mean")):
            value.data.normal_(0, 0.1)
        elif value.ndim == 1 and value.is_floating_point():
            value.data.uniform_(0.5, 2)
    return model


def environment() -> dict[str, object]:
    """What the numbers depend on besides the code."""
    return {
        "graphprune": graphprune.__version__,
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "system": platform.system(),
    }


def parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=repeats)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers, with versions, here")
    return options


def report(name: str, options: argparse.Namespace, rows: Mapping[str, Any]) -> None:
    """Print the numbers, and write the file that was asked for."""
    for key, value in rows.items():
        print(f"{key:48s} {value:10.4f}" if isinstance(value, float) else f"{key:48s} {value}")
    if options.json:
        settings = {key: str(v) if isinstance(v, Path) else v for key, v in vars(options).items() if key != "json"}
        text = {
            "benchmark": name,
            "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_typed(sys.argv[1:])]),
            "settings": settings,
            "result": dict(rows),
            "environment": environment(),
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(text, indent=2) + "\n")


def _typed(words: list[str]) -> list[str]:
    """The options as they were typed, without the file for the numbers."""
    places = [place for place, word in enumerate(words) if word == "--json" or word.startswith("--json=")]
    gone = {place + step for place in places for step in range(2 if words[place] == "--json" else 1)}
    return [word for place, word in enumerate(words) if place not in gone]
