"""Which ATen operators are multiply-accumulates, how many, and which are left out on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Kind = Literal["transformation", "aggregation", "readout"]


class Work(NamedTuple):
    """What one call costs.

    Attributes:
        kind: what the call is for.
        macs: multiply-accumulates as executed.
        nonzero: those of them whose weights are not zero.
    """

    kind: Kind
    macs: int
    nonzero: int


class Origins(Protocol):
    """Where tensors come from; a view comes from where its tensor does."""

    def weight(self, tensor: Tensor) -> bool:
        """Whether it is made of the model's parameters and buffers alone."""

    def arcs(self, tensor: Tensor) -> bool:
        """Whether it holds integers that are made of the graphs' arcs."""


MacFormula = Callable[[Sequence[Any], Mapping[str, Any], Tensor, Origins], Work | None]
"""An operator's arguments, keywords and result -> its work; None: the formula does not count this call."""

_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def is_sparse(tensor: Tensor) -> bool:
    """Whether only some of its entries are stored."""
    return tensor.layout in _SPARSE


def parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """What a tensor is stored as: itself, or where the entries of a sparse one are and, last, the entries."""
    if not is_sparse(tensor):
        return (tensor,)
    if tensor.layout == torch.sparse_coo:
        return (tensor._indices(), tensor._values())
    by_row = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    return (
        *((tensor.crow_indices(), tensor.col_indices()) if by_row else (tensor.ccol_indices(), tensor.row_indices())),
        tensor.values(),
    )


# ---------------------------------------------------------------------- products


def _product(left: Tensor, right: Tensor, of: Origins) -> Work | None:
    """``(..., n, k) @ (..., k, m)``."""
    if is_sparse(left):
        return _sparse_product(left, right, of)
    if is_sparse(right):
        return _sparse_product(right.t(), left.t(), of)
    macs = left.numel() * right.size(-1)
    into = (left != 0).sum(-2) if of.weight(left) else left.size(-2)  # of each of the k
    out = (right != 0).sum(-1) if of.weight(right) else right.size(-1)
    paths = into * out
    return Work("transformation", macs, int(paths.sum()) if isinstance(paths, Tensor) else macs)


def _sparse_product(sparse: Tensor, dense: Tensor, of: Origins) -> Work | None:
    """``(n, k) @ (k, m)``, m for each stored entry. Without any weights it is a sum over the arcs of a graph."""
    if sparse.dim() != 2 or is_sparse(dense):
        return None
    entries = sparse.to_sparse_coo()
    column = entries._indices()[1]
    each = (dense != 0).sum(1)[column] if of.weight(dense) else torch.full_like(column, dense.size(1))
    if of.weight(sparse):
        each = each * (entries._values() != 0)
    kind: Kind = "transformation" if of.weight(sparse) or of.weight(dense) else "aggregation"
    return Work(kind, column.numel() * dense.size(1), int(each.sum()))


def _factors(left: int, right: int) -> MacFormula:
    """The product of these arguments; a vector is a row on the left and a column on the right."""

    def formula(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work | None:
        one, other = args[left], args[right]
        return _product(one if one.dim() > 1 else one[None], other if other.dim() > 1 else other[:, None], of)

    return formula


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work:
    """Each weight once for each place of the kernel; a border of zeros counts as any pixels."""
    given, weight, transposed = args[0], args[1], args[6]
    places = given.size(0) * (given if transposed else out)[0, 0].numel() if given.numel() else 0
    kept = int(weight.count_nonzero()) if of.weight(weight) else weight.numel()
    return Work("transformation", places * weight.numel(), places * kept)


# ---------------------------------------------------------------------- sums over an index


def _sum(macs: int, of: Origins, *index: Tensor | None) -> Work:
    """A sum of rows by an index; by the graphs' arcs it is an aggregation, else (nodes of graphs) a readout."""
    by_arcs = any(of.arcs(each) for each in index if each is not None)
    return Work("aggregation" if by_arcs else "readout", macs, macs)


def _add_rows(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work:
    return _sum(args[3].numel(), of, args[2])


def _scatter(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work:
    return _sum(args[2].numel(), of, args[2])


def _scatter_if_reduced(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work | None:
    return _scatter(args, kwargs, out, of) if len(args) > 4 or "reduce" in kwargs else None


def _put(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work | None:
    if not (args[3] if len(args) > 3 else kwargs.get("accumulate", False)):
        return None
    places = args[0][tuple(slice(None) if each is None else each for each in args[1])]
    return _sum(places.numel(), of, *args[1])


def _segments(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work:
    return _sum(args[0].numel(), of, kwargs.get("lengths"), kwargs.get("indices"), kwargs.get("offsets"))


def _bags(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, of: Origins) -> Work:
    """Sums of a table's rows. Of a table of weights it is the product of sparse features with these weights."""
    table, rows = args[0], args[1]
    if of.weight(table):
        return Work("transformation", rows.numel() * table.size(1), int((table != 0).sum(1)[rows].sum()))
    return _sum(rows.numel() * table.size(1), of, rows, args[2])


FORMULAS: dict[str, MacFormula] = {
    **dict.fromkeys(("mm", "bmm", "_int_mm", "_sparse_mm_reduce_impl", "mv", "dot", "vdot"), _factors(0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "_addmm_activation", "_sparse_addmm", "addmv"), _factors(1, 2)),
    "convolution": _convolution,
    **dict.fromkeys(("index_add", "index_reduce"), _add_rows),
    **dict.fromkeys(("scatter_add", "scatter_reduce"), _scatter),
    "scatter": _scatter_if_reduced,
    **dict.fromkeys(("index_put", "_index_put_impl", "_unsafe_index_put"), _put),
    "segment_reduce": _segments,
    **dict.fromkeys(("_embedding_bag", "_embedding_bag_forward_only"), _bags),
}
"""Counted operators by name, without the underscore of those that work in place."""

_LEFT_OUT = (
    # Copies, and tensors made of nothing but another one's shape.
    "_to_copy clone copy cat stack repeat repeat_interleave roll flip constant_pad_nd _unsafe_view _reshape_copy "
    "new_zeros new_ones new_full new_empty new_empty_strided zeros_like ones_like full_like empty_like rand_like "
    "randn_like fill zero resize set lift_fresh_copy to_sparse _to_sparse _to_sparse_csr _to_sparse_csc _to_dense "
    "_sparse_coo_tensor_unsafe _sparse_coo_tensor_with_dims_and_tensors _coalesce sparse_compressed_tensor "
    "_sparse_compressed_tensor_unsafe",
    # Reading and writing at places.
    "index index_select gather index_copy index_fill index_put _index_put_impl _unsafe_index _unsafe_index_put scatter "
    "slice_scatter select_scatter masked_scatter masked_select take nonzero embedding tril triu normal uniform random",
    # Orders and comparisons.
    "sort argsort topk kthvalue median max min amax amin argmax argmin aminmax unique_dim _unique _unique2 "
    "unique_consecutive searchsorted bucketize equal isin",
    # Reductions of whole dimensions.
    "sum mean prod var std var_mean std_mean linalg_vector_norm norm any all cumsum cumprod cummax cummin logcumsumexp "
    "logsumexp count_nonzero nansum",
    # Norms, softmax, pooling, dropout.
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update "
    "cudnn_batch_norm batch_norm_elemt native_layer_norm native_group_norm _fused_rms_norm _softmax _log_softmax "
    "max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_max_pool2d "
    "adaptive_max_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d native_dropout bernoulli multinomial "
    "_safe_softmax",
    # Elementwise, though torch does not say so.
    "_prelu_kernel glu complex polar",
    # Questions about a tensor.
    "_local_scalar_dense item promote_types is_same_size _assert_async _assert_scalar",
)
LEFT_OUT = frozenset(name for names in _LEFT_OUT for name in names.split())
"""Operators on real numbers that are left out on purpose: no multiply-accumulate of a product or of a sum by an index.

So are elementwise operators and views, which torch marks as such.
"""


def left_out(func: Any, op: str) -> bool:
    """Whether an operator is left out on purpose; ``op`` is its name without the underscore of one in place."""
    views = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
    return views or op in LEFT_OUT or torch.Tag.pointwise in func.tags or _elementwise(op)


@cache
def _elementwise(op: str) -> bool:
    """Whether any form of the operator is marked so: some that work in place are not, though the others are."""
    packet = getattr(torch.ops.aten, op, None)
    return packet is not None and any(torch.Tag.pointwise in getattr(packet, form).tags for form in packet.overloads())


def takes_apart(types: Iterable[type]) -> bool:
    """Whether an operator is called on subclasses, such as PyG's EdgeIndex, that turn it into others before it runs."""
    return any(each.__torch_dispatch__ is not Tensor.__torch_dispatch__ for each in types)  # type: ignore[attr-defined]
