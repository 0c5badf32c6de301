"""From a data set's raw node and edge features to vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.checks import is_whole
from graphprune.graphs.kinds import Kinds, NodeRows, Vectors, nodes_of, normed, rowwise, shared
from graphprune.graphs.known import fact_of, watched
from graphprune.graphs.norms import RowNorm
from graphprune.graphs.segments import is_empty

# Sizes of OGB's categorical atom and bond features (ogb.utils.features, ogb 1.3.6).
ATOM_FEATURES = (119, 5, 12, 12, 10, 6, 6, 2, 2)
BOND_FEATURES = (5, 6, 2)

# Columns of x: so many real ones, OGB's atom features, or categories, with how many each column has.
Features = int | Literal["ogb-mol"] | list[int]

EdgeFeatures = Features  # columns of edge_attr: the same, with OGB's bond features


def edges_in_words(features: EdgeFeatures | None) -> str:
    """What a data set has of its edges, for errors and listings."""
    if features is None:
        return "no edge features"
    if isinstance(features, list):
        return f"edge categories ({' and '.join(map(str, features))} of them in edge_attr)"
    return "OGB's bond features" if features == "ogb-mol" else f"{features} columns of edge_attr"


def node_inputs(data: Data) -> tuple[Tensor, Tensor]:
    """``x`` and ``edge_index`` of a graph or batch.

    Raises:
        ValueError: there is none.
    """
    x, edge_index = data.x, data.edge_index
    if x is None or edge_index is None:
        raise ValueError("the network needs node features x and edge_index; give bare graphs a constant x")
    return x, edge_index


class CategoricalEncoder(nn.Module):
    """The sum of one embedding a feature, as OGB's ``AtomEncoder`` and ``BondEncoder``.

    Each *distinct* row is encoded once and then copied: the 41,127 molecules of ogbg-molhiv know 382 kinds of atoms.

    Args:
        sizes: number of categories of each feature.
        dim: width of the vectors.

    Raises:
        ValueError: more combinations of categories than 64 bits can tell apart.
    """

    offset: Tensor

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        if math.prod(sizes) >= 1 << 63:
            raise ValueError(f"categories of {len(sizes)} columns have more than 2^63 combinations: leave some out")
        self.sizes = tuple(sizes)
        self.table = nn.EmbeddingBag(sum(sizes), dim, mode="sum")
        for part in self.table.weight.detach().split(list(sizes)):
            nn.init.xavier_uniform_(part)
        self.register_buffer("offset", torch.tensor([0, *self.sizes[:-1]]).cumsum(0), persistent=False)

    def kinds(self, features: Tensor, where: Callable[[int], str] = "row {}".format) -> Kinds:
        """The distinct rows of integer features; raises as :meth:`Kinds.of` does."""
        return Kinds.of(features, self.sizes, where)

    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of distinct rows, ``(K, len(sizes))`` to ``(K, dim)``."""
        empty = self.table.weight.new_zeros(0, self.table.embedding_dim)
        return empty if is_empty(rows) else self.table(rows + self.offset)

    def vectors(self, features: Tensor) -> NodeRows:
        """As :meth:`forward`, each distinct row once."""
        kinds = self.kinds(features)
        return NodeRows(self.encode(kinds.rows), kinds)

    def forward(self, features: Tensor) -> Tensor:
        """Integer features ``(R, len(sizes))`` to ``(R, dim)``; raises as :meth:`Kinds.of` does."""
        return self.vectors(features).nodes


class AtomEncoder(CategoricalEncoder):
    """OGB's nine atom features."""

    def __init__(self, dim: int) -> None:
        super().__init__(ATOM_FEATURES, dim)


class BondEncoder(CategoricalEncoder):
    """OGB's three bond features."""

    def __init__(self, dim: int) -> None:
        super().__init__(BOND_FEATURES, dim)


class FeatureEncoder(nn.Module):
    """Batch norm and a linear map without bias, as the ICPG authors' networks begin (their ``gfn`` layer).

    Args:
        in_dim: columns of ``x``.
        dim: width of the vectors.
        norm: another norm.
    """

    def __init__(self, in_dim: int, dim: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.norm: nn.Module = RowNorm(in_dim) if norm is None else norm
        self.lin = nn.Linear(in_dim, dim, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)

    def vectors(self, x: Tensor) -> Vectors:
        """As :meth:`forward`; each distinct row once, where it is known that they are few."""
        if x.dim() != 2 or x.size(1) != self.in_dim:
            raise ValueError(f"expected node features x of shape (nodes, {self.in_dim}), got {tuple(x.shape)}")
        kinds = fact_of(x, Kinds)
        if kinds is None:
            return self.encode(x)
        rows = NodeRows(kinds.rows.to(self.lin.weight.dtype), kinds)
        return rowwise(self.lin, normed(self.norm, rows))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_dim)`` to ``(N, dim)``.

        Raises:
            ValueError: another number of columns.
        """
        return nodes_of(self.vectors(x))

    def kinds(self, features: Tensor, where: Callable[[int], str] = "row {}".format) -> Kinds:
        """Each row of real features ``(E, in_dim)`` of the edges as a kind of its own.

        Raises:
            ValueError: another number of columns.
        """
        if features.dim() != 2 or features.size(1) != self.in_dim:
            raise ValueError(f"expected edge_attr of shape (arcs, {self.in_dim}), got {tuple(features.shape)}")
        return Kinds(features, torch.arange(features.size(0), device=features.device))

    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of rows, ``(R, in_dim)`` to ``(R, dim)``."""
        return self.lin(self.norm(rows.to(self.lin.weight.dtype)))  # type: ignore[no-any-return]


def encoded(encoder: nn.Module, data: Data) -> Vectors:
    """What an encoder makes of the node features of a graph or batch: each distinct row once, where it can.

    Raises:
        ValueError: no ``x`` or ``edge_index``, or what the encoder raises.
    """
    x = node_inputs(data)[0]
    own = shared() and is_own(encoder) and not watched(encoder)
    return encoder.vectors(x) if own else encoder(x)  # type: ignore[no-any-return,operator]


def is_own(encoder: nn.Module) -> bool:
    """Whether an encoder of nodes is one of those here, and not what a user has put in its place."""
    return type(encoder).forward in (CategoricalEncoder.forward, FeatureEncoder.forward)


def node_encoder(features: Features, dim: int) -> nn.Module:
    """The encoder of a data set's node features: OGB's atoms, ``features`` real columns, or categories.

    Raises:
        ValueError: ``features`` is none of them.
    """
    if features == "ogb-mol":
        return AtomEncoder(dim)
    sizes = _sizes("features", "x", features)
    return CategoricalEncoder(sizes, dim) if isinstance(features, list) else FeatureEncoder(sizes[0], dim)


def _sizes(option: str, attribute: str, features: Features) -> list[int]:
    """Categories of each column, or the one number of columns; raises ValueError where ``features`` is neither."""
    sizes = features if isinstance(features, list) else [features]
    if not sizes or not all(is_whole(size) and size >= 1 for size in sizes):
        raise ValueError(
            f"{option} must be 'ogb-mol', the number of columns of {attribute}, or a list of how many categories "
            f"each column has, got {features!r}"
        )
    return [int(size) for size in sizes]


def needed_edges(option: str, features: EdgeFeatures | None) -> EdgeFeatures:
    """What ``edge_attr`` holds, which an option asks to be read; raises ValueError if there is nothing."""
    if features is None:
        raise ValueError(
            f"{option}=True reads edge features (edge_attr), and there are none: leave {option} out (TU sets with edge "
            "labels have them with features='deg+odeg100+edges')"
        )
    return features


def edge_encoder(features: EdgeFeatures, dim: int, *, norm: bool) -> CategoricalEncoder | FeatureEncoder:
    """The encoder of a data set's edge features: OGB's bonds, categories, or real columns.

    Args:
        features: what ``edge_attr`` holds.
        dim: width of the vectors.
        norm: real columns are normalised over the edges of a batch. Not for what may see gated edges in training:
            those with a gate of 0 would have a say.

    Raises:
        ValueError: ``features`` is neither.
    """
    if features == "ogb-mol":
        return BondEncoder(dim)
    sizes = _sizes("edge_features", "edge_attr", features)
    if isinstance(features, list):
        return CategoricalEncoder(sizes, dim)
    return FeatureEncoder(sizes[0], dim, RowNorm(sizes[0]) if norm else nn.Identity())


def edge_kinds(data: Data, encoder: CategoricalEncoder | FeatureEncoder) -> Kinds:
    """The kinds of edges of a graph or batch that ``encoder`` tells apart, in the order of the arcs.

    Raises:
        ValueError: no ``edge_attr``, one of another shape, or a category that the encoder does not know; the text has
            graph, arc and column.
        TypeError: numbers of categories that are no integers.
    """

    def where(arc: int) -> str:
        batch = data.get("batch")
        if batch is None:
            return f"edge_attr, arc {arc}"
        graphs = batch[data.edge_index[0]]
        return f"edge_attr, graph {int(graphs[arc])} of the batch, arc {arc - int((graphs < graphs[arc]).sum())}"

    if data.edge_attr is None:
        raise ValueError("edge features are read, but the graphs have no edge_attr")
    return encoder.kinds(data.edge_attr, where)
