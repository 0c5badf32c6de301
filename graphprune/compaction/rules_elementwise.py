"""Rules of operations that compute element by element, make new tensors, or arrange elements."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from graphprune.compaction.constants import combined, zeros
from graphprune.compaction.dims import Label, reshaped
from graphprune.compaction.tape import Info, Op, Rule, Tape, ruled

# Each element of the result depends on one element of each argument, after broadcasting.
POINTWISE = """
    add sub rsub mul div floor_divide remainder fmod pow addcmul addcdiv lerp neg abs sign sgn square sqrt rsqrt
    reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh erf floor ceil
    round trunc frac relu leaky_relu _prelu_kernel elu celu selu gelu silu mish sigmoid hardtanh hardsigmoid
    hardswish softplus softshrink hardshrink threshold clamp clamp_min clamp_max maximum minimum fmax fmin where
    masked_fill eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_not logical_xor bitwise_and
    bitwise_or bitwise_not bitwise_xor nan_to_num clone detach alias _to_copy lift_fresh copy
"""


def aligned(tape: Tape, op: Op, tensors: Sequence[tuple[Tensor, Info]]) -> list[Label]:
    """Labels of what broadcasts these tensors to the shape of the result."""
    labels: list[Label] = []
    for dim in range(-op.out.ndim, 0):
        along: list[Label] = []
        for tensor, info in tensors:
            if tensor.ndim >= -dim:
                if tensor.shape[dim] == op.out.shape[dim]:
                    along.append(info.labels[dim])
                else:
                    tape.wires.pin(info.labels[dim])
        labels.append(tape.wires.same(along))
    return labels


def pointwise(tape: Tape, op: Op) -> Info:
    """Element by element."""
    labels = aligned(tape, op, list(zip(op.tensors, op.infos, strict=True)))
    fixed = torch.stack([info.fixed.expand_as(op.out) for info in op.infos]).all(0)
    if not op.func._schema.is_mutable:
        # Zeros stay zeros, whatever finite number they are multiplied with or divided by.
        factors = {"mul": op.tensors, "div": [op.given["self"]]}.get(op.name, [])
        for tensor, info in zip(op.tensors, op.infos, strict=True):
            if any(tensor is factor for factor in factors):
                fixed |= zeros(tensor, info)
    return Info(labels, fixed, shares=combined(op, fixed))


def factory(tape: Tape, op: Op) -> Info:
    """A new tensor has the sizes that its readers need; code that has them written down fails in the final check."""
    zero, out = op.name in ("zeros", "new_zeros"), op.out
    none = torch.zeros(out.size(1), dtype=torch.float64, device=out.device) if zero and out.ndim == 2 else None
    return Info([tape.size(size) for size in out.shape], torch.full_like(out, zero, dtype=torch.bool), none)


def like(tape: Tape, op: Op) -> Info:
    """New values in the shape of the first argument."""
    zero = op.name in ("zeros_like", "zero")
    return Info(list(op.infos[0].labels), torch.full_like(op.out, zero, dtype=torch.bool))


def view(tape: Tape, op: Op) -> Info:
    """Another shape."""
    shape, keep = op.tensors[0].shape, functools.partial(tape.keep, op)
    labels = reshaped(tape.wires, keep, shape, op.infos[0].labels, op.out.shape, tape.caution)
    return Info(labels, op.infos[0].fixed.reshape(op.out.shape))


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


def expand(tape: Tape, op: Op) -> Info:
    """A repeated dimension has the size that its readers need, as a new one."""
    tensor, info = op.tensors[0], op.infos[0]
    labels: list[Label] = []
    for dim, size in enumerate(op.out.shape, start=tensor.ndim - op.out.ndim):
        label = info.labels[dim] if dim >= 0 else None
        if dim < 0 or tensor.shape[dim] != size:
            tape.wires.pin(label)
            label = tape.size(size)
        labels.append(label)
    column = tensor.ndim == op.out.ndim == 2 and tensor.size(1) == 1
    alike = torch.ones(op.out.size(1), dtype=torch.float64, device=op.out.device) if column else None
    return Info(labels, info.fixed.expand_as(op.out), shares=alike)


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


def parts(tape: Tape, op: Op) -> list[Info]:
    """A dimension in several parts; it stays whole."""
    info, dim = op.infos[0], op.given["dim"]
    labels = list(info.labels)
    tape.keep(op, labels[dim])
    labels[dim : dim + 1 or None] = [None] if op.out.ndim == len(labels) else []
    return [Info(list(labels), fixed) for fixed in op.again(info.fixed)]


def cat(tape: Tape, op: Op) -> Info:
    """One behind the other."""
    dim = op.given["dim"] % op.out.ndim
    # Empty vectors may be among the arguments whatever the others' dimensions are.
    pairs = [(tensor, info) for tensor, info in zip(op.tensors, op.infos, strict=True) if tensor.ndim == op.out.ndim]
    labels = [
        tape.wires.same(along)
        if place != dim
        else tape.wires.joined([(info.labels[dim], tensor.shape[dim]) for tensor, info in pairs])
        for place, along in enumerate(zip(*(info.labels for _, info in pairs), strict=True))
    ]
    return Info(labels, torch.cat([info.fixed for _, info in pairs], dim))


def stack(tape: Tape, op: Op) -> Info:
    """Along a new dimension."""
    dim = op.given["dim"] % op.out.ndim
    labels = [tape.wires.same(along) for along in zip(*(info.labels for info in op.infos), strict=True)]
    labels.insert(dim, None)
    return Info(labels, torch.stack([info.fixed for info in op.infos], dim))


def pad(tape: Tape, op: Op) -> Info:
    """New positions before and behind those that were there."""
    info, amounts = op.infos[0], op.given["pad"]
    if min(amounts) < 0:
        return tape.barrier(op)
    labels = list(info.labels)
    for place, sizes in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        dim = len(labels) - 1 - place
        before, after = ((tape.size(size) if size and not tape.caution else None, size) for size in sizes)
        labels[dim] = tape.wires.joined([before, (labels[dim], op.tensors[0].shape[dim]), after])
    return Info(labels, torch.constant_pad_nd(info.fixed, amounts, 1))


RULES: dict[str, Rule] = {
    **ruled(pointwise, POINTWISE),
    **ruled(factory, "zeros ones full empty new_zeros new_ones new_full new_empty"),
    **ruled(like, "zeros_like ones_like full_like empty_like zero fill"),
    **ruled(view, "view _unsafe_view unsqueeze squeeze"),
    **ruled(permute, "t permute transpose"),
    **ruled(expand, "expand"),
    **ruled(cut, "select slice"),
    **ruled(parts, "split split_with_sizes unbind"),
    **ruled(cat, "cat"),
    **ruled(stack, "stack"),
    **ruled(pad, "constant_pad_nd"),
}
