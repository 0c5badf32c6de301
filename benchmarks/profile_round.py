"""Where the time of one ICPG round goes: phases by the clock, operations by torch's profiler.

python benchmarks/profile_round.py --json benchmarks/results/profile_round.json
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from common import parser, report
from torch.profiler import ProfilerActivity, profile

from graphprune import ICPG, EdgePredictor, data, models
from graphprune.methods import FitJob, FitResult
from graphprune.train import Fit

# The first group whose word is in an operation's name takes its time.
GROUPS = {
    "dense products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::matmul"),
    "message passing": (
        "AddScaled", "embedding_bag", "sampled_addmm", "index_select", "index_add", "segment_reduce", "scatter_add",
        "Sum",
    ),
    "batch norm": ("batch_norm",),
    "optimiser": ("_fused_adam", "Optimizer", "masked_fill"),
    "sorting and counting": ("sort", "unique", "bincount", "cumsum", "searchsorted", "repeat_interleave", "nonzero"),
    "elementwise and copies": (
        "aten::add", "aten::mul", "aten::div", "aten::sub", "relu", "clamp", "threshold", "aten::copy_", "aten::fill_",
        "aten::zero_", "aten::sum", "sigmoid", "aten::index", "dropout", "bernoulli", "aten::cat", "aten::where",
    ),
}  # fmt: skip


def group(name: str) -> str:
    """The group of an operation."""
    return next((title for title, words in GROUPS.items() if any(word in name for word in words)), "everything else")


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--data", default="ogbg-molbace")
    options.add_argument("--model", default="gin")
    options.add_argument("--hidden", type=int, default=64)
    options.add_argument("--epochs", type=int, default=5)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    graphs = data.load(args.data)
    model = models.MODELS[args.model].for_data(graphs, hidden=args.hidden)  # type: ignore[attr-defined]
    icpg = ICPG(rounds=1, predictor=EdgePredictor.for_data(graphs, hidden=64))
    clock: Counter[str] = Counter()
    inner = Fit(epochs=args.epochs, batch_size=64, seed=args.seed)

    def fit(job: FitJob) -> FitResult:
        begin = time.perf_counter()
        result = inner(job)
        clock[f"{job.phase} training, validation, test"] += time.perf_counter() - begin
        return result

    def once() -> float:
        begin = time.perf_counter()
        list(icpg.rounds(model, graphs, fit))
        return time.perf_counter() - begin

    once()  # imports, first touches
    clock.clear()
    total = once()
    clock["counting, scoring, pruning, ticket"] = total - sum(clock.values())
    rows: dict[str, Any] = {"round_s": total}
    rows |= {f"share of the clock: {name}": seconds / total for name, seconds in clock.items()}

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        once()
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        spent[group(event.key)] += event.self_cpu_time_total
    rows |= {f"share of operations: {name}": spent[name] / spent.total() for name, _ in spent.most_common()}
    report("profile_round", args, rows)


if __name__ == "__main__":
    main()
