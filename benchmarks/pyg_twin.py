"""The reference networks written with PyG's own layers and OGB's encoders, for comparison."""

from __future__ import annotations

from typing import Any

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
        self.head = nn.Linear(width, config["num_outputs"])

    def forward(self, data: Data) -> Tensor:
        """Logits of shape ``(B, outputs)``."""
        x: Any = (
            sum(table(data.x[:, i]) for i, table in enumerate(self.atoms))
            if self.encoder is None
            else self.encoder(data.x)
        )
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            extra = []
            if self.bonds:
                extra = [sum(table(data.edge_attr[:, i]) for i, table in enumerate(self.bond_tables[depth]))]
            x = functional.relu(norm(conv(x, data.edge_index, *extra)))
        return self.head(pyg.global_mean_pool(x, data.batch, data.num_graphs))


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
