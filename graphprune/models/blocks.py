"""What graph classifiers are made of beside convolutions: norms, feed-forward blocks, virtual nodes, readouts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.graphs.dropout import dropout as drop
from graphprune.graphs.norms import RowNorm
from graphprune.graphs.segments import graph_of_nodes
from graphprune.graphs.sums import extreme

Norm = Literal["batch", "layer", "none"]
Readout = Literal["mean", "sum", "nodes", "max", "attention"]
JumpingKnowledge = Literal["last", "cat", "max"]


def norm_layer(norm: Norm, width: int) -> nn.Module:
    """A norm of node vectors ``(N, width)``."""
    if norm == "none":
        return nn.Identity()
    return nn.LayerNorm(width) if norm == "layer" else nn.BatchNorm1d(width)


class FeedForward(nn.Module):
    """Two maps of each node for itself, the first to twice the width, with a residual sum and norms before and after.

    The feed-forward block of GNN+ (Luo et al., ICML 2025), as their code has it.

    Args:
        width: of the vectors.
        norm: kind of both norms.
        dropout: probability after each map.
    """

    def __init__(self, width: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.before, self.after = norm_layer(norm, width), norm_layer(norm, width)
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(N, width)``, as the result."""
        x = self.before(x)
        inner = drop(functional.relu(self.first(x)), self.dropout, self.training)
        return self.after(x + drop(self.second(inner), self.dropout, self.training))  # type: ignore[no-any-return]


class VirtualNode(nn.Module):
    """A node beside each graph that all its nodes write to and read from (Gilmer et al., ICML 2017), as OGB's.

    Its vector is added to those of a graph's nodes before each layer. After each layer but the last one it is made
    anew: its own vector and the sum of the nodes' go through two linear maps, the first to twice the width.

    Args:
        width: of the vectors.
        layers: how often nodes read.
        norm: kind of the norms; a batch norm is one over the graphs of a batch, and takes its running statistics where
            a batch has a single graph.
        dropout: probability after the second map.
        residual: add the vector before.
    """

    def __init__(self, width: int, layers: int, norm: Norm, dropout: float, residual: bool) -> None:
        super().__init__()
        self.start = nn.Embedding(1, width)
        nn.init.zeros_(self.start.weight)

        def rows(size: int) -> nn.Module:
            return RowNorm(size) if norm == "batch" else norm_layer(norm, size)

        self.maps = nn.ModuleList(
            nn.Sequential(
                *(nn.Linear(width, 2 * width), rows(2 * width), nn.ReLU()),
                *(nn.Linear(2 * width, width), rows(width), nn.ReLU()),
            )
            for _ in range(layers - 1)
        )
        self.dropout, self.residual = dropout, residual

    def forward(self, depth: int, vectors: Tensor, x: Tensor, graph: Tensor) -> Tensor:
        """The vectors after layer ``depth``.

        Args:
            depth: of the layer.
            vectors: before it, shape ``(B, width)``.
            x: vectors of the nodes that it has read, virtual ones added, shape ``(N, width)``.
            graph: of each node, shape ``(N,)``.
        """
        wide = torch.promote_types(vectors.dtype, x.dtype)  # in mixed precision convolutions give one or the other
        made = self.maps[depth](vectors.to(wide).index_add(0, graph, x.to(wide)))
        made = drop(made, self.dropout, self.training)
        return vectors + made if self.residual else made


class AttentionReadout(nn.Module):
    """A sum over each graph's nodes, weighted by a softmax of one score a node (Li et al., ICLR 2016).

    As :class:`torch_geometric.nn.AttentionalAggregation` with a linear map to one score; a bias would change nothing.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.att = nn.Parameter(torch.empty(width, 1))
        nn.init.xavier_uniform_(self.att)

    def forward(self, x: Tensor, graph: Tensor, ptr: Tensor) -> Tensor:
        """``(N, width)`` to ``(B, width)``; 0 for a graph without nodes."""
        score = x @ self.att
        top = extreme(score.detach(), graph, ptr, "max")
        share = (score - top.index_select(0, graph)).exp()
        total = share.new_zeros(ptr.numel() - 1, 1).index_add(0, graph, share)
        share = share / total.index_select(0, graph)
        weighted = x * share
        return weighted.new_zeros(ptr.numel() - 1, x.size(1)).index_add(0, graph, weighted)


def pool(x: Tensor, data: Data, readout: Readout | nn.Module) -> Tensor:
    """Node vectors ``(N, F)`` of each graph made one, ``(B, F)``; 0 for a graph without nodes.

    Args:
        x: shape ``(N, F)``.
        data: the graph or batch.
        readout: sum, mean or maximum; ``"nodes"``: the vectors as they are; a module: called with the vectors, each
            node's graph and where each graph's nodes start.
    """
    if readout == "nodes":
        return x
    graph, ptr = graph_of_nodes(data, x.size(0), x.device)
    if isinstance(readout, nn.Module):
        return readout(x, graph, ptr)  # type: ignore[no-any-return]
    if readout == "max":
        return extreme(x, graph, ptr, "max")
    total = x.new_zeros(ptr.numel() - 1, x.size(1)).index_add(0, graph, x)
    return total / ptr.diff().clamp(min=1)[:, None] if readout == "mean" else total


def head_of(inputs: int, hidden: int, outputs: int, layers: int, dropout: float) -> nn.Module:
    """Linear maps with ReLU between them, all but the last to ``hidden``; dropout before each one."""
    maps: list[nn.Module] = []
    for depth in range(layers):
        maps += [nn.ReLU()] * (depth > 0) + [nn.Dropout(dropout)] * (dropout > 0)
        maps.append(nn.Linear(hidden if depth else inputs, hidden if depth < layers - 1 else outputs))
    return maps[0] if len(maps) == 1 else nn.Sequential(*maps)
