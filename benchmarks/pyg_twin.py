"""The reference networks written with PyG's own layers and OGB's encoders, for comparison."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune import models
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES


class PlainPyG(nn.Module):
    """Embeddings a feature, PyG convolutions, batch norm, ReLU, mean readout, linear head: as a tutorial writes it."""

    def __init__(self, twin: models.GraphClassifier) -> None:
        super().__init__()
        config = twin.config()
        width, self.bonds = config["hidden"], bool(config.get("bonds"))
        features = config["features"]
        molecules = features == "ogb-mol"
        self.atoms = nn.ModuleList(nn.Embedding(size, width) for size in (ATOM_FEATURES if molecules else ()))
        self.encoder = None if molecules else nn.Linear(features, width)
        self.convs = nn.ModuleList(layer(twin, width, self.bonds) for _ in range(config["layers"]))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(config["layers"]))
        self.bond_tables = nn.ModuleList(
            nn.ModuleList(nn.Embedding(size, width) for size in BOND_FEATURES)
            for _ in range(config["layers"] * self.bonds)
        )
        self.head, self.dropout = nn.Linear(width, config["num_outputs"]), config["dropout"]

    def forward(self, data: Data, weight: Tensor | None = None) -> Tensor:
        """Logits of shape ``(B, outputs)``; ``weight`` weighs the arcs' messages (GCN, and `Weighted` layers)."""
        x: Any = (
            sum(table(data.x[:, i]) for i, table in enumerate(self.atoms))
            if self.encoder is None
            else self.encoder(data.x)
        )
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            extra = []
            if self.bonds:
                extra = [sum(table(data.edge_attr[:, i]) for i, table in enumerate(self.bond_tables[depth]))]
            if weight is not None:
                extra.append(weight)
            x = functional.relu(norm(conv(x, data.edge_index, *extra)))
            x = functional.dropout(x, self.dropout, self.training)
        return self.head(pyg.global_mean_pool(x, data.batch, data.num_graphs))


class Weighted(pyg.MessagePassing):
    """GIN with weighed messages, as PyG's own layer has none: ``(1 + eps) x + sum of weight * relu(x + bond)``."""

    def __init__(self, net: nn.Module, bonds: bool) -> None:
        super().__init__(aggr="add")
        self.nn, self.bonds, self.eps = net, bonds, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, edge_index: Tensor, *extra: Tensor) -> Tensor:
        """Node vectors of the same shape."""
        bond, weight = extra if self.bonds else (None, extra[0])
        near = self.propagate(edge_index, x=x, bond=bond, weight=weight)
        return self.nn(near + (1 + self.eps) * x)  # type: ignore[no-any-return]

    def message(self, x_j: Tensor, bond: Tensor | None, weight: Tensor) -> Tensor:
        return weight[:, None] * (x_j if bond is None else functional.relu(x_j + bond))


class PlainJoint(nn.Module):
    """ICPG's two networks in plain PyG layers: the default edge predictor, a classifier whose messages it weighs."""

    def __init__(self, twin: models.GraphClassifier, hidden: int = 64) -> None:
        super().__init__()
        self.model = PlainPyG(twin)
        if isinstance(twin, models.GIN):
            self.model.convs = nn.ModuleList(Weighted(conv.nn, self.model.bonds) for conv in self.model.convs)
        features = twin.config()["features"]
        molecules = features == "ogb-mol"
        self.atoms = nn.ModuleList(nn.Embedding(size, hidden) for size in (ATOM_FEATURES if molecules else ()))
        self.encoder = None if molecules else nn.Linear(features, hidden)
        self.convs = nn.ModuleList(pyg.GCNConv(hidden, hidden) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(3))
        self.score = nn.Linear(2 * hidden, 1)

    def forward(self, data: Data) -> Tensor:
        """Logits of shape ``(B, outputs)``."""
        z: Any = (
            sum(table(data.x[:, i]) for i, table in enumerate(self.atoms))
            if self.encoder is None
            else self.encoder(data.x)
        )
        z = functional.relu(z)
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            z = conv(norm(z), data.edge_index)
            z = functional.relu(z) if depth < 2 else z
        source, target = data.edge_index
        scores = self.score(torch.cat([z[source], z[target]], 1)).squeeze(1)
        return self.model(data, scores.sigmoid())  # type: ignore[no-any-return]


def layer(twin: models.GraphClassifier, width: int, bonds: bool) -> nn.Module:
    """PyG's layer of the same kind as the twin's."""
    if isinstance(twin, models.GCN):
        return pyg.GCNConv(width, width)
    if isinstance(twin, models.SAGE):
        return pyg.SAGEConv(width, width)
    if isinstance(twin, models.GAT):
        return pyg.GATConv(width, width // 4, heads=4)
    net = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
    return pyg.GINEConv(net, train_eps=True) if bonds else pyg.GINConv(net, train_eps=True)
