"""What packed graphs know of the batches that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor
from torch.utils.weak import TensorWeakRef
from torch_geometric.data import Batch

from graphprune.graphs.joining import Joining
from graphprune.graphs.kinds import Kinds, counted_once
from graphprune.graphs.known import follow, tell
from graphprune.graphs.segments import ranges


class Packed(Protocol):
    """Graphs in flat tensors, as :class:`~graphprune.graphs.PackedGraphs` has them."""

    joining: Joining
    node: dict[str, Tensor]
    edge: dict[str, Tensor]
    node_count: Tensor
    node_ptr: Tensor
    edge_count: Tensor
    edge_ptr: Tensor


def told_batch(batch: Batch, graphs: Packed, chosen: Tensor) -> Batch:
    """The batch of the graphs of some numbers; from now on it is known which rows of its features are the same.

    What two networks make of its arcs alone, as sorting them, is made once.
    """
    follow(batch.edge_index)
    for name, store, ptr, count in (
        ("x", graphs.node, graphs.node_ptr, graphs.node_count),
        ("edge_attr", graphs.edge, graphs.edge_ptr, graphs.edge_count),
    ):
        if name in store and name not in graphs.joining.dims and name not in graphs.joining.shifts:
            _tell_kinds(batch[name], store, name, ptr[chosen], count[chosen])
    return batch


def _tell_kinds(features: Tensor, store: Mapping[str, Tensor], name: str, start: Tensor, count: Tensor) -> None:
    of = TensorWeakRef(store[name])  # a batch does not keep its set alive

    def make() -> Kinds | None:
        whole = of()
        kinds = None if whole is None else counted_once(whole)
        return None if kinds is None else kinds.at(ranges(start, count))

    tell(features, Kinds, make)
