"""Principal neighbourhood aggregation of Corso et al. (NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.kinds import Kinds, Vectors, nodes_of
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.sums import EMPTY

_LEAST = 1e-5  # variances up to it are 0, as in torch_geometric


class PNALayer(nn.Module):
    """Mean, standard deviation, maximum and minimum of messages, as they are and scaled by the degree, mapped linearly.

    Messages are ``own(x_i) + near(x_j) + edge(e)``: the linear map of ends and edge that PyG's
    :class:`torch_geometric.nn.PNAConv` applies to each arc, taken apart, so that only ``near`` and ``edge`` are
    aggregated. The map afterwards is taken apart likewise: ``root`` of the node, and one of the four aggregates for
    each scaler (1, ``log(d + 1) / log_degree`` and its inverse), without PyG's second map after it.

    With gates the mean and the deviation are weighted, degrees are sums of gates, and an extreme is that of values
    between the mean, for a gate of 0, and their own, for the node's largest gate.

    Args:
        channels: width of nodes, and of edge features.
        log_degree: mean of log(1 + degree) over the training graphs' nodes.
        edges: messages read edge features.
    """

    def __init__(self, channels: int, log_degree: float, *, edges: bool = False) -> None:
        super().__init__()
        self.own, self.near = nn.Linear(channels, channels), nn.Linear(channels, channels, bias=False)
        self.edge = nn.Linear(channels, channels, bias=False) if edges else None
        self.root = nn.Linear(channels, channels)
        self.same, self.amplified, self.attenuated = (nn.Linear(4 * channels, channels, bias=False) for _ in range(3))
        self.log_degree = log_degree

    def forward(
        self, x: Vectors, adjacency: Adjacency, table: Tensor | None = None, kinds: Kinds | None = None
    ) -> Tensor:
        """``(N, channels)``, as the result; ``table`` and ``kinds`` as in GINE's layer."""
        x = nodes_of(x)
        near = self.near(x)
        rows = near.index_select(0, adjacency.arcs.source)
        if self.edge is None:
            mean, square = adjacency.mean(near), adjacency.mean(near.square())
        else:
            assert table is not None and kinds is not None
            rows = rows + self.edge(table).index_select(0, kinds.which)
            mean, square = adjacency.mean_rows(rows), adjacency.mean_rows(rows.square())
        degree = adjacency.degree[:, None].to(x.dtype)
        own = self.own(x) * (degree > EMPTY)  # a node without neighbours has no messages
        variance = (square - mean.square()).clamp(min=_LEAST)
        deviation = variance.sqrt().masked_fill(variance <= _LEAST, 0.0)
        extremes = (adjacency.extreme(rows, mean, how) + own for how in ("max", "min"))
        near = torch.cat([mean + own, deviation, *extremes], 1)
        scale = (degree + 1).log() / self.log_degree
        inverse = self.log_degree / (degree.clamp(min=1) + 1).log()
        out: Tensor = self.root(x) + self.same(near) + scale * self.amplified(near) + inverse * self.attenuated(near)
        return out


def mean_log_degree(graphs: PackedGraphs) -> float:
    """The mean of log(1 + in-degree) over all nodes; 0 without any."""
    offset = torch.repeat_interleave(graphs.node_ptr[:-1], graphs.edge_count)
    degree = torch.bincount(graphs.edge_index[1] + offset, minlength=graphs.num_nodes)
    return float(degree.double().log1p().mean()) if degree.numel() else 0.0
