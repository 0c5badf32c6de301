"""`keep_top` on 10 million scores in 10,000 ragged segments beside one `torch.sort` of the same scores.

python benchmarks/bench_select.py --json benchmarks/results/select.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graphprune.masks import keep_top


def problem(scores: int, segments: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normal scores in log-normally ragged segments (a few of them empty), and how many to keep of each."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.randn(segments, generator=generator, dtype=torch.float64).exp().cumsum(0)
    ends = (shares / shares[-1] * scores).round().long()
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), ends])
    keep = (ptr.diff() * torch.rand(segments, generator=generator, dtype=torch.float64)).long()
    return torch.randn(scores, generator=generator), ptr, keep


def run(scores: int = 10_000_000, segments: int = 10_000, repeats: int = 7, seed: int = 0) -> dict[str, float]:
    """Median seconds of each job and ratios to the flat sort; the jobs take turns, so drift is shared."""
    values, ptr, keep = problem(scores, segments, seed)
    coarse = values.mul(4).round()  # some 40 distinct values: almost every threshold is tied
    jobs: dict[str, Callable[[], object]] = {
        "torch_sort": lambda: torch.sort(values),
        "keep_top": lambda: keep_top(values, ptr, keep),
        "keep_top_ties": lambda: keep_top(coarse, ptr, keep),
        "keep_top_one_segment": lambda: keep_top(values, None, scores // 5),
    }
    kept = keep_top(values, ptr, keep)
    sums = torch.cat([torch.zeros(1, dtype=torch.long), kept.cumsum(0)])
    if not torch.equal(sums[ptr].diff(), keep):
        raise AssertionError("keep_top did not keep the counts it was asked for")
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {f"{name}_to_sort": medians[name] / medians["torch_sort"] for name in jobs if name != "torch_sort"}
    return {f"{name}_s": value for name, value in medians.items()} | ratios


def environment() -> dict[str, object]:
    """What the numbers depend on besides the code."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
    }


def main() -> dict[str, float]:
    """Parse the command line, measure, print, and write the file that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=int, default=10_000_000)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers, with versions, here")
    options = parser.parse_args()
    size = {
        "scores": options.scores,
        "segments": options.segments,
        "repeats": options.repeats,
        "seed": options.seed,
    }
    result = run(**size)
    for name, value in result.items():
        print(f"{name:32s} {value:8.3f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"benchmark": "select", **size, "result": result, "environment": environment()}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
