"""A network of ours in torch beside its ONNX file in ONNX Runtime, one graph at a time and in batches.

python benchmarks/bench_onnx.py --threads 1 --json benchmarks/results/onnx.json

Three layers of width 64 on ogbg-molbace, forward passes without gradients, random weights; batches are made beforehand.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from common import as_trained, onnx_session, own_time, parser, report, take_turns
from torch import nn
from torch_geometric.data import Batch

from graphprune import data, models
from graphprune.compaction import save

GRAPHS = 40  # of them one at a time


def session_of(network: nn.Module, example: Batch, threads: int) -> tuple[Any, list[str]]:
    """The network's file, loaded, and the names of its inputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        names = save(network, example, path)
        return onnx_session(path, threads), list(names)


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=15)
    options.add_argument("--batch", type=int, default=128)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    molbace = data.load("ogbg-molbace")
    work = {
        "one": [molbace.test.batch([number]) for number in range(GRAPHS)],
        "batch": [molbace.train.batch(range(args.batch))],
    }
    rows: dict[str, object] = {}
    for name in ("GCN", "GIN", "SAGE", "GAT"):
        made = {"bonds": False} if name == "GIN" else {}
        network = as_trained(getattr(models, name).for_data(molbace, hidden=64, layers=3, **made)).eval()
        session, inputs = session_of(network, molbace.val.batch(range(8)), args.threads)
        for size, batches in work.items():
            given = [{each: batch[each].numpy() for each in inputs} for batch in batches]
            with torch.no_grad():
                seconds = take_turns(
                    {
                        "torch": lambda network=network, batches=batches: [network(batch) for batch in batches],
                        "onnx": lambda session=session, given=given: [session.run(None, each) for each in given],
                    },
                    args.repeats,
                    clock=own_time(),
                )
            rows |= {f"{name}_{size}_{side}_ms": 1e3 * value / len(batches) for side, value in seconds.items()}
            rows[f"{name}_{size}_speedup"] = seconds["torch"] / seconds["onnx"]
    report("onnx", args, rows)


if __name__ == "__main__":
    main()
