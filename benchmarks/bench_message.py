"""Message steps with soft edge weights, forward and backward, beside PyG's scatter path for the same layer.

python benchmarks/bench_message.py --json benchmarks/results/message.json

Three steps on one batch of ogbg-molhiv, as in a network of three layers, without the dense products (the linear maps
are replaced by the identity). Both sides get gradients on node vectors, on the edges' gates and (GINE) on one vector
for each kind of bond; ours includes sorting the arcs and bonds once a batch. PyG's side runs its own layers, GCN with
``edge_weight``, the others under ``SoftEdges``.
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
from graphprune.graphs.conv import GATLayer, GCNLayer, GINELayer, GINLayer, SAGELayer
from graphprune.graphs.encoders import BOND_FEATURES, Kinds

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
        x, extra = batch.x, []
        for _ in range(STEPS):
            if isinstance(self.conv, pyg.GINEConv):
                extra = [batch.bond_table.index_select(0, batch.bond_kind)]
            x = self.conv(x, batch.edge_index, *extra)
        return x


class Ours(nn.Module):
    """Our layer of the same kind three times over, on one adjacency."""

    def __init__(self, kind: str, width: int, heads: int) -> None:
        super().__init__()
        makers: dict[str, Callable[[], nn.Module]] = {
            "gcn": lambda: GCNLayer(width, width),
            "gin": lambda: GINLayer(nn.Identity()),
            "gine": lambda: GINELayer(nn.Identity()),
            "sage": lambda: SAGELayer(width, width),
            "gat": lambda: GATLayer(width, width // heads, heads),
        }
        self.conv = makers[kind]()
        for name in ("lin", "lin_l", "lin_r"):
            if hasattr(self.conv, name):
                setattr(self.conv, name, nn.Identity())

    def forward(self, gate: Tensor, batch: Batch) -> Tensor:
        """Node vectors."""
        x = batch.x
        adjacency = Adjacency(batch.edge_index, x.size(0), gate)
        extra = []
        if isinstance(self.conv, GINELayer):
            kinds = Kinds.of(batch.bond_features[adjacency.arcs.order], BOND_FEATURES)
            extra = [batch.bond_table[: len(kinds.rows)], kinds]
        for _ in range(STEPS):
            x = self.conv(x, adjacency, *extra)
        return x


def theirs(kind: str, width: int, heads: int) -> Callable[[Tensor, Batch], Tensor]:
    """The same with PyG's layers."""
    if kind == "gcn":
        conv = pyg.GCNConv(width, width)
        conv.lin = nn.Identity()

        def plain(gate: Tensor, batch: Batch) -> Tensor:
            x = batch.x
            for _ in range(STEPS):
                x = conv(x, batch.edge_index, gate)
            return x

        return plain
    stack = {
        "gin": lambda: Stack(pyg.GINConv(nn.Identity(), train_eps=True)),
        "gine": lambda: Stack(pyg.GINEConv(nn.Identity(), train_eps=True)),
        "sage": lambda: Stack(pyg.SAGEConv(width, width), "lin_l", "lin_r"),
        "gat": lambda: Stack(pyg.GATConv(width, width // heads, heads=heads), "lin"),
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
    kinds = Kinds.of(batch.edge_attr, BOND_FEATURES)
    bond = torch.randn(len(kinds.rows), args.width, requires_grad=True)
    grad = torch.randn(batch.num_nodes, args.width)
    batch.x, batch.bond_table, batch.bond_kind, batch.bond_features = x, bond, kinds.which, batch.edge_attr

    def both(run: Callable[[], Tensor]) -> Callable[[], None]:
        def step() -> None:
            x.grad = gate.grad = bond.grad = None
            run().backward(grad)

        return step

    rows: dict[str, object] = {"nodes": batch.num_nodes, "arcs": batch.num_edges}
    for kind in ("gcn", "gin", "gine", "sage", "gat"):
        other, mine = theirs(kind, args.width, 4), Ours(kind, args.width, 4)
        seconds = take_turns(
            {
                "pyg": both(lambda other=other: other(gate, batch)),
                "ours": both(lambda mine=mine: mine(gate, batch)),
            },
            args.repeats,
        )
        rows |= {f"{kind}_{side}_ms": 1e3 * value for side, value in seconds.items()}
        rows[f"{kind}_speedup"] = seconds["pyg"] / seconds["ours"]
    report("message", args, rows)


if __name__ == "__main__":
    main()
