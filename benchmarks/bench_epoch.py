"""Training epochs on ogbg-molhiv: dense, the same network in plain PyG layers, joint with the predictor, loading alone.

python benchmarks/bench_epoch.py --json benchmarks/results/epoch.json

An epoch here is a pass over the first ``--graphs`` training graphs. All sides take the same batches from the packed
storage, but ``pyg_loader``, which is PyG's DataLoader over the same graphs, and ``loading``, which only makes batches.
``plain_joint`` are ICPG's two networks in plain PyG layers over PyG's DataLoader (for GCN and GIN).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable

import torch
from common import parser, report, take_turns
from pyg_twin import PlainJoint, PlainPyG
from torch import nn
from torch.nn import functional
from torch_geometric.loader import DataLoader

from graphprune import EdgePredictor, data, models
from graphprune.graphs import EdgeRound, EdgeRule
from graphprune.methods.core.joint import JointNetwork


def epoch(model: nn.Module, batches: Iterable[object]) -> Callable[[], None]:
    """One pass of Adam steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run() -> None:
        model.train()
        for batch in batches:
            loss = functional.binary_cross_entropy_with_logits(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def exhaust(batches: Iterable[object]) -> None:
    """Make all batches."""
    for _ in batches:
        pass


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--graphs", type=int, default=4096)
    options.add_argument("--batch", type=int, default=512)
    options.add_argument("--width", type=int, default=128)
    options.add_argument("--cpu", action="store_true", help="count CPU seconds (one thread, beside other processes)")
    args = options.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    torch.set_num_threads(args.threads)
    molhiv = data.load("ogbg-molhiv")
    graphs = molhiv.train.select(range(args.graphs))
    loader = graphs.loader(args.batch, shuffle=True, generator=torch.Generator().manual_seed(args.seed))
    items = list(graphs)
    rows: dict[str, object] = {"graphs": len(graphs), "arcs": graphs.num_edges}
    for kind in ("gcn", "gin", "sage", "gat"):
        torch.manual_seed(args.seed)
        model = models.MODELS[kind].for_data(molhiv, hidden=args.width)  # type: ignore[attr-defined]
        predictor = EdgePredictor.for_data(molhiv, hidden=64)
        joint = JointNetwork(copy.deepcopy(model), predictor, EdgeRound(predictor, 0.05, 0.95), EdgeRule(), graphs)
        jobs = {
            "dense": epoch(model, loader),
            "plain_pyg": epoch(PlainPyG(model), loader),
            "joint": epoch(joint, loader),
            "loading": lambda: exhaust(loader),
        }
        if kind in ("gcn", "gin"):
            jobs["plain_joint"] = epoch(PlainJoint(model), DataLoader(items, args.batch, shuffle=True))
        if kind == "gcn":
            jobs["pyg_loader"] = lambda: exhaust(DataLoader(items, args.batch, shuffle=True))
        seconds = take_turns(jobs, args.repeats, warmup=1, clock=clock)
        rows |= {f"{kind}_{name}_s": value for name, value in seconds.items()}
        rows |= {f"{kind}_{name}_over_dense": seconds[name] / seconds["dense"] for name in list(seconds)[1:]}
        if "plain_joint" in seconds:
            rows[f"{kind}_plain_joint_over_joint"] = seconds["plain_joint"] / seconds["joint"]
    report("epoch", args, rows)


if __name__ == "__main__":
    main()
