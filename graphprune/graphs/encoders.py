"""From a data set's raw node and edge features to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

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


class CategoricalEncoder(nn.Module):
    """The sum of one embedding a feature, as OGB's ``AtomEncoder`` and ``BondEncoder``.

    Each *distinct* row is encoded once and then copied: the 41,127 molecules of ogbg-molhiv know 382 kinds of atoms.

    Args:
        sizes: number of categories of each feature.
        dim: width of the vectors.
    """

    sizes: Tensor
    offset: Tensor
    place: Tensor

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(sum(sizes), dim, mode="sum")
        self.then: nn.Module = nn.Identity()  # what else is done with each distinct row, see EdgePredictor.folded
        for part in self.table.weight.detach().split(list(sizes)):
            nn.init.xavier_uniform_(part)
        steps = torch.tensor([0, *sizes]).cumsum(0)
        places = torch.tensor([1, *sizes]).cumprod(0)
        self.register_buffer("offset", steps[:-1], persistent=False)
        self.register_buffer("place", places[:-1], persistent=False)
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Integer features ``(rows, len(sizes))`` to ``(rows, dim)``.

        Raises:
            TypeError: features that are no integers.
            ValueError: another number of features, or one outside its categories.
        """
        if features.is_floating_point():
            raise TypeError(f"categorical features must be integers, got {features.dtype}")
        if features.dim() != 2 or features.size(1) != self.sizes.numel():
            raise ValueError(
                f"expected {self.sizes.numel()} categorical features a row, got shape {tuple(features.shape)}"
            )
        features = features.long()
        if features.numel() == 0:
            return self.then(self.table.weight.new_zeros(features.size(0), self.table.embedding_dim))  # type: ignore[no-any-return]
        low, high = features.aminmax(dim=0)
        if bool(((low < 0) | (high >= self.sizes)).any()):
            raise ValueError(
                f"categorical features must lie below {self.sizes.tolist()}, got maxima {high.tolist()} and minima "
                f"{low.tolist()}"
            )
        kinds, which = torch.unique((features * self.place).sum(1), return_inverse=True)
        distinct = kinds[:, None] // self.place % self.sizes
        return self.then(self.table(distinct + self.offset)).index_select(0, which)  # type: ignore[no-any-return]


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
        self.norm: nn.Module = nn.BatchNorm1d(in_dim)
        self.lin = nn.Linear(in_dim, dim, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_dim)`` to ``(N, dim)``."""
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
