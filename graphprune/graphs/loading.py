"""Batches of a split, of graphs or of images, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from graphprune.checks import whole

B = TypeVar("B", covariant=True)


class Batched(Protocol[B]):
    """What a loader needs of a split: a length, and batches by number."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> B:
        """The samples of these numbers."""


class PackedLoader(Generic[B]):
    """Iterates over a packed split, of graphs or of images, in batches; see :meth:`.PackedGraphs.loader`."""

    def __init__(self, samples: Batched[B], batch_size: int, shuffle: bool, generator: torch.Generator | None) -> None:
        self.samples, self.batch_size = samples, whole("batch_size", batch_size, 1)
        self.shuffle, self.generator = shuffle, generator

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[B]:
        size = len(self.samples)
        order = torch.randperm(size, generator=self.generator) if self.shuffle else torch.arange(size)
        for start in range(0, size, self.batch_size):
            yield self.samples.batch(order[start : start + self.batch_size])
