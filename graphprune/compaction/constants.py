"""What is known of values: zeros, constants, and columns that are multiples of one vector.

The last are what constants become when they are summed over neighbours: a unit that always has the value c has the sum
``c * degree`` there. That is no constant, but of all such units one is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphprune.compaction.tape import Info, Op

# Ratios of two columns count as equal up to the rounding of single precision.
ROUNDING = 2e-6


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


def combined(op: Op, fixed: Tensor) -> Tensor | None:
    """Shares in a matrix that is computed element by element; None: no column has any that is not constant."""
    name, out = op.name, op.out
    if name not in ("add", "sub", "mul", "div", "addcmul") or out.ndim != 2 or op.func._schema.is_mutable:
        return None
    each: list[Tensor | None] = []  # None for what multiplies all columns alike
    for tensor, info in zip(op.tensors, op.infos, strict=True):
        if tensor.shape == out.shape:
            each.append(shares(tensor, info))
        elif tensor.numel() == 1 or (tensor.ndim == 2 and tensor.size(1) == 1):
            each.append(None)
        else:
            return None
    first, others = each[0], [share for share in each[1:] if share is not None]
    if name == "mul":
        found = [share for share in each if share is not None]
        total = torch.stack(found).prod(0)
    elif first is None:
        return None
    elif name == "div":
        total = first / others[0] if others else first
    elif not others:
        return None
    else:
        total = _added(first, torch.stack(others).prod(0))
    return only(total, fixed)


def only(share: Tensor, fixed: Tensor) -> Tensor | None:
    """Shares but for constant columns; None if there are none."""
    share = share.masked_fill(fixed.all(0), torch.nan)
    return share if bool(share.isfinite().any()) else None


def _added(one: Tensor, other: Tensor) -> Tensor:
    """Columns stay multiples of one vector where both terms' shares have the same ratio."""
    ratio = other / one
    known = ratio.isfinite() & (ratio != 0)
    if not known.any():
        return one.new_full(one.shape, torch.nan)
    common = ratio[one.abs().masked_fill(~known, -1).argmax()]
    return one.masked_fill(~known | ((ratio - common).abs() > ROUNDING * common.abs()), torch.nan)
