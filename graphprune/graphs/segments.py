"""Graphs as contiguous segments of the nodes and arcs of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data


def ranges(start: Tensor, count: Tensor) -> Tensor:
    """The numbers ``start[i], ..., start[i] + count[i] - 1`` of every i, one after the other."""
    ends = count.cumsum(0)
    shift = start - (ends - count)
    total = int(count.sum())
    return torch.repeat_interleave(shift, count, output_size=total) + torch.arange(total, device=start.device)


def pointers(count: Tensor) -> Tensor:
    """``(0, c0, c0 + c1, ...)``: where each segment starts, and the end."""
    ptr = count.new_zeros(count.numel() + 1)
    torch.cumsum(count, 0, out=ptr[1:])
    return ptr


def counts_in(flags: Tensor, sizes: Tensor) -> Tensor:
    """How many of the flags are True in each of the segments of these sizes; shape ``(S,)``."""
    return pointers(flags.long())[pointers(sizes)].diff()


def is_empty(*tensors: Tensor) -> bool:
    """Whether one of them has no entry. An exported program, of any sizes, takes the way of those that have some."""
    return not torch.compiler.is_compiling() and any(tensor.numel() == 0 for tensor in tensors)


def rows_of(values: Tensor, rows: Tensor | None, dim: int = 0) -> Tensor:
    """A copy of some rows; None: of all."""
    return values.clone() if rows is None else values.index_select(dim, rows)


def graph_of_nodes(data: Data, num_nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Each node's graph, shape ``(N,)``, and where each graph's nodes start, shape ``(B + 1,)``.

    A ``Data`` that is no batch is graph 0.
    """
    graph, ptr = data.get("batch"), data.get("ptr")
    if graph is None:
        return torch.zeros(num_nodes, dtype=torch.int64, device=device), torch.tensor([0, num_nodes], device=device)
    if ptr is not None:
        return graph, ptr
    nodes = torch.bincount(graph)
    if torch.compiler.is_compiling():
        torch._check(nodes.numel() > 0)  # of which a program cannot know otherwise
    return graph, pointers(nodes)
