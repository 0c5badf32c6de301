"""Choosing channels: the best that a budget of multiply-accumulates has room for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphprune.methods.clad.channels import Channels


def best_within(channels: Channels, scores: Tensor, target: float, floor: float, tolerance: float = 0.002) -> Tensor:
    """The channels of the highest scores that fit into a share of the multiply-accumulates.

    Channels are taken in the order of their scores as long as they fit. If that leaves more than the tolerance, smaller
    ones of lower scores fill it.

    Args:
        channels: of the network.
        scores: shape ``(count,)``; among equal ones the first is better.
        target: share of the network's multiply-accumulates.
        floor: share of each layer's channels that stays in any case, rounded up and at least one.
        tolerance: how far below the target it may end, if the sizes of the channels allow to come nearer.

    Returns:
        Bool, shape ``(count,)``.

    Raises:
        ValueError: see :func:`needed`.
    """
    keep = needed(channels, scores, target, floor)
    order = [number for number in scores.argsort(descending=True, stable=True).tolist() if not keep[number]]

    def cost(numbers: Sequence[int]) -> float:
        more = keep.double()
        more[list(numbers)] = 1.0
        return float(channels.macs(more))

    low, high = 0, len(order)  # so many of the first fit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(order[:middle]) <= target else (low, middle - 1)
    taken = order[:low]
    for number in order[low:]:
        if target - cost(taken) <= tolerance:
            break
        if cost([*taken, number]) <= target:
            taken.append(number)
    keep[taken] = True
    return keep


def needed(channels: Channels, scores: Tensor, target: float, floor: float) -> Tensor:
    """What stays in any case: :func:`floors`, if the target has room for it.

    Raises:
        ValueError: it has not.
    """
    keep = floors(channels, scores, floor)
    if (least := float(channels.macs(keep.double()))) > target:
        raise ValueError(
            f"target={target} cannot be reached: {least:.1%} of the multiply-accumulates are left where each layer "
            f"keeps {floor:.0%} of its channels, at least one; lower layer_floor or raise target"
        )
    return keep


def floors(channels: Channels, scores: Tensor, floor: float) -> Tensor:
    """The best channels of each layer, a share of them rounded up and at least one; bool, shape ``(count,)``."""
    keep = torch.zeros(channels.count, dtype=torch.bool, device=scores.device)
    for _, entries in channels.makers():
        own = entries.of[entries.of < channels.count].to(scores.device)
        most = max(1, -int(-floor * len(own) // 1))
        keep[own[scores[own].argsort(descending=True, stable=True)[:most]]] = True
    return keep
