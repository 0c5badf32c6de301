"""The arcs of one batch, sorted once for all layers, and the weighted sums over them.

A message step is a product with a sparse matrix. ``embedding_bag`` computes it several times faster on a CPU than
gather, multiply and scatter (benchmarks/bench_message.py), and needs no sparse tensor.
"""

from __future__ import annotations

import warnings
from functools import cache, cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from graphprune.graphs.segments import pointers

Degree = Literal["target", "source"]

# Degrees and sums of gates below this are those of an empty neighbourhood: their inverse would only make infinities.
_EMPTY = 1e-12
# Bounds the factor of an arc that is gated off, so that zero times it is zero.
_EXPONENT = 30.0


def _bags(rows: Tensor, table: Tensor, ptr: Tensor, weight: Tensor | None) -> Tensor:
    """``out[i] = sum of weight[k] * table[rows[k]]`` over ``ptr[i] <= k < ptr[i + 1]``."""
    if rows.numel() == 0 or table.numel() == 0:
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
        return _bags(arcs.source, x, arcs.ptr, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        arcs: SortedArcs = ctx.arcs
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            order, rows, ptr = arcs.transposed
            grad_x = _bags(rows, grad, ptr, None if weight is None else weight.index_select(0, order))
        if weight is not None and ctx.needs_input_grad[1]:
            grad_weight = _dots(grad, x, arcs.ptr, arcs.target, arcs.source)
        return grad_x, grad_weight, None


class GroupedRows(Protocol):
    """Which of a few rows each of many places has."""

    @property
    def which(self) -> Tensor: ...  # noqa: D102
    @property
    def grouped(self) -> tuple[Tensor, Tensor]: ...  # noqa: D102


class _SegmentSum(torch.autograd.Function):
    """Sum over each node's arcs of one row an arc."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, arcs: SortedArcs) -> Tensor:
        ctx.arcs = arcs
        return _bags(arcs.position, x, arcs.ptr, None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(0, ctx.arcs.target), None


class _MessageSum(torch.autograd.Function):
    """Sum of ``weight * relu(x[source] + table[kind])`` over each node's arcs; vectors of bonds are never spread out.

    Differentiable once: second derivatives would need more than the messages.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, weight: Tensor | None, arcs: SortedArcs, kinds: GroupedRows
    ) -> Tensor:
        # Each arc is a bag of two rows.
        rows = torch.stack([arcs.source, kinds.which + x.size(0)], 1).flatten()
        message = _bags(rows, torch.cat([x, table]), 2 * arcs.each, None).relu_()
        ctx.arcs, ctx.kinds = arcs, kinds
        ctx.save_for_backward(message, weight)
        return _bags(arcs.position, message, arcs.ptr, weight)

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
        spread = _bags(arcs.target, grad, arcs.each, weight)
        torch.ops.aten.threshold_backward.grad_input(spread, message, 0.0, grad_input=spread)
        if ctx.needs_input_grad[0]:
            order, _, ptr = arcs.transposed
            grad_x = _bags(order, spread, ptr, None)
        if ctx.needs_input_grad[1]:
            order, ptr = ctx.kinds.grouped
            grad_table = _bags(order, spread, ptr, None)
        return grad_x, grad_table, grad_weight, None, None


def _weighted_sum(x: Tensor, weight: Tensor | None, arcs: SortedArcs) -> Tensor:
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

    def __init__(self, source: Tensor, target: Tensor, ptr: Tensor, order: Tensor) -> None:
        self.source, self.target, self.ptr, self.order = source, target, ptr, order

    @classmethod
    def of(cls, edge_index: Tensor, num_nodes: int) -> SortedArcs:
        """Sort the arcs of a graph or batch; equals keep their order."""
        target, order = torch.sort(edge_index[1], stable=True)
        ptr = pointers(torch.bincount(target, minlength=num_nodes))
        return cls(edge_index[0].index_select(0, order), target, ptr, order)

    def with_loops(self) -> SortedArcs:
        """One more arc at every node, to itself, behind its others; ``order`` points into arcs, then nodes."""
        arcs, nodes = self.position, torch.arange(self.ptr.numel() - 1, device=self.ptr.device)
        order = arcs.new_empty(arcs.numel() + nodes.numel())
        order[arcs + self.target] = arcs
        order[self.ptr[1:] + nodes] = arcs.numel() + nodes
        source, target = (torch.cat([ends, nodes]).index_select(0, order) for ends in (self.source, self.target))
        return SortedArcs(source, target, self.ptr + torch.arange(self.ptr.numel(), device=self.ptr.device), order)

    @cached_property
    def each(self) -> Tensor:
        """``0, 1, ..., E``: row pointers of one arc a row."""
        return torch.arange(self.source.numel() + 1, device=self.source.device)

    @property
    def position(self) -> Tensor:
        """``0, 1, ..., E - 1``."""
        return self.each[:-1]

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same arcs by source: their places among the sorted arcs, their targets, and row pointers."""
        source, order = torch.sort(self.source, stable=True)
        ptr = pointers(torch.bincount(source, minlength=self.ptr.numel() - 1))
        return order, self.target.index_select(0, order), ptr


class Adjacency:
    """The arcs of a batch with their gates.

    Args:
        edge_index: shape ``(2, E)``.
        num_nodes: nodes of the batch.
        gate: how much of each arc is there, in [0, 1], shape ``(E,)``; None: all of it. A gate of 0 is a removed arc
            in every sum, mean, degree and attention below.
        edge_weight: the data set's own weights, shape ``(E,)``, read by GCN only.
        dtype: that of the network; degrees are counted and inverted in it, but never in less than single precision.

    Raises:
        ValueError: gates or edge weights of another shape.
    """

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        gate: Tensor | None = None,
        edge_weight: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        for name, values in (("gate", gate), ("edge_weight", edge_weight)):
            if values is not None and values.shape != edge_index.shape[1:]:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, but there are {edge_index.size(1)} arcs")
        dtype = torch.promote_types(dtype, torch.float32)
        self.arcs = SortedArcs.of(edge_index, num_nodes)
        self.gate = None if gate is None else gate.index_select(0, self.arcs.order).to(dtype)
        self.dtype = dtype
        self._edge_weight = None if edge_weight is None else edge_weight.index_select(0, self.arcs.order).to(dtype)
        self._gcn: dict[Degree, Tensor] = {}

    def sum(self, x: Tensor) -> Tensor:
        """Gated sum over each node's in-neighbours of ``x``, shape ``(N, F)``."""
        return _weighted_sum(x, self.gate, self.arcs)

    def sum_messages(self, x: Tensor, table: Tensor, kinds: GroupedRows) -> Tensor:
        """Gated sum of ``relu(x[source] + table[kinds.which])``.

        Args:
            x: shape ``(N, F)``.
            table: one vector for each kind of arc, shape ``(K, F)``.
            kinds: ``which`` of them each arc is, shape ``(E,)``, in the order of ``arcs``.
        """
        gate = None if self.gate is None else self.gate.to(x.dtype)
        summed: Tensor = _MessageSum.apply(  # type: ignore[no-untyped-call]
            x.contiguous(), table.to(x.dtype), gate, self.arcs, kinds
        )
        return summed

    def mean(self, x: Tensor) -> Tensor:
        """Gated mean over in-neighbours; 0 for a node without any."""
        return _weighted_sum(x, self._mean_weight, self.arcs)

    def gcn(self, x: Tensor, degree: Degree = "target") -> Tensor:
        """Symmetrically normalised sum with a self-loop at every node (Kipf & Welling 2017).

        Args:
            x: shape ``(N, F)``.
            degree: over which end of the arcs degrees are summed; they differ only on asymmetric arcs.
        """
        if degree not in self._gcn:
            self._gcn[degree] = self._gcn_weight(degree)
        return _weighted_sum(x, self._gcn[degree], self._looped)

    def attend(self, x: Tensor, at_source: Tensor, at_target: Tensor, slope: float, dropout: float) -> Tensor:
        """Softmax-weighted sum with a self-loop at every node (Veličković et al. 2018).

        Args:
            x: shape ``(N, H, C)``.
            at_source: attention logit of each node as a source, shape ``(N, H)``.
            at_target: the same as a target.
            slope: negative slope of the leaky ReLU.
            dropout: probability with which an attention coefficient is dropped; 0 in evaluation.
        """
        arcs = self._looped
        logit = at_source.index_select(0, arcs.source) + at_target.index_select(0, arcs.target)
        logit = functional.leaky_relu(logit, slope).to(self.dtype)
        present = self._with_loops(self._present, self._present.new_ones(x.size(0)))[:, None]
        # A removed arc must not set the scale: however large its logit, what is left would vanish beside it.
        rival = logit.detach().masked_fill(present == 0, -torch.inf)
        top = torch.segment_reduce(rival, "max", offsets=arcs.ptr, axis=0, unsafe=True)
        share = (logit - top.index_select(0, arcs.target)).clamp(max=_EXPONENT).exp() * present
        total: Tensor = _SegmentSum.apply(share, arcs)  # type: ignore[no-untyped-call]
        share = functional.dropout(share / total.index_select(0, arcs.target), dropout, dropout > 0)
        heads = zip(x.transpose(0, 1).contiguous(), share.t().contiguous(), strict=True)
        return torch.stack([_weighted_sum(head, weight, arcs) for head, weight in heads], 1)

    @cached_property
    def _looped(self) -> SortedArcs:
        return self.arcs.with_loops()

    def _with_loops(self, of_arcs: Tensor, of_nodes: Tensor) -> Tensor:
        """Values of arcs and of nodes' loops in the order of ``_looped``."""
        return torch.cat([of_arcs, of_nodes]).index_select(0, self._looped.order)

    @cached_property
    def _present(self) -> Tensor:
        """The gates with 0 at self-loops."""
        proper = (self.arcs.source != self.arcs.target).to(self.dtype)
        return proper if self.gate is None else self.gate * proper

    @cached_property
    def _mean_weight(self) -> Tensor:
        """Each arc's share in its target's mean."""
        target = self.arcs.target
        gate = self.gate
        if gate is None:
            return self.arcs.ptr.diff().to(self.dtype).reciprocal().index_select(0, target)
        count = gate.new_zeros(self.arcs.ptr.numel() - 1).index_add(0, target, gate)
        there = count > _EMPTY
        return gate * (torch.where(there, count, 1).reciprocal() * there).index_select(0, target)

    def _gcn_weight(self, degree: Degree) -> Tensor:
        """Weight of each arc of ``_looped``; a loop in the data replaces the added one."""
        weight = self._present
        own = weight.new_ones(self.arcs.ptr.numel() - 1)
        if self._edge_weight is not None:
            loop = self.arcs.source == self.arcs.target
            own_weight, at = self._edge_weight[loop], self.arcs.source[loop]
            if at.unique().numel() < at.numel():
                raise ValueError("edge_index has several weighted self-loops at one node; merge them (coalesce)")
            if self.gate is not None:
                own_weight = torch.lerp(torch.ones_like(own_weight), own_weight, self.gate[loop])
            own = own.index_put((at,), own_weight)
            weight = weight * self._edge_weight
        arcs, weight = self._looped, self._with_loops(weight, own)
        total = torch.zeros_like(own).index_add(0, arcs.target if degree == "target" else arcs.source, weight)
        there = total > _EMPTY
        scale = torch.where(there, total, 1).rsqrt() * there
        return scale.index_select(0, arcs.source) * weight * scale.index_select(0, arcs.target)
