"""The network of the ICPG authors' TU experiments, for ``protocol="paper"``."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.checks import whole
from graphprune.graphs.adjacency import adjacency_of
from graphprune.graphs.conv import GCNLayer
from graphprune.graphs.encoders import Features, node_encoder
from graphprune.graphs.inputs import Given, encoding_encoder, encodings_config, node_vectors, reading
from graphprune.graphs.kinds import Vectors, given, normed, rowwise
from graphprune.graphs.norms import RowNorm
from graphprune.models.base import GraphNetwork, HasTask
from graphprune.models.blocks import pool


class PaperGCN(GraphNetwork):
    """Batch norm before each map, GCN with degrees over sources, sum readout, two-layer head.

    The classifier of Sui et al. (JCST 2024) as their code has it: width 128, 3 convolutions, no dropout, batch norms
    that start at a bias of 1e-4. Their code calls it ResGCN but adds no residual connection.

    Args:
        features: columns of ``x``, or ``"ogb-mol"``.
        num_outputs: logits a graph.
        hidden: width.
        layers: convolutions.
        encodings: that nodes have beside ``x``, see :class:`~graphprune.models.GraphClassifier`.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self, features: Features, num_outputs: int, hidden: int = 128, layers: int = 3, *, encodings: Given = None
    ) -> None:
        super().__init__()
        for name, size in (("num_outputs", num_outputs), ("hidden", hidden), ("layers", layers)):
            whole(name, size, 1)
        self._config = {"features": features, "num_outputs": num_outputs, "hidden": hidden, "layers": layers}
        self._config |= encodings_config(encodings)
        self.node_encoder = node_encoder(features, hidden)
        self.encoding_encoder = encoding_encoder(encodings, hidden)
        self.norms = nn.ModuleList(RowNorm(hidden) for _ in range(layers))
        self.convs = nn.ModuleList(GCNLayer(hidden, hidden, degree="source") for _ in range(layers))
        self.head = nn.Sequential(
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, num_outputs),
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.constant_(module.bias, 1e-4)

    @classmethod
    def for_data(cls, data: HasTask, hidden: int = 128, layers: int = 3, **options: Any) -> Self:
        """A model for this data set's features and task; raises ValueError for labels of nodes or images."""
        cls.check_graphs(data)
        if data.level != "graph":
            raise ValueError(f"{cls.__name__} reads out whole graphs, the data has labels of a {data.level}")
        return cls(data.features, data.num_outputs, hidden, layers, **reading(data, options))

    def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
        """Logits of shape ``(B, num_outputs)``; ``edge_gate`` as in :class:`~graphprune.models.GraphClassifier`."""
        x: Vectors = rowwise(functional.relu, node_vectors(self, data))
        adjacency = adjacency_of(data, x.size(0), edge_gate, next(self.parameters()).dtype)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = functional.relu(conv(given(conv, normed(norm, x)), adjacency), inplace=True)
        assert isinstance(x, Tensor)
        return self.head(pool(x, data, "sum"))  # type: ignore[no-any-return]
