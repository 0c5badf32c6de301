"""Handlers of operations that compute element by element, make new tensors, or arrange elements."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from graphprune.compaction.constants import Info, only, shares, zeros
from graphprune.compaction.dims import Label, reshaped
from graphprune.compaction.tape import Op, Tape, handles

# Ratios of two columns count as equal up to the rounding of single precision.
ROUNDING = 2e-6
# Each element of the result depends on one element of each argument, after broadcasting.
POINTWISE = """
    add sub rsub mul div floor_divide remainder fmod pow addcmul addcdiv lerp neg abs sign sgn square sqrt rsqrt
    reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh erf floor ceil
    round trunc frac relu leaky_relu _prelu_kernel elu celu selu gelu silu mish sigmoid hardtanh hardsigmoid
    hardswish softplus softshrink hardshrink threshold clamp clamp_min clamp_max maximum minimum fmax fmin where
    masked_fill eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_not logical_xor bitwise_and
    bitwise_or bitwise_not bitwise_xor nan_to_num clone detach alias _to_copy lift_fresh copy
"""


@handles(POINTWISE)
def pointwise(tape: Tape, op: Op) -> Info:
    """Element by element."""
    labels = tape.aligned(op, list(zip(op.tensors, op.infos, strict=True)))
    fixed = torch.stack([info.fixed.expand_as(op.out) for info in op.infos]).all(0)
    # Zeros stay zeros, whatever finite number they are multiplied with or divided by.
    factors = {"mul": op.tensors, "div": [op.given["self"]]}.get(op.name, [])
    for tensor, info in zip(op.tensors, op.infos, strict=True):
        if any(tensor is factor for factor in factors):
            fixed |= zeros(tensor, info) if op.before is None or tensor is not op.out else op.before
    return Info(labels, fixed, shares=_combined(op, fixed))


def _combined(op: Op, fixed: Tensor) -> Tensor | None:
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


def _added(one: Tensor, other: Tensor) -> Tensor:
    """Columns stay multiples of one vector where both terms' shares have the same ratio."""
    ratio = other / one
    known = ratio.isfinite() & (ratio != 0)
    if not known.any():
        return one.new_full(one.shape, torch.nan)
    common = ratio[one.abs().masked_fill(~known, -1).argmax()]
    return one.masked_fill(~known | ((ratio - common).abs() > ROUNDING * common.abs()), torch.nan)


@handles("zeros ones full empty new_zeros new_ones new_full new_empty")
def factory(tape: Tape, op: Op) -> Info:
    """A new tensor has the sizes that its readers need; code that has them written down fails in the final check."""
    zero, out = op.name in ("zeros", "new_zeros"), op.out
    none = torch.zeros(out.size(1), dtype=torch.float64, device=out.device) if zero and out.ndim == 2 else None
    return Info([tape.size(size) for size in out.shape], torch.full_like(out, zero, dtype=torch.bool), none)


@handles("zeros_like ones_like full_like empty_like zero fill")
def like(tape: Tape, op: Op) -> Info:
    """New values in the shape of the first argument."""
    zero = op.name in ("zeros_like", "zero")
    return Info(list(op.infos[0].labels), torch.full_like(op.out, zero, dtype=torch.bool))


@handles("view _unsafe_view unsqueeze squeeze")
def view(tape: Tape, op: Op) -> Info:
    """Another shape."""
    shape, keep = op.tensors[0].shape, functools.partial(tape.keep, op)
    labels = reshaped(tape.dims, keep, shape, op.infos[0].labels, op.out.shape, tape.caution)
    return Info(labels, op.infos[0].fixed.reshape(op.out.shape))


@handles("t permute transpose")
def permute(tape: Tape, op: Op) -> Info:
    """Another order of dimensions."""
    info = op.infos[0]
    order = list(range(op.out.ndim))
    if op.name == "t":
        order.reverse()
    elif op.name == "permute":
        order = [dim % op.out.ndim for dim in op.given["dims"]]
    else:
        first, second = op.given["dim0"], op.given["dim1"]
        order[first], order[second] = order[second], order[first]
    return Info([info.labels[dim] for dim in order], info.fixed.permute(order), parameter=info.parameter)


@handles("expand")
def expand(tape: Tape, op: Op) -> Info:
    """A repeated dimension has the size that its readers need, as a new one."""
    tensor, info = op.tensors[0], op.infos[0]
    labels: list[Label] = []
    for dim, size in enumerate(op.out.shape, start=tensor.ndim - op.out.ndim):
        label = info.labels[dim] if dim >= 0 else None
        if dim < 0 or tensor.shape[dim] != size:
            tape.dims.pin(label)
            label = tape.size(size)
        labels.append(label)
    column = tensor.ndim == op.out.ndim == 2 and tensor.size(1) == 1
    alike = torch.ones(op.out.size(1), dtype=torch.float64, device=op.out.device) if column else None
    return Info(labels, info.fixed.expand_as(op.out), shares=alike)


@handles("select slice")
def cut(tape: Tape, op: Op) -> Info:
    """A part of a dimension, which stays whole."""
    info, dim = op.infos[0], op.given["dim"]
    labels = list(info.labels)
    if op.out.ndim < len(labels):
        tape.keep(op, labels.pop(dim))
    elif op.out.shape[dim] != op.tensors[0].shape[dim]:
        tape.keep(op, labels[dim])
        labels[dim] = None
    return Info(labels, op.again(info.fixed))


@handles("split unsafe_split")
def split(tape: Tape, op: Op) -> Info | list[Info]:
    """A dimension in parts of one size, which it remains: of each part as much is left."""
    info, dim, size = op.infos[0], op.given["dim"], op.given["split_size"]
    label = info.labels[dim]
    if tape.caution or label is None or len(label) % size:
        return parts(tape, op)
    each = label.reshape(-1, size)
    tape.sizes.parts(each)
    before, after = info.labels[:dim], info.labels[dim % op.out.ndim + 1 :]
    return [Info([*before, part, *after], fixed) for part, fixed in zip(each, op.again(info.fixed), strict=True)]


@handles("split_with_sizes unsafe_split_with_sizes unbind")
def parts(tape: Tape, op: Op) -> list[Info]:
    """A dimension in several parts; it stays whole."""
    info, dim = op.infos[0], op.given["dim"]
    labels = list(info.labels)
    tape.keep(op, labels[dim])
    labels[dim : dim + 1 or None] = [None] if op.out.ndim == len(labels) else []
    return [Info(list(labels), fixed) for fixed in op.again(info.fixed)]


@handles("cat")
def cat(tape: Tape, op: Op) -> Info:
    """One after the other."""
    dim = op.given["dim"] % op.out.ndim
    # Empty vectors may be among the arguments whatever the others' dimensions are.
    pairs = [(tensor, info) for tensor, info in zip(op.tensors, op.infos, strict=True) if tensor.ndim == op.out.ndim]
    labels = [
        tape.dims.same(along)
        if place != dim
        else tape.dims.joined([(info.labels[dim], tensor.shape[dim]) for tensor, info in pairs])
        for place, along in enumerate(zip(*(info.labels for _, info in pairs), strict=True))
    ]
    return Info(labels, torch.cat([info.fixed for _, info in pairs], dim))


@handles("stack")
def stack(tape: Tape, op: Op) -> Info:
    """Along a new dimension."""
    dim = op.given["dim"] % op.out.ndim
    labels = [tape.dims.same(along) for along in zip(*(info.labels for info in op.infos), strict=True)]
    labels.insert(dim, None)
    return Info(labels, torch.stack([info.fixed for info in op.infos], dim))


@handles("constant_pad_nd")
def pad(tape: Tape, op: Op) -> Info:
    """New positions before and after those that were there."""
    info, amounts = op.infos[0], op.given["pad"]
    if min(amounts) < 0:
        return tape.barrier(op)
    labels = list(info.labels)
    for place, sizes in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        dim = len(labels) - 1 - place
        before, after = ((tape.size(size) if size and not tape.caution else None, size) for size in sizes)
        labels[dim] = tape.dims.joined([before, (labels[dim], op.tensors[0].shape[dim]), after])
    return Info(labels, torch.constant_pad_nd(info.fixed, amounts, 1))
