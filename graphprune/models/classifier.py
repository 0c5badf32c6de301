"""One network of building blocks around any convolution; :mod:`graphprune.models.gnn` names the convolutions."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.checks import share, whole
from graphprune.graphs.adjacency import Adjacency, adjacency_of
from graphprune.graphs.dropout import dropout as drop
from graphprune.graphs.encoders import (
    CategoricalEncoder,
    EdgeFeatures,
    Features,
    edge_encoder,
    edge_kinds,
    needed_edges,
    node_encoder,
)
from graphprune.graphs.inputs import Given, encoding_encoder, encodings_config, node_vectors, reading
from graphprune.graphs.kinds import Kinds, Vectors, given, nodes_of
from graphprune.graphs.segments import graph_of_nodes
from graphprune.models.base import GraphNetwork, HasTask
from graphprune.models.blocks import (
    AttentionReadout,
    FeedForward,
    JumpingKnowledge,
    Norm,
    Readout,
    VirtualNode,
    head_of,
    norm_layer,
    pool,
)

Edges = Kinds | Tensor | None
"""What layers read of edges: kinds that each layer encodes for itself, vectors of the sorted arcs, or nothing."""


class GraphClassifier(GraphNetwork):
    """Node encoder; ``layers`` times convolution, norm, ReLU, dropout and what else is asked for; readout; a head.

    The blocks are those that "GNN+" is made of (Luo et al., ICML 2025); without options they are left out.

    Args:
        features: columns of ``x``, or ``"ogb-mol"`` for OGB's atom features.
        num_outputs: logits a graph, or a node.
        hidden: width (OGB's reference networks: 300; 64 to 128 train on a CPU).
        layers: convolutions.
        dropout: probability after each layer, and inside feed-forward blocks and virtual nodes.
        readout: ``"mean"`` (OGB's reference networks), ``"sum"``, ``"max"`` or ``"attention"`` (a sum weighted by a
            softmax of one score a node; Li et al., ICLR 2016) over a graph's nodes; ``"nodes"``: none, each node has
            logits of its own.
        jk: the head reads the last layer's vectors, those of all layers and the encoder, or the largest of each
            channel among them (Xu et al., ICML 2018).
        encodings: that nodes have beside ``x``, as in :class:`~graphprune.Encodings`; None: none are read.
        bonds: read the edges' features, ``edge_attr``. Unless told, GIN, GatedGCN and PNA read those of a data set that
            are categories, the others none.
        edge_features: what ``edge_attr`` holds: OGB's bond features (``"ogb-mol"``), so many real columns, or a list of
            how many categories each column has.
        norm: after each convolution, in GIN's maps and in all blocks: ``"batch"`` (unless told), ``"layer"``, of which
            compaction removes no channel, or ``"none"``.
        residual: add what a layer has read to what it gives; no layer does unless told.
        feed_forward: two linear maps of each node after each layer, see :class:`~graphprune.models.blocks.FeedForward`;
            none unless told.
        virtual_node: a node beside each graph, see :class:`~graphprune.models.blocks.VirtualNode`; none unless told.
        plain_last: the last convolution's output has no norm, ReLU and dropout; it has unless told.
        head_layers: linear maps of the head, ReLU between them; 1 unless told.
        head_dropout: probability before each of them; 0 unless told.

    Raises:
        ValueError: a size that is no whole number above 0, a dropout outside [0, 1), an unknown readout, norm or jk.
    """

    follows: ClassVar[bool] = False  # edge features that are categories are read, unless bonds says otherwise

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
        encodings: Given = None,
        bonds: bool = False,
        edge_features: EdgeFeatures = "ogb-mol",
        norm: Norm = "batch",
        residual: bool = False,
        feed_forward: bool = False,
        virtual_node: bool = False,
        plain_last: bool = False,
        head_layers: int = 1,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"num_outputs": num_outputs, "hidden": hidden, "layers": layers, "head_layers": head_layers}
        for name, size in sizes.items():
            whole(name, size, 1)
        for name, part in (("dropout", dropout), ("head_dropout", head_dropout)):
            share(name, part)
        for kind, known, value in (
            ("readout", Readout, readout),
            ("jk", JumpingKnowledge, jk),
            ("norm", Norm, norm),
        ):
            if value not in get_args(known):
                raise ValueError(f"{kind} must be one of {get_args(known)}, got {value!r}")
        self.dropout, self.readout, self.jk, self.bonds, self.norm = dropout, readout, jk, bonds, norm
        self.residual, self.layers, self.reads_edge_attr = residual, layers, bonds
        self._config = {"features": features, "num_outputs": num_outputs, "hidden": hidden, "layers": layers}
        self._config |= {"dropout": dropout, "readout": readout, "jk": jk, **encodings_config(encodings)}
        self._keep(GraphClassifier, {**locals(), "edge_features": edge_features if bonds else "ogb-mol"})
        # The order of these lines is that in which initial weights are drawn.
        self.node_encoder = node_encoder(features, hidden)
        self.encoding_encoder = encoding_encoder(encodings, hidden)
        self.convs = nn.ModuleList(self.conv(hidden, depth) for depth in range(layers))
        self.norms = nn.ModuleList(norm_layer(norm, hidden) for _ in range(layers - plain_last))
        read = hidden * (layers + 1 if jk == "cat" else 1)
        self.head = head_of(read, hidden, num_outputs, head_layers, head_dropout)
        encoders = (edge_encoder(edge_features, hidden, norm=False) for _ in range(self.encoders(layers)))
        self.bond_encoders = nn.ModuleList(encoders)
        blocks = (FeedForward(hidden, norm, dropout) for _ in range(layers if feed_forward else 0))
        self.feed_forwards = nn.ModuleList(blocks)
        self.virtual_node = VirtualNode(hidden, layers, norm, dropout, residual) if virtual_node else None
        self.attention = AttentionReadout(read) if readout == "attention" else None

    def _keep(self, owner: Callable[..., Any], given: Mapping[str, Any]) -> None:
        """Write down the options of a class's constructor that are not what they are unless told."""
        for name, option in inspect.signature(owner).parameters.items():
            if option.kind is option.KEYWORD_ONLY and given[name] != option.default:
                self._config.setdefault(name, given[name])

    @classmethod
    def for_data(cls, data: HasTask, hidden: int = 128, layers: int = 3, **options: Any) -> Self:
        """A model for this data set's features and task; ``options`` go to the constructor.

        ``bonds`` says whether edge features are read; unless told, see the class.

        Raises:
            ValueError: images, a readout over graphs for labels of nodes, or the other way round, or ``bonds=True``
                without edge features.
            TypeError: no data set, such as a list of graphs.
        """
        cls.check_graphs(data)
        options, known = reading(data, options), data.edge_features
        options = {"bonds": cls.follows and known is not None and not isinstance(known, int)} | options
        if options["bonds"]:
            options = {"edge_features": needed_edges("bonds", known)} | options
        if data.level == "node":
            options = {"readout": "nodes"} | options
        if (options.get("readout") == "nodes") != (data.level == "node"):
            raise ValueError(f"readout={options.get('readout')!r} does not fit labels of a {data.level}")
        return cls(data.features, data.num_outputs, hidden, layers, **options)

    @abstractmethod
    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""

    def encoders(self, layers: int) -> int:
        """How many encoders of edge features there are: one a layer, if they are read."""
        return layers if self.bonds else 0

    def edges_of(self, data: Data, adjacency: Adjacency) -> Edges:
        """The kinds of edges, in the order of the sorted arcs, sorted out once for all layers; None: not read."""
        if not self.bonds:
            return None
        if data.edge_attr is None:
            raise ValueError(
                f"this {type(self).__name__} reads bond features, but the graphs have no edge_attr; use bonds=False"
            )
        return edge_kinds(data, cast(CategoricalEncoder, self.bond_encoders[0])).ordered(adjacency.arcs.order)

    def convolve(self, depth: int, x: Vectors, adjacency: Adjacency, edges: Edges) -> tuple[Tensor, Edges]:
        """Layer ``depth`` on node vectors of shape ``(N, hidden)``, and what the next layer reads of edges."""
        conv = self.convs[depth]
        if not isinstance(edges, Kinds):
            return conv(given(conv, x), adjacency), edges
        table = self.bond_encoders[depth].encode(edges.rows)  # type: ignore[operator]
        return conv(given(conv, x), adjacency, table, edges), edges

    def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
        """Logits of a graph or batch.

        Args:
            data: needs ``x`` and ``edge_index``.
            edge_gate: how much of each arc is there, shape ``(E,)``; None: ``data.edge_gate``, if any.

        Returns:
            Shape ``(B, num_outputs)``, or ``(N, num_outputs)`` without a readout.
        """
        x: Vectors = node_vectors(self, data)
        adjacency = adjacency_of(data, x.size(0), edge_gate, next(self.parameters()).dtype)
        edges, vectors = self.edges_of(data, adjacency), [] if self.jk == "last" else [nodes_of(x)]
        if self.virtual_node is not None:
            graph, ptr = graph_of_nodes(data, x.size(0), adjacency.arcs.ptr.device)
            virtual = self.virtual_node.start.weight.expand(ptr.numel() - 1, -1)
        for depth in range(len(self.convs)):
            if self.virtual_node is not None:
                x = nodes_of(x) + virtual.index_select(0, graph)
            read = x
            x, edges = self.convolve(depth, read, adjacency, edges)
            if depth < len(self.norms):
                x = drop(functional.relu(self.norms[depth](x)), self.dropout, self.training)
            if self.residual:
                x = nodes_of(read) + x
            if self.feed_forwards:
                x = self.feed_forwards[depth](x)
            vectors.append(nodes_of(x))
            if self.virtual_node is not None and depth < len(self.convs) - 1:
                virtual = self.virtual_node(depth, virtual, nodes_of(read), graph)
        if self.jk == "cat":
            x = torch.cat(vectors, 1)
        elif self.jk == "max":
            x = torch.stack(vectors).amax(0)
        return self.head(pool(nodes_of(x), data, self.readout if self.attention is None else self.attention))  # type: ignore[no-any-return]
