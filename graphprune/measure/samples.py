"""From what a user has to the batches that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Batch, Data
from torch_geometric.data.data import BaseData

from graphprune.checks import whole
from graphprune.data.images import ImageBatch
from graphprune.graphs import PackedGraphs

ENOUGH = 256  # samples that a measurement takes where batches are smaller


@dataclass(frozen=True)
class Measured:
    """Batches of equal size.

    Attributes:
        batches: each as the model takes it, on its device.
        size: samples a batch.
        available: samples that there are in all.
        graphs: the graphs of each batch, for pruning; empty where they are not asked for.
    """

    batches: tuple[Any, ...]
    size: int
    available: int
    graphs: tuple[PackedGraphs, ...] = ()

    @property
    def samples(self) -> int:
        """Samples in the batches."""
        return self.size * len(self.batches)

    def of(self, graphs: Sequence[PackedGraphs], device: torch.device) -> Measured:
        """The same batches of other graphs, such as pruned ones."""
        batches = tuple(part.batch(range(len(part))).to(device) for part in graphs)
        return replace(self, batches=batches, graphs=tuple(graphs))

    def mean(self, name: str) -> float | None:
        """Nodes or arcs (``num_nodes``, ``num_edges``) a graph; None for anything but graphs."""
        if not all(isinstance(batch, BaseData) for batch in self.batches):
            return None
        return sum(int(getattr(batch, name)) for batch in self.batches) / self.samples


def batches_of(samples: Any, batch_size: int, device: torch.device, *, graphs: bool = False) -> Measured:
    """Take samples that are evenly spread over all: one batch, or as many small ones as ``ENOUGH`` samples fill.

    Args:
        samples: packed graphs, images, a sequence of ``Data``; or a ``Data``, ``Batch`` or tensor that is one batch.
        batch_size: samples a batch; more than there are means all.
        device: where batches go.
        graphs: also pack the graphs of each batch.

    Raises:
        TypeError: other samples, or ``graphs`` of what are no graphs.
        ValueError: no samples, a batch size below 1, or graphs that cannot be packed.
    """
    whole("batch_size", batch_size, 1)
    if graphs:
        samples = _packed(samples)
    if isinstance(samples, BaseData | Tensor):
        size = samples.size(0) if isinstance(samples, Tensor) else getattr(samples, "num_graphs", 1)
        _require(size)
        return Measured((fresh(samples).to(device),), size, size)
    if not hasattr(samples, "__len__") or not (hasattr(samples, "__getitem__") or hasattr(samples, "batch")):
        raise TypeError(
            f"samples must be a split of a data set, a sequence of Data, or one batch; got {type(samples).__name__}"
        )
    _require(len(samples))
    chunks = _spread(len(samples), batch_size)
    parts = tuple(samples.select(chunk) for chunk in chunks) if graphs else ()
    made = tuple(_collate(samples, chunk).to(device) for chunk in chunks)
    return Measured(made, len(chunks[0]), len(samples), parts)


def fresh(batch: Any) -> Any:
    """A copy for a network that may work in place; packed graphs, which none is called with, as they are."""
    return batch if isinstance(batch, PackedGraphs) else batch.clone()


class Watch:
    """Whether batches are changed from now on: their tensors written to, or replaced by others."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches, self._before = batches, _versions(batches)

    @property
    def changed(self) -> bool:
        """Up to now."""
        now = _versions(self._batches)
        same = (one is other and at == then for (one, at), (other, then) in zip(self._before, now, strict=False))
        return len(now) != len(self._before) or not all(same)


def _versions(batches: Sequence[Any]) -> list[tuple[Tensor, int]]:
    tensors = (tensor for batch in batches if not isinstance(batch, PackedGraphs) for tensor in tensors_in(batch))
    return [(tensor, -1 if tensor.is_inference() else tensor._version) for tensor in tensors]


def tensors_in(batch: Any) -> list[Tensor]:
    """All tensors of a batch."""
    if isinstance(batch, Tensor):
        return [batch]
    values = (value for store in batch.stores for value in store.values())
    return [leaf for leaf in tree_leaves(list(values)) if isinstance(leaf, Tensor)]


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters are; the CPU if there are none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _require(size: int) -> None:
    if size < 1:
        raise ValueError("there are no samples to measure with")


def _spread(available: int, batch_size: int) -> list[list[int]]:
    """Numbers of the measured samples, by batch."""
    size = min(batch_size, available)
    count = min(available, max(size, ENOUGH)) // size * size
    numbers = [place * available // count for place in range(count)]
    return [numbers[start : start + size] for start in range(0, count, size)]


def _collate(samples: Any, numbers: list[int]) -> Any:
    if hasattr(samples, "batch"):
        batch = samples.batch(numbers)
        return batch.x if isinstance(batch, ImageBatch) else batch
    graphs = [samples[number] for number in numbers]
    if not all(isinstance(graph, BaseData) for graph in graphs):
        raise TypeError(f"a sequence of samples must hold Data, got {type(graphs[0]).__name__}")
    return Batch.from_data_list(graphs)


def _packed(samples: Any) -> PackedGraphs:
    if isinstance(samples, Batch):
        return PackedGraphs.of(samples.to_data_list())
    if isinstance(samples, Data):
        return PackedGraphs.of([samples])
    if isinstance(samples, Tensor) or not hasattr(samples, "__getitem__"):
        raise TypeError(f"only graphs have edges to prune, got {type(samples).__name__}")
    return PackedGraphs.of(samples)
