"""What a device makes of it: networks, the joint step, scoring and exact selection, on batches that lie there already.

bash benchmarks/gpu.sh                                                   # a GPU, at most eight minutes
python benchmarks/bench_device.py --device cpu --tiny                    # that it runs at all

``pyg`` is the same network in PyG's layers. ``pruned`` has 43 % of the edges gone, ``small`` is compacted besides, with
30 % of the channels: random ones, behind random norms and biases. Each side runs several times in turn, by the clock,
until the device has finished.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from bench_compact import edge_rich, in_batches, passes, pruned, thinned
from common import as_trained, parser, report, take_turns
from pyg_twin import PlainJoint, PlainPyG
from torch import Tensor, nn
from torch.nn import functional

from graphprune import EdgePredictor, compact, data, models
from graphprune.graphs import EdgeRound, EdgeRule, PackedGraphs, PruneEdges
from graphprune.graphs.rule import original_units
from graphprune.masks import keep_top
from graphprune.methods.core.joint import JointNetwork
from graphprune.methods.core.state import ORIGINAL_UNITS

REMOVED, CHANNELS = 0.43, 0.3


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds, once the device has finished."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def on(device: torch.device, graphs: PackedGraphs, size: int) -> list[Any]:
    """All graphs, collated and moved."""
    return [batch.to(device) for batch in in_batches(graphs, size)]


def forward(model: nn.Module, batches: list[Any], device: torch.device) -> Callable[[], None]:
    """A pass over all batches."""
    return passes(copy.deepcopy(model).to(device), batches)


def steps(model: nn.Module, batches: list[Any], device: torch.device, classes: bool) -> Callable[[], None]:
    """A step of Adam a batch."""
    model = copy.deepcopy(model).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = functional.cross_entropy if classes else functional.binary_cross_entropy_with_logits

    def run() -> None:
        for batch in batches:
            optimizer.zero_grad()
            loss_of(model(batch), batch.y).backward()
            optimizer.step()

    return run


def networks(graphs: data.GraphData, args: Any, device: torch.device, width: int) -> Mapping[str, Callable[[], None]]:
    """Inference and training of one network, dense and pruned."""
    torch.manual_seed(args.seed)
    full = graphs.train.select(torch.arange(min(args.graphs, len(graphs.train))))
    full = full.with_graph(**{ORIGINAL_UNITS: original_units(full, EdgeRule())})
    dense = as_trained(models.GIN.for_data(graphs, hidden=width, layers=3)).eval()
    example = full.batch(torch.arange(min(32, len(full))))
    masked = copy.deepcopy(dense)
    pruned(masked, example, CHANNELS, args.seed).apply_(masked)
    small = compact(masked, example)
    batches = on(device, full, args.batch)
    left = on(device, thinned(full, REMOVED, args.seed), args.batch)
    predictor = EdgePredictor.for_data(graphs, hidden=args.predictor)
    joint = JointNetwork(copy.deepcopy(dense), predictor, EdgeRound(predictor, 0.05, 0.95), EdgeRule(), full)
    cheap = EdgePredictor.for_data(graphs, hidden=16, layers=1, encoder="mlp", score="bilinear")
    edges = PruneEdges([EdgeRound(cheap.to(device).eval(), REMOVED, 1 - REMOVED)], EdgeRule())
    classes = graphs.task == "multiclass"
    return {
        "forward pyg": forward(PlainPyG(dense), batches, device),
        "forward dense": forward(dense, batches, device),
        "forward pruned": forward(dense, left, device),
        "forward small": forward(small, left, device),
        "score and select": lambda: [edges.left(copy.copy(batch)) for batch in batches] and None,
        "step pyg": steps(PlainPyG(copy.deepcopy(dense)), batches, device, classes),
        "step dense": steps(dense, batches, device, classes),
        "joint step pyg": steps(PlainJoint(copy.deepcopy(dense)), batches, device, classes),
        "joint step": steps(joint, batches, device, classes),
    }


def selection(args: Any, device: torch.device) -> Mapping[str, Callable[[], Tensor]]:
    """Exact selection beside one sort of the same scores."""
    generator = torch.Generator().manual_seed(args.seed)
    scores = torch.randn(args.scores, generator=generator).to(device)
    ptr = torch.arange(0, args.scores + 1, max(args.scores // 10_000, 1))
    keep = ptr.diff() // 2
    return {"sort": lambda: torch.sort(scores).values, "keep_top": lambda: keep_top(scores[: int(ptr[-1])], ptr, keep)}


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--device", default="cuda")
    options.add_argument("--graphs", type=int, default=4096)
    options.add_argument("--batch", type=int, default=1024)
    options.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    options.add_argument("--predictor", type=int, default=64, help="width of ICPG's predictor")
    options.add_argument("--scores", type=int, default=10_000_000)
    options.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    args = options.parse_args()
    if args.tiny:
        args.graphs, args.batch, args.widths, args.predictor, args.scores, args.repeats = 32, 16, [8], 8, 10_000, 1
    device = torch.device(args.device)
    rows: dict[str, Any] = {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"}
    sets = {"ogbg-molhiv": data.load("ogbg-molhiv"), "edge-rich": edge_rich(args.seed)}
    for name, graphs in sets.items():
        for width in args.widths:
            found = take_turns(networks(graphs, args, device, width), args.repeats, warmup=1, clock=clock_of(device))
            rows |= {f"{name}, {width} wide: {job}_s": value for job, value in found.items()}
            print(name, width, {job: round(value, 4) for job, value in found.items()}, flush=True)
    found = take_turns(selection(args, device), args.repeats, warmup=1, clock=clock_of(device))
    rows |= {f"selection: {job}_s": value for job, value in found.items()}
    report("device", args, rows)


if __name__ == "__main__":
    main()
