"""Node degrees as input features, and the control that counts them again after pruning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.graphs.packed import PackedGraphs

# Largest degree of the one-hot columns, by the name of the features; None: no degree columns.
DEGREE_CAPS: dict[str, int | None] = {"deg+odeg100": 100, "deg+odeg10": 10, "raw": None}


@dataclass(frozen=True)
class DegreeColumns:
    """The last columns of ``x``: the degree, then one column for each of the degrees 0, 1, ..., ``cap``.

    The features ``deg+odeg100`` of Chen et al. ("Are powerful graph neural nets necessary?", 2019), which the
    ICPG authors use too.

    Args:
        first: number of the degree's column.
        cap: larger degrees count as this one in the one-hot columns.
    """

    first: int
    cap: int

    def columns(self, graphs: PackedGraphs) -> Tensor:
        """The feature columns of these graphs, float32 ``(N, cap + 2)``; a degree counts outgoing arcs."""
        offset = torch.repeat_interleave(graphs.node_ptr[:-1], graphs.edge_count)
        degree = torch.bincount(graphs.edge_index[0] + offset, minlength=graphs.num_nodes)
        columns = torch.zeros(graphs.num_nodes, self.cap + 2, device=degree.device)
        columns[:, 0] = degree
        return columns.scatter_(1, 1 + degree.clamp(max=self.cap)[:, None], 1)

    def append(self, graphs: PackedGraphs) -> PackedGraphs:
        """These graphs with the columns after their ``x``, which must have ``first`` columns."""
        return graphs.with_node(x=torch.cat([graphs.node["x"], self.columns(graphs)], dim=1))

    def recompute(self, graphs: PackedGraphs) -> PackedGraphs:
        """These graphs with the columns counted on the edges they have now."""
        return self.append(graphs.with_node(x=graphs.node["x"][:, : self.first]))
