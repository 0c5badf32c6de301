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
    """Embeddings a feature, PyG convolutions, batch norm, ReLU, readout, head: as a tutorial writes it."""

    def __init__(self, twin: models.GraphClassifier) -> None:
        super().__init__()
        config = twin.config()
        width, layers, self.bonds = config["hidden"], config["layers"], bool(config.get("bonds"))
        features = config["features"]
        molecules = features == "ogb-mol"
        self.atoms = nn.ModuleList(nn.Embedding(size, width) for size in (ATOM_FEATURES if molecules else ()))
        self.encoder = None if molecules else nn.Linear(features, width)
        walks = config.get("encodings", {}).get("walks")
        self.places = nn.Linear(walks, width) if walks else None
        self.convs = nn.ModuleList(layer(twin, width, self.bonds, depth) for depth in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in twin.norms)
        self.bond_tables = nn.ModuleList(
            nn.ModuleList(nn.Embedding(size, width) for size in BOND_FEATURES) for _ in range(layers * self.bonds)
        )
        self.readout = {"mean": pyg.global_mean_pool, "sum": pyg.global_add_pool}[config["readout"]]
        self.cat, self.residual = config["jk"] == "cat", twin.residual
        maps = config.get("head_layers", 1)
        self.head = pyg.MLP(
            [width * (layers + 1 if self.cat else 1), *[width] * (maps - 1), config["num_outputs"]], norm=None
        )
        self.dropout = config["dropout"]

    def forward(self, data: Data, weight: Tensor | None = None) -> Tensor:
        """Logits of shape ``(B, outputs)``; ``weight`` weighs the arcs' messages (GCN, and `Weighted` layers)."""
        x: Any = (
            sum(table(data.x[:, i]) for i, table in enumerate(self.atoms))
            if self.encoder is None
            else self.encoder(data.x)
        )
        if self.places is not None:
            x = x + self.places(data.encodings)
        vectors, edges = [x], None
        for depth, conv in enumerate(self.convs):
            extra, read = [], x
            if self.bonds:
                extra = [sum(table(data.edge_attr[:, i]) for i, table in enumerate(self.bond_tables[depth]))]
            if weight is not None:
                extra.append(weight)
            x = conv(x, data.edge_index, *([edges] if isinstance(conv, Gated) else extra))
            if isinstance(conv, Gated):
                x, edges = x
            if depth < len(self.norms):
                x = functional.dropout(functional.relu(self.norms[depth](x)), self.dropout, self.training)
            if self.residual:
                x = x + read
            vectors.append(x)
        x = torch.cat(vectors, 1) if self.cat else x
        return self.head(self.readout(x, data.batch, data.num_graphs))  # type: ignore[no-any-return]


class Gated(pyg.MessagePassing):
    """Gated graph convolution with vectors of arcs, as Dwivedi et al. and GraphGPS write it on PyG."""

    def __init__(self, width: int, first: bool, last: bool, residual: bool) -> None:
        super().__init__(aggr="add")
        self.A, self.B, self.D, self.E = (nn.Linear(width, width) for _ in range(4))
        self.C = None if first else nn.Linear(width, width)
        self.norm = None if last else nn.BatchNorm1d(width)
        self.residual = residual

    def forward(self, x: Tensor, edge_index: Tensor, edge: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Vectors of the nodes, and of the arcs for the next layer."""
        source, target = edge_index
        logit = self.D(x)[target] + self.E(x)[source]
        if self.C is not None:
            logit = logit + self.C(edge)
        share = logit.sigmoid()
        values = self.propagate(edge_index, value=self.B(x), share=share)
        total = self.aggregate(share, target, dim_size=x.size(0))
        x = self.A(x) + values / (total + 1e-6)
        if self.norm is None:
            return x, None
        made = functional.relu(self.norm(logit))
        return x, made + edge if self.residual and edge is not None else made

    def message(self, value_j: Tensor, share: Tensor) -> Tensor:
        return share * value_j


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


def layer(twin: models.GraphClassifier, width: int, bonds: bool, depth: int) -> nn.Module:
    """PyG's layer of the same kind as the twin's at this depth."""
    if isinstance(twin, models.GatedGCN) and not bonds:
        return Gated(width, depth == 0, depth == twin.layers - 1, twin.residual)
    if isinstance(twin, models.GCN):
        return pyg.GCNConv(width, width)
    if isinstance(twin, models.SAGE):
        return pyg.SAGEConv(width, width)
    if isinstance(twin, models.GAT):
        return pyg.GATConv(width, width // 4, heads=4)
    net = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
    eps = bool(twin.config().get("train_eps", True))
    return pyg.GINEConv(net, train_eps=eps) if bonds else pyg.GINConv(net, train_eps=eps)
