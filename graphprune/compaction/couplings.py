"""Which layers give the same channels, so that only pruning them together makes a model smaller."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from graphprune.compaction.check import check_model
from graphprune.compaction.record import recorded
from graphprune.masks import Coupled, Selector, prunable


def coupled_channels(model: nn.Module, example: Any, select: Selector | None = None) -> Coupled:
    """Find the weights whose outputs are added up, or meet otherwise channel by channel, as in residual networks.

    A channel of such a sum is gone only if all layers that add to it have lost it.

    Args:
        model: any module; it runs once in evaluation and is left as it is.
        example: what it is called with: a tensor, a PyG ``Data`` or ``Batch``, or a tuple of arguments.
        select: which weights are looked at; None: all that are pruned by default.

    Returns:
        The unit to prune by: ``masks.tighten(scores, density, unit=coupled_channels(model, example))``.

    Raises:
        TypeError, ValueError: as `compact`, of the model.
    """
    check_model(model)
    whole = copy.deepcopy(model).eval()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        tape, _ = recorded(whole, example if isinstance(example, tuple) else (example,))
    group = tape.wires.groups(pinned=False)
    found: dict[bytes, list[str]] = {}
    for name in (select or prunable())(whole).selected:
        label = tape.own[name].labels[0]
        if label is not None:
            found.setdefault(group[label].tobytes(), []).append(name)
    return Coupled(together=tuple(tuple(names) for names in found.values() if len(names) > 1))
