"""Two-layer node classifiers of Kipf & Welling's kind, as UGS trains them on Planetoid's citation graphs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.checks import share, whole
from graphprune.graphs.adjacency import Adjacency, Degree, adjacency_of
from graphprune.graphs.conv import BagLinear, GATLayer
from graphprune.graphs.dropout import dropout
from graphprune.graphs.encoders import node_inputs
from graphprune.graphs.encodings import Encodings
from graphprune.graphs.inputs import SPREAD, Given, encodings_config, reading
from graphprune.graphs.norms import RowNorm
from graphprune.models.base import GraphNetwork, HasTask


class NodeClassifier(GraphNetwork):
    """Two convolutions, straight from the features to the classes: no encoder, no norms.

    Sizes are those of UGS (Chen et al., ICML 2021, Planetoid). A gate of 0 is a removed edge.

    Args:
        features: columns of ``x``.
        num_outputs: logits a node.
        hidden: width (UGS: 512).
        dropout: between the layers, in training (UGS: 0.5).
        input_dropout: of the features, in training (UGS: 0; Kipf & Welling: 0.5).
        encodings: that nodes have beside ``x``, see :class:`~graphprune.models.GraphClassifier`; normalised, they are
            more columns for the first layer.

    Raises:
        ValueError: a size below 1, categorical features, or dropout outside [0, 1).
    """

    def __init__(
        self,
        features: int,
        num_outputs: int,
        hidden: int = 512,
        *,
        dropout: float = 0.5,
        input_dropout: float = 0.0,
        encodings: Given = None,
    ) -> None:
        super().__init__()
        for name, size in (("features", features), ("num_outputs", num_outputs), ("hidden", hidden)):
            whole(name, size, 1)
        share("dropout", dropout)
        share("input_dropout", input_dropout)
        self._config = {"features": features, "num_outputs": num_outputs, "hidden": hidden, "dropout": dropout}
        if input_dropout:
            self._config["input_dropout"] = input_dropout
        self._config |= encodings_config(encodings)
        self.dropout, self.input_dropout = dropout, input_dropout
        self.encodings = None if encodings is None else Encodings.of(encodings)
        more = 0 if self.encodings is None else self.encodings.columns
        # Without weights of its own, which the first map has: sparse inputs get no gradients.
        self.encoding_norm = RowNorm(more, eps=SPREAD, affine=False) if more else None
        self.inputs = features + more

    @classmethod
    def for_data(cls, data: HasTask, hidden: int = 512, **options: Any) -> Self:
        """A model for this data set's features and classes.

        Raises:
            ValueError: labels of graphs or images, or OGB's categorical features.
        """
        cls.check_graphs(data)
        if data.level != "node" or not isinstance(data.features, int):
            raise ValueError(
                f"{cls.__name__} classifies nodes with real features; this data has labels of a {data.level} and "
                f"features {data.features!r}: take GCN, GIN, SAGE or GAT"
            )
        return cls(data.features, data.num_outputs, hidden, **reading(data, options))

    def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
        """Logits of each node, ``(N, num_outputs)``; gates as in :class:`~graphprune.models.GraphClassifier`."""
        x, _ = node_inputs(data)
        dtype = next(self.parameters()).dtype
        if self.encodings is not None and self.encoding_norm is not None:
            found = self.encodings.there(data, type(self).__name__)
            x = torch.cat([x, self.encoding_norm(found.to(dtype)).to(x.dtype)], 1)
        return self.classify(x, adjacency_of(data, x.size(0), edge_gate, dtype))

    @abstractmethod
    def classify(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Logits from features ``(N, F)``."""

    def drop(self, x: Tensor) -> Tensor:
        """Dropout in training."""
        return dropout(x, self.dropout, self.training)


class NodeGCN(NodeClassifier):
    """GCN without biases (Kipf & Welling, ICLR 2017)."""

    degree: Degree = "target"  # over which end of the arcs degrees are summed

    def __init__(self, features: int, num_outputs: int, hidden: int = 512, **options: Any) -> None:
        super().__init__(features, num_outputs, hidden, **options)
        self.first = BagLinear(self.inputs, hidden, bias=False, dropout=self.input_dropout)
        self.second = nn.Linear(hidden, num_outputs, bias=False)

    def classify(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Logits from features ``(N, F)``."""
        x = self.drop(functional.relu(adjacency.gcn(self.first(x), self.degree)))
        return adjacency.gcn(self.second(x), self.degree)


class UGSGCN(NodeGCN):
    """:class:`NodeGCN` as in UGS's code: degrees are summed over sources, which differs once single arcs are pruned."""

    degree = "source"


class _Head(nn.Linear):
    """A prediction head that UGS does not prune."""

    protected_parameters = frozenset({"weight"})


class NodeGIN(NodeClassifier):
    """GIN with one linear map a layer and mean aggregation; the mean of the layers' predictions (UGS's GIN)."""

    def __init__(self, features: int, num_outputs: int, hidden: int = 512, **options: Any) -> None:
        super().__init__(features, num_outputs, hidden, **options)
        self.first = BagLinear(self.inputs, hidden, dropout=self.input_dropout)
        self.second = nn.Linear(hidden, num_outputs)
        self.head = _Head(hidden, num_outputs, bias=False)

    def near(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """What a node gets from its neighbours."""
        return adjacency.mean(x)

    def classify(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Logits from features ``(N, F)``."""
        x = self.first(x)  # the map and the mean commute, and the map makes narrower vectors
        x = self.drop(functional.relu(x + self.near(x, adjacency)))
        own = self.second(x)
        return (self.head(x) + own + self.near(own, adjacency)) / 2  # type: ignore[no-any-return]


class UGSGIN(NodeGIN):
    """:class:`NodeGIN` as in UGS's code: the mean still divides by the degree before pruning, which is no removal."""

    def near(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Gated sum over the number of all arcs, gated off or not."""
        degree = adjacency.arcs.ptr.diff().clamp(min=1).to(x.dtype)
        return adjacency.sum(x) / degree[:, None]


class NodeGAT(NodeClassifier):
    """GAT: 8 heads of width ``hidden``, then one head of the classes (Veličković et al., ICLR 2018)."""

    layer: type[GATLayer] = GATLayer

    def __init__(self, features: int, num_outputs: int, hidden: int = 512, **options: Any) -> None:
        super().__init__(features, num_outputs, hidden, **options)
        self.first = self.layer(self.inputs, hidden, heads=8)
        self.second = self.layer(8 * hidden, num_outputs, heads=1)
        inner = BagLinear(self.inputs, 8 * hidden, bias=False, dropout=self.input_dropout)
        inner.weight = self.first.lin.weight
        self.first.lin = inner

    def classify(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Logits from features ``(N, F)``."""
        return self.second(self.drop(functional.elu(self.first(x, adjacency))), adjacency)  # type: ignore[no-any-return]


class _ScaledGATLayer(GATLayer):
    """Attention whose gates scale the logits; its attention vectors are pruned with the weights, as in UGS's code."""

    protected_parameters = frozenset()
    prunable_parameters = frozenset({"att_src", "att_dst"})

    def attend(self, adjacency: Adjacency, *args: Any) -> Tensor:
        return adjacency.attend_scaled(*args)


class UGSGAT(NodeGAT):
    """:class:`NodeGAT` as in UGS's code: a pruned edge keeps a logit of 0 and takes attention, which is no removal."""

    layer = _ScaledGATLayer
