"""Message steps with soft edge weights, forward and backward, beside PyG's scatter path for the same layer.

python benchmarks/bench_message.py --json benchmarks/results/message.json

Three steps on one batch of ogbg-molhiv, as in a network of three layers, without the dense products (the linear maps
are replaced by the identity). Both sides get gradients on node vectors and on the edges' gates; ours includes sorting
the arcs once a batch. PyG's side runs its own layers, GCN with ``edge_weight``, the others under ``SoftEdges``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_geometric.nn as pyg
from common import parser, report, take_turns
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from graphprune import SoftEdges, data
from graphprune.graphs.adjacency import Adjacency

STEPS = 3


class Stack(nn.Module):
    """The same PyG layer three times over."""

    def __init__(self, conv: nn.Module, *names: str) -> None:
        super().__init__()
        for name in names:
            setattr(conv, name, nn.Identity())
        self.conv = conv

    def forward(self, batch: Data) -> Tensor:
        """Node vectors."""
        x, extra = batch.x, [batch.edge_attr] if isinstance(self.conv, pyg.GINEConv) else []
        for _ in range(STEPS):
            x = self.conv(x, batch.edge_index, *extra)
        return x


def ours(kind: str, x: Tensor, bond: Tensor, attention: Tensor, gate: Tensor, edge_index: Tensor) -> Tensor:
    """Three message steps over one adjacency."""
    adjacency = Adjacency(edge_index, x.size(0), gate)
    heads = attention.size(1)
    bond = bond[adjacency.arcs.order]
    for _ in range(STEPS):
        if kind == "gcn":
            x = adjacency.gcn(x)
        elif kind == "gin":
            x = x + adjacency.sum(x)
        elif kind == "gine":
            x = x + adjacency.sum_messages(x, bond)
        elif kind == "sage":
            x = x + adjacency.mean(x)
        else:
            z = x.view(-1, heads, x.size(1) // heads)
            logit = (z * attention).sum(-1)
            x = adjacency.attend(z, logit, logit, 0.2, 0.0).flatten(1)
    return x


def theirs(kind: str, width: int, heads: int) -> Callable[[Tensor, Batch], Tensor]:
    """The same with PyG's layers."""
    if kind == "gcn":
        conv = pyg.GCNConv(width, width, bias=False)
        conv.lin = nn.Identity()

        def plain(gate: Tensor, batch: Batch) -> Tensor:
            x = batch.x
            for _ in range(STEPS):
                x = conv(x, batch.edge_index, gate)
            return x

        return plain
    stack = {
        "gin": lambda: Stack(pyg.GINConv(nn.Identity())),
        "gine": lambda: Stack(pyg.GINEConv(nn.Identity())),
        "sage": lambda: Stack(pyg.SAGEConv(width, width), "lin_l", "lin_r"),
        "gat": lambda: Stack(pyg.GATConv(width, width // heads, heads=heads, bias=False), "lin"),
    }[kind]()
    soft = SoftEdges(stack)
    soft.__enter__()
    return soft


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=15)
    options.add_argument("--batch", type=int, default=512)
    options.add_argument("--width", type=int, default=128)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    molhiv = data.load("ogbg-molhiv")
    batch = molhiv.train.batch(torch.randperm(len(molhiv.train))[: args.batch])
    x = torch.randn(batch.num_nodes, args.width, requires_grad=True)
    gate = torch.rand(batch.num_edges, requires_grad=True)
    bond = torch.randn(batch.num_edges, args.width, requires_grad=True)
    attention = torch.randn(1, 4, args.width // 4)
    grad = torch.randn(batch.num_nodes, args.width)
    batch.x, batch.edge_attr = x, bond

    def both(run: Callable[[], Tensor]) -> Callable[[], None]:
        def step() -> None:
            x.grad = gate.grad = bond.grad = None
            run().backward(grad)

        return step

    rows: dict[str, object] = {"nodes": batch.num_nodes, "arcs": batch.num_edges}
    for kind in ("gcn", "gin", "gine", "sage", "gat"):
        other = theirs(kind, args.width, 4)
        seconds = take_turns(
            {
                "pyg": both(lambda other=other: other(gate, batch)),
                "ours": both(lambda kind=kind: ours(kind, x, bond, attention, gate, batch.edge_index)),
            },
            args.repeats,
        )
        rows |= {f"{kind}_{side}_ms": 1e3 * value for side, value in seconds.items()}
        rows[f"{kind}_speedup"] = seconds["pyg"] / seconds["ours"]
    report("message", args, rows)


if __name__ == "__main__":
    main()
