"""The parts of a training split that a search reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphprune.methods.core.fit import AnyData, derive_seed


def split(data: AnyData, share: float, seed: int) -> tuple[Any, Any]:
    """What is held out of the training split, and the rest.

    Raises:
        ValueError: the one is empty, or the other has fewer than the two samples that norms need.
    """
    size = len(data.train)
    held = round(share * size)
    if not 0 < held < size - 1:
        raise ValueError(f"holdout={share} of {size} training samples leaves nothing to judge or to train on")
    order = _order(size, seed, "holdout")
    return _plain(data.train.select(order[:held])), data.train.select(order[held:].sort().values)


def drawn(samples: Any, size: int, seed: int) -> Any:
    """So many of them, or all."""
    return _plain(samples.select(_order(len(samples), seed, "batches")[:size].sort().values))


def _order(size: int, seed: int, what: str) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(derive_seed(seed, what)))


def _plain(samples: Any) -> Any:
    """As they are judged: images are not augmented."""
    return samples.with_augment(None) if getattr(samples, "augment", None) is not None else samples
