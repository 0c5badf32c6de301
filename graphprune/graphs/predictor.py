"""The edge predictor of ICPG: a small graph network whose node vectors score the edges between them."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Literal, Protocol, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.checks import whole
from graphprune.graphs.adjacency import Adjacency, Degree
from graphprune.graphs.attributes import check_data, in_dtype
from graphprune.graphs.conv import DenseLayer, GATLayer, GCNLayer, GINLayer
from graphprune.graphs.encoders import (
    EdgeFeatures,
    FeatureEncoder,
    Features,
    edge_encoder,
    edge_kinds,
    is_own,
    needed_edges,
    node_encoder,
)
from graphprune.graphs.inputs import Given, encoding_encoder, encodings_config, node_vectors, reading
from graphprune.graphs.kinds import Kinds, NodeRows, Vectors, given, nodes_of, normed, pairs, rowwise
from graphprune.graphs.known import watched
from graphprune.graphs.norms import RowNorm, fold_after, fold_before
from graphprune.graphs.pairs import arcs_of
from graphprune.graphs.walks import MOST_STEPS, walks_of

Encoder = Literal["gcn", "gin", "gat", "mlp"]
Score = Literal["concat_mlp", "inner_product", "bilinear"]

RANK = 16  # of the bilinear form


class HasFeatures(Protocol):
    """What the predictor must know of a data set."""

    @property
    def features(self) -> Features: ...  # noqa: D102


class EdgePredictor(nn.Module):
    """Scores every arc of a graph from node features and structure (Sui et al., JCST 2024: the "AutoMasker").

    Input encoder, ReLU, then ``layers`` times batch norm, convolution, ReLU (none after the last), then a score of both
    end vectors. Widths, depth and heads follow the authors' code.

    Args:
        features: columns of ``x``, ``"ogb-mol"`` for OGB's atom features, or a list of how many categories each column
            of integers has.
        hidden: width of the node vectors (authors: 64).
        score: ``"concat_mlp"``: one linear map of both ends' vectors, its logit is a(u) + c(v); ``"inner_product"``:
            the product of both vectors, symmetric; ``"bilinear"``: concat_mlp's logit and a symmetric form of both
            vectors, ``sum_k w_k (P z_u)_k (P z_v)_k`` with 16 signed weights, so that the worth of an end can depend on
            the other one.
        encoder: ``"gcn"`` (authors' default), ``"gin"``, ``"gat"`` (4 heads, attention dropout 0.2) or ``"mlp"`` (no
            message passing).
        layers: convolutions (authors: 3).
        degree: over which end of the arcs GCN sums degrees (authors: ``"source"``; the same on symmetric graphs).
        walks: the node features are joined by the degree and the return probabilities of random walks of 2 to this many
            steps (see :func:`~graphprune.graphs.walks.walk_features`), from 2 to 128; 0: by nothing (authors).
        edges: an arc's own features, ``edge_attr``, add to its logit (see :class:`EdgeTerm`); False: they are not read
            (authors).
        edge_features: what ``edge_attr`` holds, where ``edges`` are read: columns, ``"ogb-mol"`` for OGB's bond
            features, or a list of how many categories each column of integers has.
        encodings: that nodes have beside ``x``, as in :class:`~graphprune.Encodings`: those of the data set, read
            besides ``walks``; None: none are read.

    Raises:
        ValueError: an unknown encoder or score, a size out of range, a width that the attention heads do not divide, or
            ``edges`` without features.
    """

    follows_dtype = True  # of its parameters, whatever that is
    leaves_data = True  # as it is given

    def __init__(
        self,
        features: Features,
        hidden: int = 64,
        score: Score = "concat_mlp",
        encoder: Encoder = "gcn",
        layers: int = 3,
        degree: Degree = "target",
        walks: int = 0,
        edges: bool = False,
        edge_features: EdgeFeatures | None = None,
        encodings: Given = None,
    ) -> None:
        super().__init__()
        hidden, layers = whole("hidden", hidden, 1), whole("layers", layers, 1)
        walks = whole("walks", walks)
        if walks and not 2 <= walks <= MOST_STEPS:
            raise ValueError(f"walks must be 0, or from 2, when a walk can be back, to {MOST_STEPS}, got {walks!r}")
        if score not in get_args(Score):
            raise ValueError(f"score must be one of {', '.join(get_args(Score))}, got {score!r}")
        self._config: dict[str, Any] = {
            "features": features,
            "hidden": hidden,
            "score": score,
            "encoder": encoder,
            "layers": layers,
            "degree": degree,
        }
        if walks:  # those of predictors without are as they were before there was a choice
            self._config["walks"] = walks
        if edges:
            self._config |= {"edges": edges, "edge_features": edge_features}
        self._config |= encodings_config(encodings)
        self.node_encoder = node_encoder(features, hidden)
        self.encoding_encoder = encoding_encoder(encodings, hidden)
        self.walks, self.walk_encoder = walks, FeatureEncoder(walks, hidden) if walks else None
        self.start: nn.Module = nn.ReLU()
        self.convs = nn.ModuleList(_layer(encoder, hidden, degree) for _ in range(layers))
        # GIN's own network normalises; the others see normalised input.
        self.norms = nn.ModuleList(nn.Identity() if encoder == "gin" else RowNorm(hidden) for _ in range(layers))
        self.head = None if score == "inner_product" else nn.Linear(2 * hidden, 1)
        self.form = BilinearForm(hidden, RANK) if score == "bilinear" else None
        self.edge_term = EdgeTerm(needed_edges("edges", edge_features), hidden) if edges else None
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
        walks: int = 0,
        edges: bool = False,
    ) -> Self:
        """A predictor for the features of this data set.

        Raises:
            ValueError: as the constructor does; ``edges=True`` for a set without edge features; TypeError: no data set.
        """
        check_data(data)
        if getattr(data, "level", "graph") == "image":
            raise ValueError("an edge predictor reads graphs, and images have no edges")
        known: EdgeFeatures | None = getattr(data, "edge_features", None) if edges else None
        return cls(data.features, hidden, score, encoder, layers, degree, walks, edges, known, **reading(data, {}))

    def config(self) -> dict[str, Any]:
        """The arguments the predictor was made from."""
        return dict(self._config)

    def forward(self, data: Data) -> Tensor:
        """Logits of all arcs of a graph or batch, shape ``(E,)``; the sigmoid is the paper's score."""
        dtype = next(self.parameters()).dtype
        if not is_own(self.node_encoder):  # which may work in place, and has no eye for dtypes
            data = in_dtype(data, dtype)
        z, edge_index = node_vectors(self, data), arcs_of(data)
        adjacency = Adjacency(edge_index, z.size(0), None, data.get("edge_weight"), dtype)
        if self.walk_encoder is not None:
            z = nodes_of(z) + self.walk_encoder(walks_of(data, self.walks))
        z = rowwise(self.start, z)
        for depth, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True), start=1):
            z, to_ends = normed(norm, z), self._to_ends() if depth == len(self.convs) else None
            z = conv(given(conv, z), adjacency) if to_ends is None else conv.mapped_on(to_ends, z, adjacency)  # type: ignore[operator]
            if depth < len(self.convs):
                z = rowwise(partial(functional.relu, inplace=_unread(conv)), z)
        logits = self._between_kinds(z, edge_index, self._scores_nodes or to_ends is not None)
        return logits if self.edge_term is None else logits + self.edge_term(data)

    def _to_ends(self) -> Tensor | None:
        """The head's map to the two node scores, where it can join the last layer's: only sums lie between them."""
        last, head = self.convs[-1], self.head
        if self._scores_nodes or head is None or self.form is not None or type(last) not in (GCNLayer, DenseLayer):
            return None
        if type(last.lin) is not nn.Linear or any(map(watched, (last, last.lin, head))):
            return None
        # A product of weights in half precision would not be that of the maps.
        return None if torch.is_autocast_enabled(head.weight.device.type) else head.weight.view(2, -1)

    def _between_kinds(self, z: Vectors, edge_index: Tensor, ends: bool) -> Tensor:
        """As :meth:`_between`, products of vectors once for each two kinds of nodes that arcs join, if they are few."""
        if isinstance(z, NodeRows) and not watched(self.form):
            source, target = edge_index
            at_target = Kinds(z.kinds.rows, z.kinds.which.index_select(0, target))
            found = pairs(z.kinds, source, at_target, source.numel() // 2)
            if found is not None:
                *joined, which = found
                return self._between(z.rows, torch.stack(joined), ends).index_select(0, which)
        return self._between(nodes_of(z), edge_index, ends)

    def _between(self, z: Tensor, edge_index: Tensor, ends: bool) -> Tensor:
        """Logits of arcs from what the last layer says of their ends: vectors, or (``ends``) both node scores."""
        source, target = edge_index
        if self.head is None:
            return (z.index_select(0, source) * z.index_select(0, target)).sum(1)
        # Linear(concat(u, v)) is a sum of two node scores: compute them once a node, not once an arc.
        scores = z if ends else functional.linear(z, self.head.weight.view(2, -1))
        at_source, at_target = scores.unbind(1)
        logits = at_source.index_select(0, source) + at_target.index_select(0, target) + self.head.bias
        return logits if self.form is None else logits + self.form(z, edge_index)

    @torch.no_grad()
    def folded(self) -> Self:
        """A copy in evaluation mode that computes the same scores in fewer passes.

        Batch norms go into the linear maps beside them, and the map from vectors to scores of nodes, see ``forward``,
        into the last layer's once for all batches.
        """
        other = copy.deepcopy(self).eval()
        edge_features = None if other.edge_term is None else other.edge_term.encoder
        for encoder in (other.node_encoder, other.walk_encoder, other.encoding_encoder, edge_features):
            if isinstance(encoder, FeatureEncoder):
                fold_before(encoder.norm, encoder.lin)
                encoder.norm = nn.Identity()
        for depth, conv in enumerate(other.convs):
            if isinstance(conv, GINLayer):
                assert isinstance(conv.nn, nn.Sequential)
                fold_after(conv.nn[0], conv.nn[1])
                conv.nn[1] = nn.Identity()
            elif isinstance(conv, GCNLayer | GATLayer | DenseLayer):
                fold_before(other.norms[depth], conv.lin)
                other.norms[depth] = nn.Identity()
        to_ends, last = other._to_ends(), other.convs[-1]
        if to_ends is not None and isinstance(last, GCNLayer | DenseLayer):
            last.lin.weight = nn.Parameter(to_ends @ last.lin.weight)
            last.lin.bias = nn.Parameter(to_ends @ last.lin.bias)
            if isinstance(last, GCNLayer):
                last.bias = nn.Parameter(to_ends @ last.bias)
            other._scores_nodes = True
        return other


def _unread(conv: nn.Module) -> bool:
    """Whether nobody else reads what a convolution gives: no hook, and no gradient of the ReLU that GIN's maps end in.

    Of a user's own layer it is not known.
    """
    if any(map(watched, conv.modules())):
        return False
    return type(conv) in (GCNLayer, GATLayer, DenseLayer) or (type(conv) is GINLayer and not torch.is_grad_enabled())


_AT_ONCE = 1 << 12  # arcs


class BilinearForm(nn.Module):
    """``sum_k w_k (P z_u)_k (P z_v)_k`` of the vectors at both ends of each arc."""

    def __init__(self, hidden: int, rank: int) -> None:
        super().__init__()
        self.lin = nn.Linear(hidden, rank)
        self.weight = nn.Parameter(torch.randn(rank) * rank**-0.5)

    def forward(self, z: Tensor, edge_index: Tensor) -> Tensor:
        """Of node vectors ``(N, hidden)`` and arcs ``(2, E)``; shape ``(E,)``."""
        seen = self.lin(z)
        # Without gradients the products of a few arcs at a time, which stay in the cache: half of the time.
        once = torch.is_grad_enabled() or torch.compiler.is_compiling()
        parts = [edge_index] if once else edge_index.split(_AT_ONCE, 1)
        return torch.cat([seen.index_select(0, i).mul(seen.index_select(0, j)) @ self.weight for i, j in parts])


class EdgeTerm(nn.Module):
    """What the features of an arc add to its logit: a linear map of their vector, as if it stood beside both ends'.

    The vector is encoder (norm and linear map of real columns, embeddings of categories) and ReLU. Of categories each
    distinct row is looked at once.
    """

    def __init__(self, features: EdgeFeatures, hidden: int) -> None:
        super().__init__()
        self.encoder = edge_encoder(features, hidden, norm=True)
        self.lin = nn.Linear(hidden, 1, bias=False)

    def forward(self, data: Data) -> Tensor:
        """Of a graph or batch with ``edge_attr``; shape ``(E,)``. Raises as :func:`edge_kinds` does."""
        kinds = edge_kinds(data, self.encoder)
        worth: Tensor = self.lin(functional.relu(self.encoder.encode(kinds.rows))).squeeze(1)
        return worth.index_select(0, kinds.which)


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
