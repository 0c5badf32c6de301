"""The gated graph convolution of Bresson & Laurent (2017), whose edges have vectors of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.dropout import dropout as drop
from graphprune.graphs.kinds import Kinds, Vectors, nodes_of
from graphprune.graphs.norms import RowNorm
from graphprune.graphs.sums import SortedArcs, bags

_EPS = 1e-6  # beside the sum of a node's weights, as in the authors' and everybody's code


class _GatedMean(torch.autograd.Function):
    """``sum of g s v / (sum of g s + eps)`` over each node's arcs: s the sigmoid of a logit, g the arc's gate."""

    @staticmethod
    def forward(ctx: Any, logit: Tensor, values: Tensor, gate: Tensor | None, arcs: SortedArcs) -> Tensor:
        share = logit.sigmoid()
        message = values.index_select(0, arcs.source) * share
        total = bags(arcs.position, share, arcs.ptr, gate) + _EPS
        out = bags(arcs.position, message, arcs.ptr, gate) / total  # not in place, which compaction follows less far
        ctx.arcs = arcs
        ctx.save_for_backward(share, values, gate, total, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("gated means have no second derivatives")
        arcs: SortedArcs = ctx.arcs
        share, values, gate, total, out = ctx.saved_tensors
        at_arc = (grad / total).index_select(0, arcs.target)
        to_values = to_gate = None
        if ctx.needs_input_grad[1]:
            order, _, ptr = arcs.transposed
            to_values = bags(order, at_arc * share, ptr, None if gate is None else gate.index_select(0, order))
        apart = values.index_select(0, arcs.source).sub_(out.index_select(0, arcs.target))
        apart.mul_(at_arc).mul_(share)
        if gate is not None and ctx.needs_input_grad[2]:
            to_gate = apart.sum(1)
        to_logit = torch.addcmul(apart, apart, share, value=-1)
        return to_logit if gate is None else to_logit.mul_(gate[:, None]), to_values, to_gate, None


def _reads_all(norm: _NormBase) -> bool:
    """Whether a norm takes its statistics from the rows that it is given."""
    return norm.training or norm.running_mean is None


class GatedGCNLayer(nn.Module):
    """Residual gated graph convolution, Bresson & Laurent (2017), as in Dwivedi et al. (JMLR 2023) and GNN+.

    With vectors x of nodes and e of arcs from j to i: ``e' = D x_i + E x_j + C e``, and node i becomes
    ``A x_i + sum of sigmoid(e') B x_j / (sum of sigmoid(e') + 1e-6)``. The arcs of the next layer have a norm, ReLU and
    dropout of ``e'``, with a residual sum of ``e`` if asked for. A gate multiplies an arc's sigmoid in both sums, and
    counts the arc in a batch norm over arcs.

    Args:
        channels: width of nodes and arcs.
        reads: arcs have vectors, without which there is no C.
        norm: of the arcs' next vectors, called with them and, if it is a :class:`RowNorm`, the gates; None: the last
            layer, whose arcs have none.
        dropout: probability, of the arcs' next vectors.
        residual: add the arcs' vectors to their next ones.
    """

    def __init__(
        self, channels: int, *, reads: bool, norm: nn.Module | None, dropout: float = 0.0, residual: bool = False
    ) -> None:
        super().__init__()
        self.A, self.B = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.C = nn.Linear(channels, channels) if reads else None
        self.D, self.E = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norm, self.dropout, self.residual = norm, dropout, residual

    def forward(
        self, x: Vectors, adjacency: Adjacency, edge: Tensor | None = None, kinds: Kinds | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Vectors of nodes, ``(N, channels)``, and of the sorted arcs, ``(E, channels)`` (None from the last layer).

        Args:
            x: shape ``(N, channels)``.
            adjacency: the arcs.
            edge: vectors of the sorted arcs, ``(E, channels)``, or of their kinds.
            kinds: which row of ``edge`` each arc has; None: each its own.

        Raises:
            TypeError: gates, and a norm in training over all arcs alike, as ``convert_sync_batchnorm`` puts in place.
        """
        x, arcs, gate = nodes_of(x), adjacency.arcs, adjacency.gate
        logit = self.D(x).index_select(0, arcs.target) + self.E(x).index_select(0, arcs.source)
        if self.C is not None:
            assert edge is not None
            of_edges = self.C(edge)
            logit = logit + (of_edges if kinds is None else of_edges.index_select(0, kinds.which))
        values = self.B(x)
        near: Tensor = _GatedMean.apply(  # type: ignore[no-untyped-call]
            logit, values, None if gate is None else gate.to(values.dtype), arcs
        )
        out = self.A(x) + near
        if self.norm is None:
            return out, None
        if isinstance(self.norm, RowNorm):
            normal = self.norm(logit, gate)
        elif gate is not None and isinstance(self.norm, _NormBase) and _reads_all(self.norm):
            raise TypeError(
                f"the arcs' norm is a {type(self.norm).__name__}, in which arcs with a gate of 0 would have a say: put "
                "back the RowNorm that GatedGCN makes there"
            )
        else:
            normal = self.norm(logit)
        made = drop(functional.relu(normal), self.dropout, self.training)
        if self.residual and edge is not None:
            made = made + (edge if kinds is None else edge.index_select(0, kinds.which))
        return out, made
