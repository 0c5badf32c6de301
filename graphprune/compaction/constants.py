"""What is known of values: zeros, constants, and columns that are multiples of one vector.

The last are what constants become when they are summed over neighbours: a unit that always has the value c has the sum
``c * degree`` there. That is no constant, but of all such units one is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.compaction.dims import Ints, Label


@dataclass(eq=False)
class Info:
    """What is known of one tensor.

    Attributes:
        labels: for each dimension the variables of its indices.
        fixed: which elements have the value that they have for every input; bool, the tensor's shape.
        shares: of a matrix, what each column is of a vector that these columns share, float64 (NaN: not known); None:
            no column is known.
        static: computed from parameters and buffers alone, so that all of it is fixed.
        parameter: the parameter or buffer that it is, or of which it is a transposed view.
        sources: all parameters and buffers of which it is a part, or computed from these alone.
        product: the parameter that is the weight of the linear map or convolution whose result it is, or is linear in.
        through: what was computed of that result on the way, from it on; empty for the result itself.
        uses: operations that read it.
    """

    labels: list[Label]
    fixed: Tensor
    shares: Tensor | None = None
    static: bool = False
    parameter: str | None = None
    sources: frozenset[str] = frozenset()
    product: str | None = None
    through: tuple[Info, ...] = ()
    uses: int = 0


@dataclass(frozen=True, eq=False)
class Read:
    """A sum over channels: ``out[i, j] = sum over k of left[i, k] * right[k, j]``, or a convolution.

    Attributes:
        inner: variables of the channels k.
        sides: for each factor the variables that it leads to (of i or j), and a bool matrix of shape ``(those, k)``:
            may it differ from 0 anywhere?
        constant: the value of channel k of the left factor where it is the same for every input and at every position,
            or its share where it is a multiple of a vector that such channels share, NaN elsewhere; float64, ``(k,)``.
        weight: the parameter that is the right factor, if it is one.
        shared: no bias can stand for such channels, but one of them for the others: they are multiples of a vector that
            depends on the input, or positions at the border of a padding see something else.
    """

    inner: Label
    sides: tuple[tuple[Ints, Tensor], ...]
    constant: Tensor
    weight: str | None
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Norm:
    """A batch norm: what it has read, and the name of its running mean."""

    given: Info
    mean: str


def nowhere(tensor: Tensor) -> Tensor:
    """False for all elements."""
    return torch.zeros((), dtype=torch.bool, device=tensor.device).expand(tensor.shape)


def unknown(tensor: Tensor) -> Info:
    """A tensor of which nothing may be removed and nothing is known."""
    return Info([None] * tensor.ndim, nowhere(tensor))


def zeros(tensor: Tensor, info: Info) -> Tensor:
    """Which elements are 0 for every input."""
    return info.fixed & (tensor == 0) if tensor.layout == torch.strided else info.fixed


def uniform(tensor: Tensor, info: Info, dims: Sequence[int]) -> Tensor:
    """Where the values are fixed and the same along ``dims``, which get the size 1."""
    alike = info.fixed
    for dim in dims:
        alike = alike & (tensor == tensor.narrow(dim, 0, min(1, tensor.size(dim))))
    for dim in dims:
        alike = alike.all(dim, keepdim=True) if tensor.size(dim) else alike.any(dim, keepdim=True)
    return alike


def constants(tensor: Tensor, info: Info) -> Tensor:
    """Of each channel, dimension 1, the one value that it has for every input and everywhere, or NaN."""
    alike = uniform(tensor, info, [dim for dim in range(tensor.ndim) if dim != 1]).flatten()
    values = tensor.transpose(0, 1).flatten(1)[:, :1].sum(1).double()
    return values.masked_fill(~alike, torch.nan)


def shares(tensor: Tensor, info: Info) -> Tensor:
    """What each column of a matrix is of a vector that columns share, or NaN; constants are shares of ones."""
    return constants(tensor, info) if info.shares is None else info.shares


def only(share: Tensor, fixed: Tensor) -> Tensor | None:
    """Shares but for constant columns; None if there are none."""
    share = share.masked_fill(fixed.all(0), torch.nan)
    return share if bool(share.isfinite().any()) else None


def touched_by(written: Tensor, view: Tensor) -> Tensor:
    """Which elements of a tensor lie in the memory of another, on the same storage."""
    if view.dtype != written.dtype:
        return torch.ones_like(view, dtype=torch.bool)
    size = written.untyped_storage().nbytes() // written.element_size()
    there = torch.zeros(size, dtype=torch.bool, device=view.device)
    there.as_strided(written.size(), written.stride(), written.storage_offset()).fill_(True)
    return there.as_strided(view.size(), view.stride(), view.storage_offset())
