"""Why a compacted network is not as much faster as its multiply-accumulates promise: where the time of a pass goes.

python benchmarks/profile_compact.py --threads 1 --json benchmarks/results/profile_compact.json

The dense network on full graphs beside the compacted one on pruned graphs, networks, tickets and graphs as in
bench_compact.py. A pass is over the same batches on both sides. ``ms`` are CPU milliseconds of a pass without the
profiler; the lines below it share them out as torch.profiler does with its own (the median of each operator over
``--repeats`` runs). ``between`` is what lies outside of all operators: Python, and what the profiler adds.
``operators`` are those that reach the dispatcher, views included; ``dispatch`` is their number times what adding two
tensors of one element takes, over the whole. ``smallest graph`` is a pass over as many batches of one graph with two
nodes, over the whole: what no pruning takes away.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from bench_compact import TICKETS, edge_rich, in_batches, macs, passes, pruned, thinned
from common import as_trained, parser, report, take_turns
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Data

from graphprune import compact, data, models
from graphprune.graphs import PackedGraphs

# The first class whose word is in an operator's name takes its own time. What a sum over arcs calls is part of it.
CLASSES = {
    "dense products": ("mm",),
    "norms": ("batch_norm",),
    "embedding lookups": ("embedding",),
    "sums over graphs": ("index_add", "scatter_add"),
    "gathers": ("index_select", "aten::index", "gather"),
    "sorting and counting": (
        "sort", "unique", "bincount", "cumsum", "searchsorted", "repeat_interleave", "arange", "aminmax", "diff",
    ),
    "elementwise and copies": (
        "add", "mul", "div", "sub", "relu", "clamp", "exp", "copy_", "fill", "zero", "sum", "cat", "stack", "where",
        "reciprocal", "remainder", "segment_reduce", "aten::ne", "aten::lt", "aten::ge", "aten::eq", "aten::any", "_or",
    ),
}  # fmt: skip
ARCS = ("WeightedSum", "SegmentSum", "MessageSum")
LINES = ("sums over arcs", *CLASSES, "everything else", "between")


def kind_of(event: Any) -> str:
    """The class of an operator's own time."""
    above = event
    while above is not None:
        if any(word in above.name for word in ARCS):
            return "sums over arcs"
        above = above.cpu_parent
    return next((title for title, words in CLASSES.items() if any(w in event.name for w in words)), "everything else")


class Operators(TorchDispatchMode):
    """Counts what reaches the dispatcher."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def shares(run: Callable[[], None], repeats: int) -> dict[str, float]:
    """The share of each class in a run: of every operator, and of what lies before it, the median of several runs."""
    lines, times = list[str](), list[list[float]]()
    for _ in range(repeats):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            run()
        events = sorted(profiler.events(), key=lambda event: event.time_range.start)
        outer = [event.time_range for event in events if event.cpu_parent is None]
        gaps = [later.start - earlier.end for earlier, later in pairwise(outer)]
        lines = [kind_of(event) for event in events] + ["between"] * len(gaps)
        times.append([event.self_cpu_time_total for event in events] + gaps)
    spent: Counter[str] = Counter()
    for line, each in zip(lines, zip(*times, strict=True), strict=True):
        spent[line] += statistics.median(each)
    return {line: spent[line] / spent.total() for line in LINES}


def operators(run: Callable[[], None]) -> int:
    """How many operators a run calls."""
    with Operators() as counted:
        run()
    return counted.count


def empty_operator(repeats: int = 20_000) -> float:
    """Seconds of an operator with nothing to do."""
    one = torch.ones(1)
    begin = time.process_time()
    for _ in range(repeats):
        torch.add(one, one)
    return (time.process_time() - begin) / repeats


def smallest(graphs: data.GraphData) -> PackedGraphs:
    """Two nodes and one edge, with the features of the set's."""
    graph = graphs.test[0]
    small = Data(x=graph.x[:2], edge_index=torch.tensor([[0, 1], [1, 0]]), y=graph.y)
    if graph.edge_attr is not None:
        small.edge_attr = graph.edge_attr[:1].repeat(2, 1)
    return PackedGraphs.of([small])


def setting(kind: str, graphs: data.GraphData, args: Any, batch: int, empty: float) -> dict[str, Any]:
    """One network at one batch size."""
    torch.manual_seed(args.seed)
    full = graphs.test.select(range(min(len(graphs.test), args.graphs if batch > 1 else args.single)))
    rounds = TICKETS[args.ticket]
    left = thinned(full, 1 - 0.95**rounds, args.seed)
    model = as_trained(models.MODELS[kind].for_data(graphs, hidden=args.width))  # type: ignore[attr-defined]
    masked = models.MODELS[kind].for_data(graphs, hidden=args.width)  # type: ignore[attr-defined]
    masked.load_state_dict(model.state_dict())
    dense_batches, batches = in_batches(full, batch), in_batches(left, batch)
    pruned(masked.eval(), batches[0], 0.8**rounds, args.seed).apply_(masked)
    small = compact(masked, batches[0])
    tiny = in_batches(smallest(graphs), 1) * len(batches)
    sides: dict[str, tuple[nn.Module, Sequence[Any]]] = {"dense": (model, dense_batches), "compacted": (small, batches)}
    runs = {name: passes(*side) for name, side in sides.items()}
    floors = {f"{name}, smallest": passes(side[0], tiny) for name, side in sides.items()}
    seconds = take_turns(runs | floors, args.repeats, clock=time.process_time)
    rows: dict[str, Any] = {
        "faster": seconds["dense"] / seconds["compacted"],
        "by MACs": macs(*sides["dense"]) / macs(*sides["compacted"]),
    }
    for name, run in runs.items():
        whole, count = seconds[name], operators(run)
        rows[f"{name}, ms"] = 1e3 * whole
        rows |= {f"{name}, ms: {line}": 1e3 * whole * share for line, share in shares(run, args.repeats).items()}
        rows |= {
            f"{name}, operators a batch": count / len(batches),
            f"{name}, share of dispatch": count * empty / whole,
            f"{name}, share of the smallest graph": seconds[f"{name}, smallest"] / whole,
        }
    return rows


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=9)
    options.add_argument("--graphs", type=int, default=512, help="graphs a pass")
    options.add_argument("--single", type=int, default=32, help="graphs a pass one by one")
    options.add_argument("--width", type=int, default=128)
    options.add_argument("--ticket", choices=TICKETS, default="43/91")
    options.add_argument("--models", nargs="+", default=["gin", "gcn", "sage", "gat"])
    options.add_argument("--batches", type=int, nargs="+", default=[1, 256])
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    sets = {"ogbg-molhiv": data.load("ogbg-molhiv"), "edge-rich": edge_rich(args.seed)}
    empty = empty_operator()
    rows: dict[str, Any] = {"empty operator, us": 1e6 * empty}
    for name, graphs in sets.items():
        assert isinstance(graphs, data.GraphData)
        for kind in args.models:
            for batch in args.batches:
                found = setting(kind, graphs, args, batch, empty)
                rows |= {f"{name}, {kind}, batch {batch}: {key}": value for key, value in found.items()}
    report("profile_compact", args, rows)


if __name__ == "__main__":
    main()
