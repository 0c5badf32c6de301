"""The arcs of one batch and their gates: what convolutions sum over, sorted and normalised once for all layers."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.graphs.dropout import dropout as drop
from graphprune.graphs.kinds import Kinds
from graphprune.graphs.known import once
from graphprune.graphs.sums import (
    EMPTY,
    SortedArcs,
    extreme,
    message_sum,
    segment_sum,
    weighted_sum,
)

Degree = Literal["target", "source"]

# Bounds the factor of an arc that is gated off, so that zero times it is zero.
_EXPONENT = 30.0


class Adjacency:
    """The arcs of a batch with their gates.

    Args:
        edge_index: shape ``(2, E)``.
        num_nodes: nodes of the batch.
        gate: how much of each arc is there, 0 or more, shape ``(E,)``; None: all of it. A gate of 0 is a removed arc
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
        self._edge_index, self._num_nodes = edge_index, num_nodes
        self.gate = None if gate is None else gate.index_select(0, self.arcs.order).to(dtype)
        self.dtype = dtype
        self._edge_weight = None if edge_weight is None else edge_weight.index_select(0, self.arcs.order).to(dtype)
        self._gcn: dict[Degree, Tensor] = {}
        self._looped_kinds: tuple[Kinds, Kinds] | None = None

    @cached_property
    def arcs(self) -> SortedArcs:
        """The arcs by target; of layers that read none they are not sorted."""
        edge_index, num_nodes = self._edge_index, self._num_nodes
        return once(edge_index, (SortedArcs, num_nodes), lambda: SortedArcs.of(edge_index, num_nodes))

    def sum(self, x: Tensor) -> Tensor:
        """Gated sum over each node's in-neighbours of ``x``, shape ``(N, F)``."""
        return weighted_sum(x, self.gate, self.arcs)

    def sum_rows(self, table: Tensor, which: Tensor) -> Tensor:
        """Gated sum over each node's arcs of the row of a table ``(P, F)`` that each has, in the order of ``arcs``."""
        return weighted_sum(table, self.gate, self.arcs.reading(which, table.size(0)))

    def sum_messages(self, x: Tensor, table: Tensor, kinds: Kinds) -> Tensor:
        """Gated sum of ``relu(x[source] + table[kinds.which])``.

        Args:
            x: shape ``(N, F)``.
            table: one vector for each kind of arc, shape ``(K, F)``.
            kinds: ``which`` of them each arc is, shape ``(E,)``, in the order of ``arcs``.
        """
        return message_sum(x, table, self.gate, self.arcs, kinds)

    def mean(self, x: Tensor) -> Tensor:
        """Gated mean over in-neighbours; 0 for a node without any."""
        return weighted_sum(x, self._mean_weight, self.arcs)

    def mean_rows(self, rows: Tensor) -> Tensor:
        """The same mean of one row a sorted arc, shape ``(E, F)``."""
        return weighted_sum(rows, self._mean_weight, self.arcs.own)

    def extreme(self, rows: Tensor, mean: Tensor, how: Literal["max", "min"]) -> Tensor:
        """Largest or smallest row of a node's arcs, column by column; 0 for a node without any.

        With gates rows lie between the mean, for a gate of 0, and their own values, for the node's largest gate; so a
        removed arc is none, and all others have gradients.

        Args:
            rows: one a sorted arc, shape ``(E, F)``.
            mean: their gated mean, shape ``(N, F)``.
            how: maximum or minimum.
        """
        arcs = self.arcs
        if self.gate is None:
            return extreme(rows, arcs.target, arcs.ptr, how)
        gate = self.gate[:, None].to(rows.dtype)
        most = extreme(gate, arcs.target, arcs.ptr, "max")
        share = gate / most.masked_fill(most <= EMPTY, 1.0).index_select(0, arcs.target)
        between = torch.lerp(mean.index_select(0, arcs.target), rows, share)
        return extreme(between, arcs.target, arcs.ptr, how).masked_fill(self.degree[:, None] <= EMPTY, 0.0)

    @cached_property
    def degree(self) -> Tensor:
        """The sum of the gates of each node's arcs, shape ``(N,)``."""
        if self.gate is None:
            return self.arcs.ptr.diff().to(self.dtype)
        return self.gate.new_zeros(self.arcs.ptr.numel() - 1).index_add(0, self.arcs.target, self.gate)

    def mean_messages(self, x: Tensor, table: Tensor, kinds: Kinds) -> Tensor:
        """Gated mean of ``relu(x[source] + table[kinds.which])``, see :meth:`sum_messages`."""
        return message_sum(x, table, self._mean_weight, self.arcs, kinds)

    def gcn(self, x: Tensor, degree: Degree = "target") -> Tensor:
        """Symmetrically normalised sum with a self-loop at every node (Kipf & Welling 2017).

        Args:
            x: shape ``(N, F)``.
            degree: over which end of the arcs degrees are summed; they differ only on asymmetric arcs.
        """
        if degree not in self._gcn:
            self._gcn[degree] = self._gcn_weight(degree)
        return weighted_sum(x, self._gcn[degree], self._looped)

    def gcn_messages(self, x: Tensor, table: Tensor, loop: Tensor, kinds: Kinds) -> Tensor:
        """The same sum of ``relu(x[source] + table[kinds.which])``; at self-loops of ``relu(x + loop)`` (OGB's GCN).

        Args:
            x: shape ``(N, F)``.
            table: see :meth:`sum_messages`.
            loop: what stands for edge features at self-loops, shape ``(1, F)``.
            kinds: see :meth:`sum_messages`.
        """
        if "target" not in self._gcn:
            self._gcn["target"] = self._gcn_weight("target")
        if self._looped_kinds is None or self._looped_kinds[0] is not kinds:
            at_loops = kinds.which.new_full((x.size(0),), table.size(0))
            looped = Kinds(at_loops.new_empty(table.size(0) + 1, 0), self._with_loops(kinds.which, at_loops))
            self._looped_kinds = (kinds, looped)
        return message_sum(x, torch.cat([table, loop]), self._gcn["target"], self._looped, self._looped_kinds[1])

    def attend(
        self,
        x: Tensor,
        at_source: Tensor,
        at_target: Tensor,
        slope: float,
        dropout: float,
        at_edge: Tensor | None = None,
    ) -> Tensor:
        """Softmax-weighted sum with a self-loop at every node (Veličković et al. 2018).

        Args:
            x: shape ``(N, H, C)``.
            at_source: attention logit of each node as a source, shape ``(N, H)``.
            at_target: the same as a target.
            slope: negative slope of the leaky ReLU.
            dropout: probability with which an attention coefficient is dropped; 0 in evaluation.
            at_edge: what edge features add to the logit of each sorted arc, shape ``(E, H)``; a loop has the gated mean
                of its node's arcs, as in torch_geometric.
        """
        logit = self._attention(at_source, at_target, slope, at_edge)
        present = self._with_loops(self._present, self._present.new_ones(x.size(0)))[:, None]
        return self._softmax_sum(x, logit, present, dropout)

    def attend_scaled(self, x: Tensor, at_source: Tensor, at_target: Tensor, slope: float, dropout: float) -> Tensor:
        """The same with gates that scale the logits, as in the code of UGS; an arc of gate 0 keeps the share of exp(0).

        That is no removal. It exists to repeat what was published (Chen et al., ICML 2021).
        """
        logit = self._attention(at_source, at_target, slope)
        no_loop = (self.arcs.source != self.arcs.target).to(self.dtype)
        ones = no_loop.new_ones(x.size(0))
        if self.gate is not None:
            logit = logit * self._with_loops(self.gate, ones)[:, None]
        return self._softmax_sum(x, logit, self._with_loops(no_loop, ones)[:, None], dropout)

    def _attention(self, at_source: Tensor, at_target: Tensor, slope: float, at_edge: Tensor | None = None) -> Tensor:
        """A logit for each arc of ``_looped`` and head."""
        arcs = self._looped
        logit = at_source.index_select(0, arcs.source) + at_target.index_select(0, arcs.target)
        if at_edge is not None:
            near = at_edge * self._share(self._present)[:, None]
            logit = logit + self._with_loops(at_edge, segment_sum(near, self.arcs))
        return functional.leaky_relu(logit, slope).to(self.dtype)

    def _softmax_sum(self, x: Tensor, logit: Tensor, present: Tensor, dropout: float) -> Tensor:
        arcs = self._looped
        # A removed arc must not set the scale: however large its logit, what is left would vanish beside it.
        rival = logit.detach().masked_fill(present == 0, -torch.inf)
        top = torch.segment_reduce(rival, "max", offsets=arcs.ptr, axis=0, unsafe=True)
        share = (logit - top.index_select(0, arcs.target)).clamp(max=_EXPONENT).exp() * present
        share = share / segment_sum(share, arcs).index_select(0, arcs.target)
        share = drop(share, dropout)
        heads = zip(x.transpose(0, 1).contiguous(), share.t().contiguous(), strict=True)
        return torch.stack([weighted_sum(head, weight, arcs) for head, weight in heads], 1)

    @property
    def _looped(self) -> SortedArcs:
        return self.arcs.looped

    def _with_loops(self, of_arcs: Tensor, of_nodes: Tensor) -> Tensor:
        """Values of arcs and of nodes' loops in the order of ``_looped``."""
        return torch.cat([of_arcs, of_nodes]).index_select(0, self._looped.order)

    @cached_property
    def _present(self) -> Tensor:
        """The gates with 0 at self-loops."""
        no_loop = (self.arcs.source != self.arcs.target).to(self.dtype)
        return no_loop if self.gate is None else self.gate * no_loop

    @cached_property
    def _mean_weight(self) -> Tensor:
        """Each arc's share in its target's mean."""
        if self.gate is None:
            target = self.arcs.target
            return self.arcs.ptr.diff().to(self.dtype).reciprocal().index_select(0, target)
        return self._share(self.gate)

    def _share(self, gate: Tensor) -> Tensor:
        """Gates of arcs over their sum at the arc's target; 0 where there is none."""
        target = self.arcs.target
        count = gate.new_zeros(self.arcs.ptr.numel() - 1).index_add(0, target, gate)
        there = count > EMPTY
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
        there = ~(total.abs() <= EMPTY)  # negative and NaN degrees give NaN, as in PyG, and no silent zero
        scale = torch.where(there, total, 1).rsqrt() * there
        return scale.index_select(0, arcs.source) * weight * scale.index_select(0, arcs.target)


def adjacency_of(data: Data, num_nodes: int, gate: Tensor | None, dtype: torch.dtype) -> Adjacency:
    """The adjacency of a graph or batch with its own ``edge_weight`` and, where no other gate is given, ``edge_gate``.

    Args:
        data: needs ``edge_index``.
        num_nodes: its nodes.
        gate: see :class:`Adjacency`.
        dtype: that of the network.
    """
    assert data.edge_index is not None
    gate = data.get("edge_gate") if gate is None else gate
    return Adjacency(data.edge_index, num_nodes, gate, data.get("edge_weight"), dtype)
