"""Sums over the arcs of each node, with gradients.

A message step is a product with a sparse matrix. ``embedding_bag`` computes it several times faster on a CPU than
gather, multiply and scatter (benchmarks/bench_message.py), and needs no sparse tensor.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from graphprune.graphs.kinds import Kinds
from graphprune.graphs.known import lasting
from graphprune.graphs.segments import is_empty, pointers

# Degrees and sums of gates up to this are those of an empty neighbourhood: their inverse would only make infinities.
EMPTY = 1e-12

_MANY = 4096  # arcs, from which on counting is faster than sorting


def bags(rows: Tensor, table: Tensor, ptr: Tensor, weight: Tensor | None) -> Tensor:
    """``out[i] = sum of weight[k] * table[rows[k]]`` over ``ptr[i] <= k < ptr[i + 1]``."""
    if is_empty(rows, table):
        return table.new_zeros(ptr.numel() - 1, table.size(1))
    return functional.embedding_bag(rows, table, ptr, mode="sum", per_sample_weights=weight, include_last_offset=True)


@cache
def _csr_products() -> bool:
    """Whether sampled products of CSR matrices are there; also lets torch say once that CSR is beta."""
    if not torch.backends.mkl.is_available():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1), check_invariants=False)
    return True


def _dots(left: Tensor, right: Tensor, ptr: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """``<left[rows[k]], right[cols[k]]>`` for every k, rows ascending with pointers ``ptr``."""
    # The sparse product refuses more entries than the matrix has places, which several equal arcs can come to.
    fits = rows.numel() <= left.size(0) * right.size(0)
    if fits and left.device.type == "cpu" and left.dtype in (torch.float32, torch.float64) and _csr_products():
        pattern = torch.sparse_csr_tensor(
            ptr, cols, left.new_zeros(cols.numel()), (left.size(0), right.size(0)), check_invariants=False
        )
        products: Tensor = torch.sparse.sampled_addmm(pattern, left, right.t()).values()
        return products
    return (left.index_select(0, rows) * right.index_select(0, cols)).sum(1)


class _WeightedSum(torch.autograd.Function):
    """Sum of weighted neighbour rows; weights and rows may both need gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, arcs: SortedArcs) -> Tensor:
        ctx.arcs = arcs
        ctx.save_for_backward(x, weight)
        return bags(arcs.source, x, arcs.ptr, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        arcs: SortedArcs = ctx.arcs
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            order, rows, ptr = arcs.transposed
            grad_x = bags(rows, grad, ptr, None if weight is None else weight.index_select(0, order))
        if weight is not None and ctx.needs_input_grad[1]:
            grad_weight = _dots(grad, x, arcs.ptr, arcs.target, arcs.source)
        return grad_x, grad_weight, None


class _MessageSum(torch.autograd.Function):
    """Sum of ``weight * relu(x[source] + table[kind])`` over each node's arcs, without a row an arc of the table.

    Differentiable once: second derivatives would need more than the messages.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, weight: Tensor | None, arcs: SortedArcs, kinds: Kinds) -> Tensor:
        # Each arc is a bag of two rows.
        rows = torch.stack([arcs.source, kinds.which + x.size(0)], 1).flatten()
        message = bags(rows, torch.cat([x, table]), 2 * arcs.each, None).relu_()
        ctx.arcs, ctx.kinds = arcs, kinds
        ctx.save_for_backward(message, weight)
        return bags(arcs.position, message, arcs.ptr, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        arcs: SortedArcs = ctx.arcs
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("messages with edge features have no second derivatives")
        message, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_table = grad_weight = None
        if weight is not None and ctx.needs_input_grad[2]:
            grad_weight = _dots(grad, message, arcs.ptr, arcs.target, arcs.position)
        # Gather and multiply in one pass: each arc is a bag of its own.
        at_arc = bags(arcs.target, grad, arcs.each, weight)
        torch.ops.aten.threshold_backward.grad_input(at_arc, message, 0.0, grad_input=at_arc)
        if ctx.needs_input_grad[0]:
            order, _, ptr = arcs.transposed
            grad_x = bags(order, at_arc, ptr, None)
        if ctx.needs_input_grad[1]:
            order, ptr = ctx.kinds.grouped
            grad_table = bags(order, at_arc, ptr, None)
        return grad_x, grad_table, grad_weight, None, None


def weighted_sum(x: Tensor, weight: Tensor | None, arcs: SortedArcs) -> Tensor:
    """Sum over each node's in-neighbours of ``weight * x``, in the dtype of ``x``."""
    weight = None if weight is None else weight.to(x.dtype)
    summed: Tensor = _WeightedSum.apply(x.contiguous(), weight, arcs)  # type: ignore[no-untyped-call]
    return summed


class SortedArcs:
    """Arcs sorted by target.

    Args:
        source: first node of each arc, shape ``(E,)``.
        target: second node of each arc, ascending.
        ptr: where the arcs of each target start, shape ``(N + 1,)``.
        order: position of each arc in what it was sorted from.
    """

    def __init__(self, source: Tensor, target: Tensor, ptr: Tensor, order: Tensor, sources: int | None = None) -> None:
        self.source, self.target, self.ptr, self.order = source, target, ptr, order
        self._sources = ptr.numel() - 1 if sources is None else sources

    def reading(self, rows: Tensor, count: int) -> SortedArcs:
        """The same arcs, which read rows of another table than that of the nodes, of so many rows; shape ``(E,)``."""
        return SortedArcs(rows, self.target, self.ptr, self.order, count)

    @lasting
    def own(self) -> SortedArcs:
        """The same arcs, which read a row of their own each."""
        own = self.reading(self.position, self.position.numel())
        own.transposed = (self.position, self.target, self.each)
        return own

    @classmethod
    def of(cls, edge_index: Tensor, num_nodes: int) -> SortedArcs:
        """Sort the arcs of a graph or batch; equals keep their order."""
        order, source, ptr = grouped(edge_index[1], edge_index[0], num_nodes)
        return cls(source, edge_index[1].index_select(0, order), ptr, order)

    @lasting
    def looped(self) -> SortedArcs:
        """One more arc at every node, to itself, after its others; ``order`` points into arcs, then nodes."""
        arcs, nodes = self.position, torch.arange(self.ptr.numel() - 1, device=self.ptr.device)
        order = arcs.new_empty(arcs.numel() + nodes.numel())
        order[arcs + self.target] = arcs
        order[self.ptr[1:] + nodes] = arcs.numel() + nodes
        source, target = (torch.cat([ends, nodes]).index_select(0, order) for ends in (self.source, self.target))
        return SortedArcs(source, target, self.ptr + torch.arange(self.ptr.numel(), device=self.ptr.device), order)

    @lasting
    def each(self) -> Tensor:
        """``0, 1, ..., E``: row pointers of one arc a row."""
        return torch.arange(self.source.numel() + 1, device=self.source.device)

    @property
    def position(self) -> Tensor:
        """``0, 1, ..., E - 1``."""
        return self.each[:-1]

    @lasting
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same arcs by source: their places among the sorted arcs, their targets, and row pointers."""
        return grouped(self.source, self.target, self._sources)


def grouped(keys: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """A stable order by keys below ``count``, the values in it, and where each key begins, shape ``(count + 1,)``.

    Many keys are counted, which takes a tenth of the time of sorting them, as SciPy does where it transposes a matrix.
    """
    watched = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    counted = not watched and keys.device.type == "cpu" and keys.numel() >= max(_MANY, 1)
    # SciPy writes wherever a key says; what is none has its error of torch, in either way.
    if not counted or int(keys.min()) < 0 or int(keys.max()) >= count:
        ordered, order = torch.sort(keys, stable=True)
        if torch.compiler.is_compiling():  # of whose bincount a program knows no size
            each = keys.new_zeros(count).index_add_(0, ordered, torch.ones_like(ordered))
        else:
            each = torch.bincount(ordered, minlength=count)
        return order, values.index_select(0, order), pointers(each)
    shape, starts = (keys.numel(), count), np.arange(keys.numel() + 1)
    made = csr_array((values.numpy(), keys.numpy(), starts), shape=shape).tocsc()
    order, ptr = (torch.from_numpy(found).long() for found in (made.indices, made.indptr))
    return order, torch.from_numpy(made.data), ptr


def segment_sum(x: Tensor, arcs: SortedArcs) -> Tensor:
    """Sum over each target's arcs of ``x``, one row an arc."""
    return weighted_sum(x, None, arcs.own)


def message_sum(x: Tensor, table: Tensor, weight: Tensor | None, arcs: SortedArcs, kinds: Kinds) -> Tensor:
    """Sum over each node's arcs of ``weight * relu(x[source] + table[kind])``, in the dtype of ``x``."""
    weight = None if weight is None else weight.to(x.dtype)
    summed: Tensor = _MessageSum.apply(  # type: ignore[no-untyped-call]
        x.contiguous(), table.to(x.dtype), weight, arcs, kinds
    )
    return summed


class _ScaledSum(torch.autograd.Function):
    """Sum over each node's arcs of one row and one factor an arc; see :func:`scaled_sum`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, factor: Tensor, node: Tensor, order: Tensor, ptr: Tensor) -> Tensor:
        ctx.save_for_backward(rows, factor, node, order, ptr)
        return bags(order, rows, ptr, factor.index_select(0, order))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("gated sums of messages have no second derivatives")
        rows, factor, node, order, ptr = ctx.saved_tensors
        grad, grad_rows, grad_factor = grad.contiguous(), None, None
        if ctx.needs_input_grad[0]:  # gather and multiply in one pass: each arc is a bag of its own
            grad_rows = bags(node, grad, torch.arange(node.numel() + 1, device=node.device), factor)
        if ctx.needs_input_grad[1]:
            products = _dots(grad, rows, ptr, node.index_select(0, order), order)
            grad_factor = torch.empty_like(factor).index_copy_(0, order, products)
        return grad_rows, grad_factor, None, None, None


def scaled_sum(rows: Tensor, factor: Tensor, node: Tensor, order: Tensor, ptr: Tensor) -> Tensor:
    """Sum of ``rows[k] * factor[k]`` over the arcs k of each node.

    Args:
        rows: shape ``(E, ...)``.
        factor: shape ``(E,)``, in the dtype of ``rows``.
        node: of each arc, shape ``(E,)``.
        order: the arcs by node.
        ptr: where those of each node begin, shape ``(N + 1,)``.
    """
    flat = rows.flatten(1).contiguous()
    summed: Tensor = _ScaledSum.apply(flat, factor, node, order, ptr)  # type: ignore[no-untyped-call]
    return summed.view(ptr.numel() - 1, *rows.shape[1:])


class _Extreme(torch.autograd.Function):
    """Maximum or minimum over each node's rows, see :func:`extreme`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, owner: Tensor, ptr: Tensor, how: str) -> Tensor:
        out = torch.segment_reduce(rows, how, offsets=ptr, axis=0, unsafe=True)
        out.masked_fill_((ptr.diff() == 0)[:, None], 0)  # where there is none it is infinite
        ctx.save_for_backward(rows, out, owner, ptr)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("maxima over edges have no second derivatives")
        rows, out, owner, ptr = ctx.saved_tensors
        best = (rows == out.index_select(0, owner)).to(grad.dtype)
        count = bags(torch.arange(owner.numel(), device=owner.device), best, ptr, None)
        return best.mul_((grad / count.clamp_(min=1)).index_select(0, owner)), None, None, None


def extreme(rows: Tensor, owner: Tensor, ptr: Tensor, how: Literal["max", "min"]) -> Tensor:
    """The largest or smallest row of each node, column by column; 0 for a node without rows.

    Equal ones share the gradient, as in torch_geometric.

    Args:
        rows: shape ``(E, F)``, those of one node after the other.
        owner: the node of each row, ascending, shape ``(E,)``.
        ptr: where the rows of each node start, shape ``(N + 1,)``.
        how: maximum or minimum.
    """
    made: Tensor = _Extreme.apply(rows, owner, ptr, how)  # type: ignore[no-untyped-call]
    return made
