"""Reference graph classifiers: GCN, GIN (with bond features where there are any), SAGE and GAT."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.graphs.adjacency import Adjacency, adjacency_of
from graphprune.graphs.conv import GATLayer, GCNLayer, GINELayer, GINLayer, SAGELayer
from graphprune.graphs.dropout import dropout
from graphprune.graphs.encoders import (
    CategoricalEncoder,
    EdgeFeatures,
    Features,
    edge_encoder,
    edge_kinds,
    needed_edges,
    node_encoder,
    node_inputs,
    node_vectors,
)
from graphprune.graphs.kinds import Kinds, Vectors, given, nodes_of
from graphprune.graphs.segments import graph_of_nodes
from graphprune.models.base import GraphNetwork, HasTask

Readout = Literal["mean", "sum", "nodes"]
JumpingKnowledge = Literal["last", "cat"]


class GraphClassifier(GraphNetwork):
    """Node encoder, ``layers`` times convolution, batch norm, ReLU, dropout; readout over nodes; a linear head.

    Args:
        features: columns of ``x``, or ``"ogb-mol"`` for OGB's atom features.
        num_outputs: logits a graph, or a node.
        hidden: width (OGB's reference networks: 300; 64 to 128 train on a CPU).
        layers: convolutions.
        dropout: probability after each layer.
        readout: ``"mean"`` (OGB's reference networks) or ``"sum"`` over a graph's nodes; ``"nodes"``: none, each node
            has logits of its own.
        jk: the head reads the last layer's vectors, or those of all layers and the encoder (Xu et al., ICML 2018).

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1), an unknown readout.
    """

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        hidden: int = 128,
        layers: int = 3,
        *,
        dropout: float = 0.0,
        readout: Readout = "mean",
        jk: JumpingKnowledge = "last",
    ) -> None:
        super().__init__()
        if min(num_outputs, hidden, layers) < 1 or not 0 <= dropout < 1:
            raise ValueError(f"bad sizes: {num_outputs=}, {hidden=}, {layers=}, {dropout=}")
        if readout not in get_args(Readout) or jk not in get_args(JumpingKnowledge):
            raise ValueError(
                f"readout must be one of {get_args(Readout)} and jk of {get_args(JumpingKnowledge)}, "
                f"got {readout!r} and {jk!r}"
            )
        self._config = {
            "features": features,
            "num_outputs": num_outputs,
            "hidden": hidden,
            "layers": layers,
            "dropout": dropout,
            "readout": readout,
            "jk": jk,
        }
        self.dropout, self.readout, self.jk = dropout, readout, jk
        self.node_encoder = node_encoder(features, hidden)
        self.convs = nn.ModuleList(self.conv(hidden) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(layers))
        self.head = nn.Linear(hidden * (layers + 1 if jk == "cat" else 1), num_outputs)

    @classmethod
    def for_data(cls, data: HasTask, hidden: int = 128, layers: int = 3, **options: Any) -> Self:
        """A model for this data set's features and task; ``options`` go to the constructor.

        Raises:
            ValueError: images, or a readout over graphs for labels of nodes, or the other way round.
        """
        cls.check_graphs(data)
        if data.level == "node":
            options = {"readout": "nodes"} | options
        if (options.get("readout") == "nodes") != (data.level == "node"):
            raise ValueError(f"readout={options.get('readout')!r} does not fit labels of a {data.level}")
        return cls(data.features, data.num_outputs, hidden, layers, **options)

    @abstractmethod
    def conv(self, hidden: int) -> nn.Module:
        """One convolution of this width."""

    def bonds_of(self, data: Data, adjacency: Adjacency) -> Kinds | None:
        """The kinds of edges that the layers read, None where they read none."""
        return None

    def convolve(self, depth: int, x: Vectors, adjacency: Adjacency, bonds: Kinds | None) -> Tensor:
        """Layer ``depth`` on node vectors of shape ``(N, hidden)``."""
        return self.convs[depth](given(self.convs[depth], x), adjacency)  # type: ignore[no-any-return]

    def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
        """Logits of a graph or batch.

        Args:
            data: needs ``x`` and ``edge_index``.
            edge_gate: how much of each arc is there, shape ``(E,)``; None: ``data.edge_gate``, if any.

        Returns:
            Shape ``(B, num_outputs)``, or ``(N, num_outputs)`` without a readout.
        """
        adjacency = adjacency_of(data, node_inputs(data)[0].size(0), edge_gate, self.head.weight.dtype)
        x = node_vectors(self.node_encoder, data)
        bonds, vectors = self.bonds_of(data, adjacency), [nodes_of(x)] if self.jk == "cat" else []
        for depth, norm in enumerate(self.norms):
            x = functional.relu(norm(self.convolve(depth, x, adjacency, bonds)))
            x = dropout(x, self.dropout, self.training)
            vectors.append(x)
        return self.head(pool(torch.cat(vectors, 1) if self.jk == "cat" else nodes_of(x), data, self.readout))  # type: ignore[no-any-return]


def pool(x: Tensor, data: Data, readout: Readout) -> Tensor:
    """Sum or mean of node vectors ``(N, F)`` over each graph, ``(B, F)``; 0 for a graph without nodes.

    With the readout ``"nodes"`` the vectors as they are.
    """
    if readout == "nodes":
        return x
    graph, ptr = graph_of_nodes(data, x.size(0), x.device)
    total = x.new_zeros(ptr.numel() - 1, x.size(1)).index_add(0, graph, x)
    return total / ptr.diff().clamp(min=1)[:, None] if readout == "mean" else total


class GCN(GraphClassifier):
    """Graph convolutions of Kipf & Welling (ICLR 2017)."""

    def conv(self, hidden: int) -> nn.Module:
        """One convolution of this width."""
        return GCNLayer(hidden, hidden)


class SAGE(GraphClassifier):
    """GraphSAGE with mean aggregation, Hamilton et al. (NeurIPS 2017)."""

    def conv(self, hidden: int) -> nn.Module:
        """One convolution of this width."""
        return SAGELayer(hidden, hidden)


class GAT(GraphClassifier):
    """Graph attention with 4 heads, Veličković et al. (ICLR 2018)."""

    def conv(self, hidden: int) -> nn.Module:
        """One convolution of this width."""
        if hidden % 4:
            raise ValueError(f"hidden must be a multiple of the 4 attention heads, got {hidden}")
        return GATLayer(hidden, hidden // 4, heads=4)

    def resized(self, hidden: int) -> Self:
        """A freshly initialised model of about this width: the next lower multiple of the 4 heads, at least 4."""
        return super().resized(max(4, hidden - hidden % 4))


class GIN(GraphClassifier):
    """Graph isomorphism network, Xu et al. (ICLR 2019); with ``bonds`` the OGB standard, GINE (Hu et al., ICLR 2020).

    What is true of a bond is true of any edge with features: categories have an embedding table a layer, real columns a
    linear map a layer (as they are: a norm over edges would see gated ones).

    Args:
        features: see :class:`GraphClassifier`, as all others.
        num_outputs: logits a graph.
        hidden: width, also inside each layer's two-layer network.
        layers: convolutions.
        bonds: read the edges' features, ``edge_attr``.
        edge_features: what ``edge_attr`` holds: OGB's bond features (``"ogb-mol"``), so many real columns, or a list of
            how many categories each column has.
        options: see :class:`GraphClassifier`.
    """

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        hidden: int = 128,
        layers: int = 3,
        *,
        bonds: bool = False,
        edge_features: EdgeFeatures = "ogb-mol",
        **options: Any,
    ) -> None:
        self._bonds = self.reads_edge_attr = bonds
        super().__init__(features, num_outputs, hidden, layers, **options)
        self._config["bonds"] = bonds
        if bonds and edge_features != "ogb-mol":
            self._config["edge_features"] = edge_features
        encoders = (edge_encoder(edge_features, hidden, norm=False) for _ in range(layers if bonds else 0))
        self.bond_encoders = nn.ModuleList(encoders)

    @classmethod
    def for_data(cls, data: HasTask, hidden: int = 128, layers: int = 3, **options: Any) -> Self:
        """A model for this data set; it reads edge features if these are categories, as OGB's bonds are.

        ``bonds`` decides otherwise: False reads none, True reads real columns too.

        Raises:
            ValueError: as others raise, or ``bonds=True`` without edge features.
        """
        cls.check_graphs(data)
        known = data.edge_features
        options = {"bonds": known is not None and not isinstance(known, int)} | options
        if options["bonds"]:
            options = {"edge_features": needed_edges("bonds", known)} | options
        return super().for_data(data, hidden, layers, **options)

    def conv(self, hidden: int) -> nn.Module:
        """One convolution of this width."""
        net = nn.Sequential(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        return GINELayer(net) if self._bonds else GINLayer(net)

    def bonds_of(self, data: Data, adjacency: Adjacency) -> Kinds | None:
        """The kinds of edges, in the order of the sorted arcs, sorted out once for all layers."""
        if not self._bonds:
            return None
        if data.edge_attr is None:
            raise ValueError("this GIN reads bond features, but the graphs have no edge_attr; use bonds=False")
        return edge_kinds(data, cast(CategoricalEncoder, self.bond_encoders[0])).ordered(adjacency.arcs.order)

    def convolve(self, depth: int, x: Vectors, adjacency: Adjacency, bonds: Kinds | None) -> Tensor:
        """Layer ``depth``, with its edge vectors where the model reads edges."""
        if bonds is None:
            return super().convolve(depth, x, adjacency, bonds)
        table = self.bond_encoders[depth].encode(bonds.rows)  # type: ignore[operator]
        return self.convs[depth](given(self.convs[depth], x), adjacency, table, bonds)  # type: ignore[no-any-return]
