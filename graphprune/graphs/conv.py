"""Graph convolutions over an :class:`Adjacency`; parameters are named as in PyG's layers, whose state they load."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphprune.graphs.adjacency import Adjacency, Degree
from graphprune.graphs.dropout import dropout as drop
from graphprune.graphs.kinds import Kinds, NodeRows, Vectors, nodes_of, pairs, rowwise
from graphprune.graphs.known import watched
from graphprune.graphs.nonzero import nonzero_of
from graphprune.graphs.sums import bags


class GCNLayer(nn.Module):
    """Graph convolution of Kipf & Welling (ICLR 2017), as :class:`torch_geometric.nn.GCNConv`.

    Args:
        in_channels: input features F.
        out_channels: output features.
        degree: which end of an arc degrees are summed over. PyG sums over targets; the ICPG authors over sources.
        edges: messages are ``relu(lin(x) + e)``, as in OGB's GCN, with a vector of its own for self-loops. Degrees are
            summed over targets then.
    """

    protected_parameters = frozenset({"loop"})

    def __init__(self, in_channels: int, out_channels: int, degree: Degree = "target", *, edges: bool = False) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.degree = degree
        nn.init.xavier_uniform_(self.lin.weight)
        self.loop = nn.Parameter(torch.zeros(1, out_channels)) if edges else None

    def forward(
        self, x: Vectors, adjacency: Adjacency, table: Tensor | None = None, kinds: Kinds | None = None
    ) -> Tensor:
        """``(N, in_channels)`` to ``(N, out_channels)``; ``table`` and ``kinds`` as in :class:`GINELayer`."""
        z = nodes_of(rowwise(self.lin, x))
        if self.loop is None:
            return adjacency.gcn(z, self.degree).add_(self.bias)
        assert table is not None and kinds is not None
        return adjacency.gcn_messages(z, table, self.loop, kinds).add_(self.bias)

    def mapped_on(self, matrix: Tensor, x: Vectors, adjacency: Adjacency) -> Tensor:
        """What a matrix ``(M, out_channels)`` makes of the output, ``(N, M)``: sums over arcs of M columns alone."""
        return adjacency.gcn(nodes_of(_mapped_on(matrix, self.lin, x)), self.degree).add_(matrix @ self.bias)


class _AddScaled(torch.autograd.Function):
    """``near + scale * x`` with a scale of one element, whose gradient is a dot product and not a matrix."""

    @staticmethod
    def forward(ctx: Any, near: Tensor, scale: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(scale, x)
        return torch.addcmul(near, scale, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale, x = ctx.saved_tensors
        return grad, torch.dot(grad.flatten(), x.flatten()).reshape(scale.shape), grad * scale


def _add_scaled(near: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    out: Tensor = _AddScaled.apply(near, scale.to(x.dtype), x)  # type: ignore[no-untyped-call]
    return out


class GINLayer(nn.Module):
    """Graph isomorphism layer of Xu et al. (ICLR 2019), as :class:`torch_geometric.nn.GINConv`.

    Args:
        net: what is done with the sums.
        train_eps: the node's own vector counts ``1 + eps``, which is learnt; else eps stays 0.
    """

    eps: Tensor

    def __init__(self, net: nn.Module, train_eps: bool = True) -> None:
        super().__init__()
        self.nn = net
        if train_eps:
            self.eps = nn.Parameter(torch.zeros(1))
        else:
            self.register_buffer("eps", torch.zeros(1))

    def forward(self, x: Vectors, adjacency: Adjacency) -> Tensor:
        """``(N, F)`` to what ``net`` makes of it."""
        if isinstance(x, NodeRows) and self._begins_linear:
            return self._of_rows(x, x.rows, x.kinds.which.index_select(0, adjacency.arcs.source), adjacency)
        x = nodes_of(x)
        return self.nn(_add_scaled(adjacency.sum(x), 1 + self.eps, x))  # type: ignore[no-any-return]

    @property
    def _begins_linear(self) -> bool:
        """Whether ``net`` begins with a linear map that nobody looks at."""
        net = self.nn
        return isinstance(net, nn.Sequential) and type(net[0]) is nn.Linear and not watched(net) and not watched(net[0])

    def _of_rows(self, x: NodeRows, messages: Tensor, which: Tensor, adjacency: Adjacency) -> Tensor:
        """The output where few messages ``(P, F)`` go over the arcs, ``which`` over each: sums are of mapped ones."""
        first, *rest = cast("list[Any]", self.nn)
        mapped_rows = functional.linear(torch.cat([messages, x.rows]), first.weight)
        near = adjacency.sum_rows(mapped_rows[: messages.size(0)], which)
        own = mapped_rows[messages.size(0) :].index_select(0, x.kinds.which)
        out = _add_scaled(near, 1 + self.eps, own)
        out = out if first.bias is None else out.add_(first.bias)
        for module in rest:
            out = module(out)
        return out


class GINELayer(GINLayer):
    """GIN with edge features of Hu et al. (ICLR 2020), as :class:`torch_geometric.nn.GINEConv`."""

    def forward(  # type: ignore[override]
        self, x: Vectors, adjacency: Adjacency, table: Tensor, kinds: Kinds
    ) -> Tensor:
        """``x`` has shape ``(N, F)``; an arc's features are a row of ``table``, see :meth:`Adjacency.sum_messages`."""
        if isinstance(x, NodeRows) and self._begins_linear:
            found = pairs(x.kinds, adjacency.arcs.source, kinds, x.size(0) // 2)
            if found is not None:
                of_node, of_arc, which = found
                messages = functional.relu(x.rows.index_select(0, of_node) + table.index_select(0, of_arc))
                return self._of_rows(x, messages, which, adjacency)
        x = nodes_of(x)
        near = adjacency.sum_messages(x, table, kinds)
        return self.nn(_add_scaled(near, 1 + self.eps, x))  # type: ignore[no-any-return]


class SAGELayer(nn.Module):
    """GraphSAGE of Hamilton et al. (NeurIPS 2017), as :class:`torch_geometric.nn.SAGEConv`.

    With edge features e messages are ``relu(x + e)``.
    """

    def __init__(self, in_channels: int, out_channels: int, aggr: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        self.lin_l = nn.Linear(in_channels, out_channels)
        self.lin_r = nn.Linear(in_channels, out_channels, bias=False)
        self.aggr = aggr

    def forward(
        self, x: Vectors, adjacency: Adjacency, table: Tensor | None = None, kinds: Kinds | None = None
    ) -> Tensor:
        """``(N, in_channels)`` to ``(N, out_channels)``; ``table`` and ``kinds`` as in :class:`GINELayer`."""
        x = nodes_of(x)
        if table is not None and kinds is not None:
            messages = adjacency.mean_messages if self.aggr == "mean" else adjacency.sum_messages
            near = messages(x, table, kinds)
        else:
            near = adjacency.mean(x) if self.aggr == "mean" else adjacency.sum(x)
        return self.lin_l(near) + self.lin_r(x)  # type: ignore[no-any-return]


class GATLayer(nn.Module):
    """Graph attention of Veličković et al. (ICLR 2018), as :class:`torch_geometric.nn.GATConv`.

    Args:
        in_channels: input features.
        out_channels: features a head; the output has ``heads * out_channels``.
        heads: attention heads.
        dropout: probability with which an attention coefficient is dropped in training.
        edge_dim: columns of edge features, which add to the attention logits; None: they are not read.
    """

    protected_parameters = frozenset({"att_src", "att_dst", "att_edge"})

    def __init__(
        self, in_channels: int, out_channels: int, heads: int = 4, dropout: float = 0.0, edge_dim: int | None = None
    ) -> None:
        super().__init__()
        self.heads, self.out_channels, self.dropout = heads, out_channels, dropout
        self.lin = nn.Linear(in_channels, heads * out_channels, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels))
        self.bias = nn.Parameter(torch.zeros(heads * out_channels))
        for parameter in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(parameter)
        if edge_dim is not None:
            self.lin_edge = nn.Linear(edge_dim, heads * out_channels, bias=False)
            self.att_edge = nn.Parameter(torch.empty(1, heads, out_channels))
            for parameter in (self.lin_edge.weight, self.att_edge):
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, x: Vectors, adjacency: Adjacency, table: Tensor | None = None, kinds: Kinds | None = None
    ) -> Tensor:
        """``(N, in_channels)`` to ``(N, heads * out_channels)``; ``table`` and ``kinds`` as in :class:`GINELayer`."""
        z = nodes_of(rowwise(self.lin, x)).view(-1, self.heads, self.out_channels)
        at_source, at_target = (z * self.att_src).sum(-1), (z * self.att_dst).sum(-1)
        given: list[Any] = [adjacency, z, at_source, at_target, 0.2, self.dropout if self.training else 0.0]
        if table is not None and kinds is not None:
            of_edges = self.lin_edge(table).view(-1, self.heads, self.out_channels)
            given.append((of_edges * self.att_edge).sum(-1).index_select(0, kinds.which))
        return self.attend(*given).flatten(1) + self.bias

    def attend(self, adjacency: Adjacency, *args: Any) -> Tensor:
        """How the layer attends: :meth:`Adjacency.attend`."""
        return adjacency.attend(*args)


class DenseLayer(nn.Module):
    """A linear map of each node for itself: the layer of networks that see no edges."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x: Vectors, adjacency: Adjacency) -> Any:
        """``(N, in_channels)`` to ``(N, out_channels)``, of kinds to kinds; ``adjacency`` is not read."""
        return rowwise(self.lin, x)

    def mapped_on(self, matrix: Tensor, x: Vectors, adjacency: Adjacency) -> Vectors:
        """What a matrix ``(M, out_channels)`` makes of the output, ``(N, M)``, of kinds of kinds."""
        return _mapped_on(matrix, self.lin, x)


def _mapped_on(matrix: Tensor, lin: nn.Linear, x: Vectors) -> Vectors:
    """``matrix @ lin(x)`` of each row, as one map."""
    bias = None if lin.bias is None else matrix @ lin.bias
    return rowwise(partial(functional.linear, weight=matrix @ lin.weight, bias=bias), x)  # type: ignore[no-any-return]


class BagLinear(nn.Linear):
    """``nn.Linear`` that reads only the non-zero entries of sparse rows; the same map, up to rounding.

    Planetoid's features are 1 % words: the dense product would be nearly all of a training step's time.

    Args:
        in_features: columns of the input.
        out_features: of the output.
        bias: whether it has one.
        dropout: of the input, in training.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(in_features, out_features, bias)
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:
        """``(N, in_features)`` to ``(N, out_features)``; no gradient goes to sparse inputs."""
        found = None if input.requires_grad else nonzero_of(input)
        if found is None:
            return super().forward(drop(input, self.dropout, self.training))
        values = drop(found.values, self.dropout, self.training)
        out = bags(found.column, self.weight.t().contiguous(), found.ptr, values.to(self.weight.dtype))
        return out if self.bias is None else out + self.bias
