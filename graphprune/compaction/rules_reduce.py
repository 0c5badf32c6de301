"""Handlers of operations that sum: products, convolutions, pooling, norms, and sums over rows chosen by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graphprune.compaction.constants import Info, Norm, Read, constants, only, shares, uniform, unknown, zeros
from graphprune.compaction.dims import Ints, Label
from graphprune.compaction.tape import Op, Tape, handles

# ---------------------------------------------------------------------- over channels


@handles("mm _sparse_mm")
def mm(tape: Tape, op: Op) -> Info:
    """Matrix product."""
    return _product(tape, op, 0)


@handles("addmm")
def addmm(tape: Tape, op: Op) -> Info:
    """A bias and a matrix product."""
    product = _product(tape, op, 1, plain=op.given["beta"] == op.given["alpha"] == 1)
    product.labels = tape.aligned(op, [(op.tensors[0], op.infos[0]), (op.out, product)])
    product.fixed = product.fixed & op.infos[0].fixed
    return product


def _product(tape: Tape, op: Op, first: int, *, plain: bool = True) -> Info:
    (left, right), (of_left, of_right) = op.tensors[first : first + 2], op.infos[first : first + 2]
    inner = tape.dims.same([of_left.labels[1], of_right.labels[0]])
    labels = [of_left.labels[0], of_right.labels[1]]
    if left.layout != torch.strided:  # neighbours in a sparse matrix
        fixed = zeros(right, of_right).all(0, keepdim=True).expand_as(op.out)
        return Info(labels, fixed, only(shares(right, of_right), fixed))
    may_left, may_right = ~zeros(left, of_left), ~zeros(right, of_right)
    weight = _layer(tape, of_right, 1) if plain else None
    sides = (_side(of_left.labels[0], may_left), _side(of_right.labels[1], may_right.t()))
    tape.reads.append(Read(inner, sides, shares(left, of_left).cpu(), weight, of_left.shares is not None))
    _made(tape, of_right, labels[1], of_right.labels[0])
    _made(tape, of_left, labels[0], of_left.labels[1])
    # A sum over parameters has the same number of terms for every input.
    if of_right.static:
        may_left = ~of_left.fixed
    elif of_left.static:
        may_right = ~of_right.fixed
    return Info(labels, (may_left.float() @ may_right.float()) == 0, product=weight)


@handles("convolution")
def convolution(tape: Tape, op: Op) -> Info:
    """Convolution; transposed ones and those in groups are barriers."""
    if op.given["transposed"] or op.given["groups"] != 1:
        return tape.barrier(op)
    (x, weight), (of_x, of_weight) = op.tensors[:2], op.infos[:2]
    padded = any(op.given["padding"])  # then positions at the border see something else than a constant
    inner = tape.dims.same([of_x.labels[1], of_weight.labels[1]])
    tape.dims.pin(*of_x.labels[2:], *of_weight.labels[2:])
    out = tape.dims.same([of_weight.labels[0], *(info.labels[0] for info in op.infos[2:])])
    may_x, may_weight = ~zeros(x, of_x), ~zeros(weight, of_weight)
    sides = (_side(None, may_x.movedim(1, -1).flatten(0, -2)), _side(out, may_weight.flatten(2).any(2)))
    layer = _layer(tape, of_weight, 0)
    tape.reads.append(Read(inner, sides, constants(x, of_x).cpu(), layer, padded))
    _made(tape, of_weight, of_weight.labels[0], of_weight.labels[1])
    counts = op.func(
        **(op.given | {"input": (may_x if padded else ~of_x.fixed).float(), "weight": may_weight.float(), "bias": None})
    )
    static = all(info.static for info in op.infos[1:])
    fixed = (counts == 0) if static else torch.zeros_like(op.out, dtype=torch.bool)
    return Info([of_x.labels[0], out, *[None] * (x.ndim - 2)], fixed, product=layer)


def _layer(tape: Tape, weight: Info, dim: int) -> str | None:
    """The parameter that this factor is, if ``dim`` are its rows."""
    name = weight.parameter
    return name if name is not None and tape.own[name].labels[0] is weight.labels[dim] else None


def _made(tape: Tape, factor: Info, outer: Label, inner: Label) -> None:
    """A product with what comes from parameters makes their outer dimension, unless of a vector, ``(n, 1)``."""
    if factor.sources and outer is not None and inner is not None:
        name = factor.parameter
        if len(outer) > 1 or (name is not None and tape.own[name].labels[0] is outer):
            tape.makes.append((factor.sources, outer, inner))


def _side(label: Label, may: Tensor) -> tuple[Ints, Tensor]:
    """One side of a :class:`Read`; positions without a variable are put together, as variable 0."""
    if label is None:
        return np.zeros(1, np.int64), may.any(0, keepdim=True).cpu()
    return label, may.cpu()


@handles("bmm")
def bmm(tape: Tape, op: Op) -> Info:
    """Batched matrix product: a channel of the sum is read where any of the products reads it."""
    (left, right), (of_left, of_right) = op.tensors, op.infos
    batch = tape.dims.same([of_left.labels[0], of_right.labels[0]])
    inner = tape.dims.same([of_left.labels[2], of_right.labels[1]])
    may_left, may_right = ~zeros(left, of_left), ~zeros(right, of_right)
    sides = (_side(of_left.labels[1], may_left.any(0)), _side(of_right.labels[2], may_right.any(0).t()))
    tape.reads.append(Read(inner, sides, torch.full((left.size(2),), torch.nan, dtype=torch.float64), None))
    _made(tape, of_right, of_right.labels[2], of_right.labels[1])
    _made(tape, of_left, of_left.labels[1], of_left.labels[2])
    return Info([batch, of_left.labels[1], of_right.labels[2]], (may_left.float() @ may_right.float()) == 0)


@handles("native_batch_norm cudnn_batch_norm miopen_batch_norm _batch_norm_no_update")
def batch_norm(tape: Tape, op: Op) -> Info:
    """Batch norm in evaluation."""
    given, *vectors = op.infos
    labels = list(given.labels)
    labels[1] = tape.dims.same([labels[1], *(info.labels[0] for info in vectors)])
    if op.given["running_mean"] is None or op.given.get("training") or not all(info.static for info in vectors):
        return Info(labels, unknown(op.out).fixed)
    mean = next(info for info, tensor in zip(op.infos, op.tensors, strict=True) if tensor is op.given["running_mean"])
    if mean.parameter is not None:
        tape.norms.append(Norm(given, mean.parameter))
    fixed = given.fixed
    if (scale := op.given["weight"]) is not None:
        fixed = fixed | (scale == 0).view(-1, *[1] * (op.out.ndim - 2))
    return Info(labels, fixed)


@handles("_softmax _log_softmax")
def softmax(tape: Tape, op: Op) -> Info:
    """Softmax along a dimension, which stays whole."""
    labels = list(op.infos[0].labels)
    if labels:
        tape.keep(op, labels[op.given["dim"]])
        labels[op.given["dim"]] = None
    return Info(labels, unknown(op.out).fixed)


# ---------------------------------------------------------------------- over nodes and pixels


@handles("sum mean amax amin max min linalg_vector_norm")
def reduce(tape: Tape, op: Op) -> Info:
    """Sum, mean, extremum or norm along dimensions; sums and norms do without zeros, the others stay whole."""
    tensor, info = op.tensors[0], op.infos[0]
    if not tensor.ndim or op.given.get("ord", 1) <= 0:
        return tape.barrier(op)
    chosen = op.given.get("dim")
    dims = [chosen] if isinstance(chosen, int) else list(chosen or range(tensor.ndim))
    dims = [dim % tensor.ndim for dim in dims]
    sums = op.name in ("sum", "linalg_vector_norm")
    for dim in dims:
        label = info.labels[dim]
        if label is not None and (op.name == "sum" or (sums and len(label) > 1)):  # without any weight a norm is 0
            _summed(tape, op, dim, [each for each in range(tensor.ndim) if each not in dims])
        else:
            tape.keep(op, label)
    left = op.out.ndim == tensor.ndim
    labels = [None if dim in dims else label for dim, label in enumerate(info.labels) if left or dim not in dims]
    if sums:  # the number of terms depends on the input
        info = Info(info.labels, zeros(tensor, info))
    return Info(labels, uniform(tensor, info, dims).reshape(op.out.shape))


def _summed(tape: Tape, op: Op, dim: int, left: list[int]) -> None:
    """A sum along ``dim``, for what is left: other dimensions, of which one may have a variable."""
    tensor, info = op.tensors[0], op.infos[0]
    label, named = info.labels[dim], [each for each in left if info.labels[each] is not None]
    assert label is not None
    may = ~zeros(tensor, info)
    if op.name != "sum" and info.static:  # a norm of weights reads channels of which all other weights are 0, too
        tape.barriers.append((op.name, label[may.movedim(dim, 0).flatten(1).any(1).cpu().numpy()]))
    if len(named) == 1:
        rows = may.movedim((named[0], dim), (0, -1))
        side = _side(info.labels[named[0]], rows.reshape(len(rows), -1, len(label)).any(1))
    else:
        side = _side(None, may.movedim(dim, -1).reshape(-1, len(label)))
    tape.reads.append(Read(label, (side,), torch.full((len(label),), torch.nan, dtype=torch.float64), None))


@handles(
    "max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d"
)
def pool(tape: Tape, op: Op) -> Info:
    """Maximum or mean over windows of pixels."""
    x, info = op.tensors[0], op.infos[0]
    space = int(op.name[op.name.rindex("pool") + len("pool")])
    tape.keep(op, *info.labels[-space:])
    # A mean may count a border of zeros, a maximum never does.
    free = ~zeros(x, info) if op.name.startswith("avg") else ~info.fixed
    seen = op.again(free.float())
    return Info([*info.labels[:-space], *[None] * space], (seen[0] if isinstance(seen, tuple) else seen) == 0)


@handles("index_select index embedding")
def chosen(tape: Tape, op: Op) -> Info:
    """Rows chosen by number, or by a mask."""
    tensor, info = op.tensors[0], op.infos[0]
    if op.name == "index":
        places = [place for place, index in enumerate(op.given["indices"]) if index is not None]
        if len(places) != 1 or not op.given["indices"][places[0]].ndim:
            return tape.barrier(op)
        (dim,), index = places, op.given["indices"][places[0]]
        covered, made = (index.ndim, 1) if index.dtype == torch.bool else (1, index.ndim)
    elif op.name == "embedding":
        dim, covered, made = 0, 1, op.given["indices"].ndim
    else:
        dim, covered, made = op.given["dim"] % tensor.ndim, 1, 1
    dims = range(dim, dim + covered)
    tape.keep(op, *(info.labels[each] for each in dims), *(label for other in op.infos[1:] for label in other.labels))
    labels = [*info.labels[:dim], *[None] * made, *info.labels[dim + covered :]]
    alike = uniform(tensor, info, dims).flatten(dim, dim + covered - 1).squeeze(dim)
    for _ in range(made):
        alike = alike.unsqueeze(dim)
    return Info(labels, alike.expand_as(op.out))


@handles("gather")
def gather(tape: Tape, op: Op) -> Info:
    """Elements chosen along a dimension."""
    labels = _along(tape, op, op.tensors[:2], op.infos[:2])
    return Info(labels, unknown(op.out).fixed)


@handles("index_add index_copy scatter scatter_add scatter_reduce")
def scattered(tape: Tape, op: Op) -> Info:
    """Rows or elements added to others chosen by number: where all of them are 0, nothing changes."""
    source = op.given.get("source", op.given.get("src"))
    if not isinstance(source, Tensor):
        return tape.barrier(op)
    pairs = [(tensor, info) for tensor, info in zip(op.tensors, op.infos, strict=True) if tensor.ndim == op.out.ndim]
    tape.dims.pin(*(info.labels[0] for tensor, info in zip(op.tensors, op.infos, strict=True) if tensor.ndim == 1))
    labels = _along(tape, op, [tensor for tensor, _ in pairs], [info for _, info in pairs])
    added = next(info for tensor, info in pairs if tensor is source)
    nothing = zeros(source, added).all(op.given["dim"], keepdim=True)
    before = op.infos[0].shares
    empty = before is not None and bool((before == 0).all())
    sums = op.name in ("index_add", "scatter_add")
    fixed = unknown(op.out).fixed
    # In place, the first argument holds the result already: only of sums and of zeros is it known what it was.
    if (empty or sums or not op.func._schema.is_mutable) and nothing.expand_as(fixed).shape == fixed.shape:
        fixed = zeros(op.tensors[0], op.infos[0]) & nothing
    # Sums of multiples are multiples, if nothing but zeros was there and all columns are added alike.
    columns = op.infos[1].shares
    alike = op.name == "index_add" or (columns is not None and bool((columns == 1).all()))
    multiples = sums and empty and alike and op.given["dim"] % 2 == 0
    return Info(labels, fixed, only(shares(source, added), fixed) if multiples else None)


def _along(tape: Tape, op: Op, tensors: Sequence[Tensor], infos: Sequence[Info]) -> list[Label]:
    """Labels of tensors that are aligned in all dimensions but ``dim``, which stays whole."""
    dim, labels = op.given["dim"] % max(1, op.out.ndim), list[Label]()
    for place in range(op.out.ndim):
        along = [info.labels[place] for info in infos]
        if place == dim or len({tensor.size(place) for tensor in tensors}) > 1:
            tape.keep(op, *along)
            along = [None]
        labels.append(tape.dims.same(along))
    return labels


@handles("_embedding_bag _embedding_bag_forward_only")
def bag(tape: Tape, op: Op) -> Info:
    """Sums of rows chosen by number."""
    info = op.infos[0]
    tape.keep(op, info.labels[0], *(label for other in op.infos[1:] for label in other.labels))
    fixed = zeros(op.tensors[0], info).all(0).expand_as(op.out)
    sums = op.given["mode"] != 2  # not maxima
    return Info([None, info.labels[1]], fixed, only(shares(op.tensors[0], info), fixed) if sums else None)


@handles("segment_reduce")
def segments(tape: Tape, op: Op) -> Info:
    """Sums or extrema of rows that follow each other: where all are 0, so are they (of no row, if code sees to it)."""
    info = op.infos[0]
    tape.keep(op, info.labels[0], *(label for other in op.infos[1:] for label in other.labels))
    nothing = zeros(op.tensors[0], info).all(0, keepdim=True)
    return Info([None, *info.labels[1:]], nothing & (op.out == 0))
