"""The edge predictor of ICPG: a small graph network whose node vectors score the edges between them."""

from __future__ import annotations

import copy
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.graphs.adjacency import Adjacency, Degree
from graphprune.graphs.conv import DenseLayer, GATLayer, GCNLayer, GINLayer
from graphprune.graphs.encoders import CategoricalEncoder, FeatureEncoder, Features, node_encoder, node_inputs
from graphprune.graphs.fold import fold_after, fold_before

Encoder = Literal["gcn", "gin", "gat", "mlp"]
Score = Literal["concat_mlp", "inner_product"]


class HasFeatures(Protocol):
    """What the predictor must know of a data set."""

    @property
    def features(self) -> Features: ...  # noqa: D102


class EdgePredictor(nn.Module):
    """Scores every arc of a graph from node features and structure (Sui et al., JCST 2024: the "AutoMasker").

    Input encoder, ReLU, then ``layers`` times batch norm, convolution, ReLU (none after the last), then a score of both
    end vectors. Widths, depth and heads follow the authors' code.

    Args:
        features: columns of ``x``, or ``"ogb-mol"`` for OGB's atom features.
        hidden: width of the node vectors (authors: 64).
        score: ``"concat_mlp"``: one linear map of both ends' vectors, its logit is a(u) + c(v); ``"inner_product"``:
            the product of both vectors, symmetric.
        encoder: ``"gcn"`` (authors' default), ``"gin"``, ``"gat"`` (4 heads, attention dropout 0.2) or ``"mlp"`` (no
            message passing).
        layers: convolutions (authors: 3).
        degree: over which end of the arcs GCN sums degrees (authors: ``"source"``; the same on symmetric graphs).

    Raises:
        ValueError: an unknown encoder or score, a size below 1, or a width that the attention heads do not divide.
    """

    def __init__(
        self,
        features: Features,
        hidden: int = 64,
        score: Score = "concat_mlp",
        encoder: Encoder = "gcn",
        layers: int = 3,
        degree: Degree = "target",
    ) -> None:
        super().__init__()
        if min(hidden, layers) < 1:
            raise ValueError(f"hidden and layers must be at least 1, got {hidden=} and {layers=}")
        if score not in ("concat_mlp", "inner_product"):
            raise ValueError(f"score must be 'concat_mlp' or 'inner_product', got {score!r}")
        self._config = {
            "features": features,
            "hidden": hidden,
            "score": score,
            "encoder": encoder,
            "layers": layers,
            "degree": degree,
        }
        self.node_encoder = node_encoder(features, hidden)
        self.start: nn.Module = nn.ReLU(inplace=True)
        self.convs = nn.ModuleList(_layer(encoder, hidden, degree) for _ in range(layers))
        # GIN's own network normalises; the others see normalised input.
        self.norms = nn.ModuleList(nn.Identity() if encoder == "gin" else nn.BatchNorm1d(hidden) for _ in range(layers))
        self.head = nn.Linear(2 * hidden, 1) if score == "concat_mlp" else None
        self._scores_nodes = False  # the last layer gives both node scores itself, see folded()

    @classmethod
    def for_data(
        cls,
        data: HasFeatures,
        hidden: int = 64,
        score: Score = "concat_mlp",
        encoder: Encoder = "gcn",
        layers: int = 3,
        degree: Degree = "target",
    ) -> Self:
        """A predictor for the features of this data set."""
        return cls(data.features, hidden, score, encoder, layers, degree)

    def config(self) -> dict[str, Any]:
        """The arguments the predictor was made from."""
        return dict(self._config)

    def forward(self, data: Data) -> Tensor:
        """Logits of all arcs of a graph or batch, shape ``(E,)``; the sigmoid is the paper's score."""
        x, edge_index = node_inputs(data)
        dtype = next(self.parameters()).dtype
        adjacency = Adjacency(edge_index, x.size(0), None, data.get("edge_weight"), dtype)
        z: Tensor = self.start(self.node_encoder(x))
        for depth, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True), start=1):
            z = conv(norm(z), adjacency)
            if depth < len(self.convs):
                # Not in place in training: GIN's own network ends in a ReLU, whose output its gradient reads.
                z = functional.relu(z, inplace=not torch.is_grad_enabled())
        source, target = edge_index
        if self.head is None:
            return (z.index_select(0, source) * z.index_select(0, target)).sum(1)
        # Linear(concat(u, v)) is a sum of two node scores: compute them once a node, not once an arc.
        ends = z if self._scores_nodes else functional.linear(z, self.head.weight.view(2, -1))
        at_source, at_target = ends.unbind(1)
        return at_source.index_select(0, source) + at_target.index_select(0, target) + self.head.bias

    @torch.no_grad()
    def folded(self) -> Self:
        """A copy in evaluation mode that computes the same scores in fewer passes.

        Batch norms go into the linear maps beside them. The first map joins an encoder of categories, which knows few
        distinct rows. Nothing but sums lies between the last map of GCN and MLP and a ``concat_mlp`` score, so that
        this map can give the two node scores instead of a vector.
        """
        other = copy.deepcopy(self).eval()
        if isinstance(other.node_encoder, FeatureEncoder):
            fold_before(other.node_encoder.norm, other.node_encoder.lin)
            other.node_encoder.norm = nn.Identity()
        for depth, conv in enumerate(other.convs):
            if isinstance(conv, GINLayer):
                assert isinstance(conv.nn, nn.Sequential)
                fold_after(conv.nn[0], conv.nn[1])
                conv.nn[1] = nn.Identity()
            elif isinstance(conv, GCNLayer | GATLayer | DenseLayer):
                fold_before(other.norms[depth], conv.lin)
                other.norms[depth] = nn.Identity()
        first, last = other.convs[0], other.convs[-1]
        if other.head is not None and isinstance(last, GCNLayer | DenseLayer):
            to_ends = other.head.weight.view(2, -1)
            last.lin.weight = nn.Parameter(to_ends @ last.lin.weight)
            last.lin.bias = nn.Parameter(to_ends @ last.lin.bias)
            if isinstance(last, GCNLayer):
                last.bias = nn.Parameter(to_ends @ last.bias)
            other._scores_nodes = True
        if isinstance(other.node_encoder, CategoricalEncoder) and isinstance(first, GCNLayer | GATLayer | DenseLayer):
            other.node_encoder.then = nn.Sequential(other.start, first.lin)
            other.start = first.lin = nn.Identity()  # type: ignore[assignment]
        return other


def _layer(encoder: Encoder, hidden: int, degree: Degree) -> nn.Module:
    if encoder == "gcn":
        return GCNLayer(hidden, hidden, degree)
    if encoder == "gin":
        return GINLayer(
            nn.Sequential(
                nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
            )
        )
    if encoder == "gat":
        if hidden % 4:
            raise ValueError(f"hidden must be a multiple of the 4 attention heads, got {hidden}")
        return GATLayer(hidden, hidden // 4, heads=4, dropout=0.2)
    if encoder == "mlp":
        return DenseLayer(hidden, hidden)
    raise ValueError(f"encoder must be 'gcn', 'gin', 'gat' or 'mlp', got {encoder!r}")
