"""What packed graphs know of the batches that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor
from torch.utils.weak import TensorWeakRef
from torch_geometric.data import Batch, Data

from graphprune.graphs.kinds import Kinds
from graphprune.graphs.known import follow, once, tell
from graphprune.graphs.nonzero import NonZero
from graphprune.graphs.segments import ranges

if TYPE_CHECKING:
    from graphprune.graphs.packed import PackedGraphs

T = TypeVar("T")

_MANY = 512  # nodes: of fewer each is computed sooner


def told_batch(batch: Batch, graphs: PackedGraphs, chosen: Tensor) -> Batch:
    """The batch of the graphs of some numbers; from now on it is known which rows of its features are the same.

    What is known of features is found out once in a set, when a network asks for it, and compared with the batch's
    features, for a set may change behind torch's back. What two networks make of a batch's arcs alone, as sorting them,
    is made once.
    """
    follow(batch.edge_index)
    for name, store, ptr, count in (
        ("x", graphs.node, graphs.node_ptr, graphs.node_count),
        ("edge_attr", graphs.edge, graphs.edge_ptr, graphs.edge_count),
    ):
        if name in store and name not in graphs.joining.dims and name not in graphs.joining.shifts:
            _tell(batch[name], store[name], ptr[chosen], count[chosen])
    return batch


def with_kinds(data: Data) -> Data:
    """The graph or batch; real features of many nodes are now sorted into kinds, once for all who read them.

    (Encoders of categories do that themselves.) Its ``x`` is a new tensor of the same memory: what is known of it ends
    with it, whatever is written there later.
    """
    x = data.get("x")
    if isinstance(x, Tensor) and x.is_floating_point() and x.dim() == 2 and x.size(0) >= _MANY:
        data.x = x.detach()
        tell(data.x, Kinds, Kinds.counted)
    return data


def _tell(features: Tensor, stored: Tensor, start: Tensor, count: Tensor) -> None:
    """Tell of a batch's features, which are those of a set in some ranges."""
    if stored.is_inference():
        return
    of, version = TensorWeakRef(stored), stored._version  # a batch does not keep its set alive

    def of_set(kind: type[T], make: Callable[[Tensor], T | None]) -> T | None:
        whole = of()
        if whole is None or whole._version != version or not follow(whole):
            return None
        return once(whole, kind, lambda: make(whole))

    def kinds(features: Tensor) -> Kinds | None:
        whole = of_set(Kinds, Kinds.counted)
        found = None if whole is None else whole.at(ranges(start, count))
        return found if found is not None and found.fits(features) else None

    def nonzero(features: Tensor) -> NonZero | None:
        found = of_set(NonZero, NonZero.of)
        return found if found is not None and found.fits(features) else None

    tell(features, Kinds, kinds)
    if features.shape == stored.shape and count.numel() == 1:  # a set of one graph: the same features in each step
        tell(features, NonZero, nonzero)
