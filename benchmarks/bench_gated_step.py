"""A training step of torch_geometric's layers with a gate on every edge, beside the plain step of the same network.

python benchmarks/bench_gated_step.py --threads 1 --json benchmarks/results/gated_step.json

A linear map, three layers, sum over nodes and a linear head on one batch of ogbg-molhiv; a step is forward, loss and
backward. The gated one enters ``SoftEdges``, as each step of a search does, and has gradients on the gates too.
``scaled`` says that nothing but messages is multiplied; the others also normalise by gated sums.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_geometric.nn as pyg
from common import own_time, parser, report, take_turns
from torch import Tensor, nn
from torch_geometric.data import Batch

from graphprune import SoftEdges, data

WIDTH = 64
DEGREES = torch.tensor([0, 10, 20, 10, 2])


def mlp(columns: int = WIDTH) -> nn.Sequential:
    """As GIN's."""
    return nn.Sequential(nn.Linear(columns, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))


LAYERS: dict[str, tuple[bool, Callable[[], nn.Module]]] = {
    "GINConv": (True, lambda: pyg.GINConv(mlp())),
    "GINEConv": (True, lambda: pyg.GINEConv(mlp())),
    "GraphConv": (True, lambda: pyg.GraphConv(WIDTH, WIDTH)),
    "ResGatedGraphConv": (True, lambda: pyg.ResGatedGraphConv(WIDTH, WIDTH, edge_dim=WIDTH)),
    "GPSConv": (True, lambda: pyg.GPSConv(WIDTH, pyg.GINEConv(mlp()), heads=4)),
    "GCNConv": (False, lambda: pyg.GCNConv(WIDTH, WIDTH)),
    "TAGConv": (False, lambda: pyg.TAGConv(WIDTH, WIDTH, K=3)),
    "ChebConv": (False, lambda: pyg.ChebConv(WIDTH, WIDTH, K=3)),
    "SAGEConv mean": (False, lambda: pyg.SAGEConv(WIDTH, WIDTH)),
    "SAGEConv max": (False, lambda: pyg.SAGEConv(WIDTH, WIDTH, aggr="max")),
    "EdgeConv max": (False, lambda: pyg.EdgeConv(mlp(2 * WIDTH))),
    "GENConv softmax": (False, lambda: pyg.GENConv(WIDTH, WIDTH)),
    "GATConv": (False, lambda: pyg.GATConv(WIDTH, WIDTH // 4, heads=4)),
    "TransformerConv": (False, lambda: pyg.TransformerConv(WIDTH, WIDTH // 4, heads=4, edge_dim=WIDTH)),
    "PNAConv": (
        False,
        lambda: pyg.PNAConv(
            WIDTH, WIDTH, ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"], DEGREES
        ),
    ),
}


class Network(nn.Module):
    """A linear map of the features, three layers, a sum over the nodes of each graph and a head."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.start, self.layers = nn.Linear(WIDTH, WIDTH), nn.ModuleList(layer() for _ in range(3))
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores, ``(B, 2)``."""
        x = self.start(batch.x)
        for layer in self.layers:
            more = {"edge_attr": batch.edge_attr} if _reads_edges(layer) else {}
            if isinstance(layer, pyg.GPSConv):
                more["batch"] = batch.batch
            x = layer(x, batch.edge_index, **more).relu()
        return self.head(pyg.global_add_pool(x, batch.batch))


def _reads_edges(layer: nn.Module) -> bool:
    return isinstance(layer, pyg.GINEConv | pyg.ResGatedGraphConv | pyg.TransformerConv | pyg.GPSConv)


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=15)
    options.add_argument("--batch", type=int, default=256)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    molhiv = data.load("ogbg-molhiv")
    batch = molhiv.train.batch(torch.randperm(len(molhiv.train))[: args.batch])
    batch.x, batch.edge_attr = torch.randn(batch.num_nodes, WIDTH), torch.randn(batch.num_edges, WIDTH)
    target = torch.randint(2, (args.batch,))
    rows: dict[str, object] = {"nodes": batch.num_nodes, "arcs": batch.num_edges}
    for name, (scaled, layer) in LAYERS.items():
        network, gate = Network(layer), torch.rand(batch.num_edges, requires_grad=True)

        def step(out: Tensor, network: nn.Module = network, gate: Tensor = gate) -> None:
            network.zero_grad()
            gate.grad = None
            nn.functional.cross_entropy(out, target).backward()

        def gated(network: nn.Module = network, gate: Tensor = gate, step: Callable[[Tensor], None] = step) -> None:
            with SoftEdges(network) as soft:
                step(soft(gate, batch))

        jobs = {"plain": lambda network=network, step=step: step(network(batch)), "gated": gated}
        seconds = take_turns(jobs, args.repeats, clock=own_time())
        rows |= {f"{name} {job} ms": 1e3 * value for job, value in seconds.items()}
        rows[f"{name} ratio ({'scaled' if scaled else 'normalised'})"] = seconds["gated"] / seconds["plain"]
    report("gated_step", args, rows)


if __name__ == "__main__":
    main()
