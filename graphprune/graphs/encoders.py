"""From a data set's raw node and edge features to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.graphs.segments import pointers

# Sizes of OGB's categorical atom and bond features (ogb.utils.features, ogb 1.3.6).
ATOM_FEATURES = (119, 5, 12, 12, 10, 6, 6, 2, 2)
BOND_FEATURES = (5, 6, 2)

Features = int | Literal["ogb-mol"]


def node_inputs(data: Data) -> tuple[Tensor, Tensor]:
    """``x`` and ``edge_index`` of a graph or batch.

    Raises:
        ValueError: there is none.
    """
    x, edge_index = data.x, data.edge_index
    if x is None or edge_index is None:
        raise ValueError("the network needs node features x and edge_index; give bare graphs a constant x")
    return x, edge_index


@dataclass(frozen=True)
class Kinds:
    """The distinct rows of categorical features, and which row has which: ``rows[which]`` are the features.

    Attributes:
        rows: shape ``(K, features)``, int64.
        which: shape ``(R,)``, int64.
    """

    rows: Tensor
    which: Tensor

    @classmethod
    def of(cls, features: Tensor, sizes: Sequence[int]) -> Self:
        """Sort integer features of shape ``(R, len(sizes))`` into kinds.

        Raises:
            TypeError: features that are no integers.
            ValueError: another number of features, or one outside its categories.
        """
        if features.is_floating_point():
            raise TypeError(f"categorical features must be integers, got {features.dtype}")
        if features.dim() != 2 or features.size(1) != len(sizes):
            raise ValueError(f"expected {len(sizes)} categorical features a row, got shape {tuple(features.shape)}")
        features = features.long()
        if features.numel() == 0:
            return cls(features, features.new_zeros(0))
        limits = features.new_tensor(sizes)
        low, high = features.aminmax(dim=0)
        if bool(((low < 0) | (high >= limits)).any()):
            raise ValueError(
                f"categorical features must lie below {list(sizes)}, got maxima {high.tolist()} and minima "
                f"{low.tolist()}"
            )
        place = torch.cat([limits.new_ones(1), limits[:-1]]).cumprod(0)
        numbers, which = torch.unique((features * place).sum(1), return_inverse=True)
        return cls(numbers[:, None] // place % limits, which)

    @cached_property
    def grouped(self) -> tuple[Tensor, Tensor]:
        """The places of each kind, one kind after the other, and where each begins, shape ``(K + 1,)``."""
        order = torch.argsort(self.which, stable=True)
        return order, pointers(torch.bincount(self.which, minlength=self.rows.size(0)))


class CategoricalEncoder(nn.Module):
    """The sum of one embedding a feature, as OGB's ``AtomEncoder`` and ``BondEncoder``.

    Each *distinct* row is encoded once and then copied: the 41,127 molecules of ogbg-molhiv know 382 kinds of atoms.

    Args:
        sizes: number of categories of each feature.
        dim: width of the vectors.
    """

    offset: Tensor

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.table = nn.EmbeddingBag(sum(sizes), dim, mode="sum")
        self.then: nn.Module = nn.Identity()  # what else is done with each distinct row, see EdgePredictor.folded
        for part in self.table.weight.detach().split(list(sizes)):
            nn.init.xavier_uniform_(part)
        self.register_buffer("offset", torch.tensor([0, *sizes]).cumsum(0)[:-1], persistent=False)

    def kinds(self, features: Tensor) -> Kinds:
        """The distinct rows of integer features; raises as :meth:`Kinds.of` does."""
        return Kinds.of(features, self.sizes)

    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of distinct rows, ``(K, len(sizes))`` to ``(K, dim)``."""
        empty = self.table.weight.new_zeros(0, self.table.embedding_dim)
        return self.then(self.table(rows + self.offset) if rows.numel() else empty)  # type: ignore[no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        """Integer features ``(R, len(sizes))`` to ``(R, dim)``; raises as :meth:`Kinds.of` does."""
        kinds = self.kinds(features)
        return self.encode(kinds.rows).index_select(0, kinds.which)


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
    """

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.norm: nn.Module = nn.BatchNorm1d(in_dim)
        self.lin = nn.Linear(in_dim, dim, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_dim)`` to ``(N, dim)``.

        Raises:
            ValueError: another number of columns.
        """
        if x.dim() != 2 or x.size(1) != self.in_dim:
            raise ValueError(f"expected node features x of shape (nodes, {self.in_dim}), got {tuple(x.shape)}")
        return self.lin(self.norm(x.to(self.lin.weight.dtype)))  # type: ignore[no-any-return]


def node_encoder(features: Features, dim: int) -> nn.Module:
    """The encoder of a data set's node features: OGB's atoms, or ``features`` real columns.

    Raises:
        ValueError: ``features`` is neither.
    """
    if features == "ogb-mol":
        return AtomEncoder(dim)
    if not isinstance(features, int) or features < 1:
        raise ValueError(f"features must be 'ogb-mol' or the number of columns of x, got {features!r}")
    return FeatureEncoder(features, dim)
