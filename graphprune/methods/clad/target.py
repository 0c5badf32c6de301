"""The share of multiply-accumulates that is left: whether it can be had, and the best channels that fit into it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.compaction import compact
from graphprune.measure import count_macs
from graphprune.methods.clad.channels import Channels

_ALIVE = 0.01  # takes the place of zeros, with which compaction would remove more than a mask says
_HALF = 0.55  # of each layer's channels; a half itself might suit sizes that are written down
_ATOL = 1e-3  # what is asked is the size of the small network, not the last digits of its outputs


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
        ValueError: the floors of these scores do not fit.
    """
    keep = floors(channels, scores, floor)
    if (least := _share(channels, keep)) > target:
        raise ValueError(
            f"the best {floor:.0%} of each layer's channels by these scores, at least one, have {least:.1%} of the "
            f"multiply-accumulates, more than target={target}; {_ADVICE}"
        )
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


@torch.no_grad()
def check_compaction(model: nn.Module, channels: Channels, example: Any) -> None:
    """Mask about half of the channels; raise ValueError if compaction leaves other MACs than the channels say."""
    whole = copy.deepcopy(model)
    for value in whole.parameters():
        value.masked_fill_(value == 0, _ALIVE)
    scores = torch.rand(channels.count, generator=torch.Generator().manual_seed(0))
    keep = floors(channels, scores, _HALF)
    if keep.all():  # narrow layers
        keep = floors(channels, scores, 0.0)
    if keep.all():  # of a single channel each: no target is reached
        return
    masked = copy.deepcopy(whole)
    channels.masks(masked, keep).apply_(masked)
    wanted = float(channels.macs(keep.double()))
    try:
        found = count_macs(compact(masked, example, atol=_ATOL), example).total / count_macs(whole, example).total
    except (RuntimeError, TypeError, ValueError) as error:
        said = str(error)
    else:
        if math.isclose(found, wanted, rel_tol=1e-6):
            return
        said = f"{found:.1%} of the multiply-accumulates are left, and not {wanted:.1%}"
    raise ValueError(
        f"compaction removes other channels of this {type(model).__name__} than CLAD counts, so that no target could "
        f"be kept; protect the weights of layers whose channels it cannot remove. With half of them masked: {said}"
    )


def check_target(channels: Channels, target: float, floor: float) -> None:
    """Raise ValueError where no scores reach a target."""
    if (least := _share(channels, _fewest(channels, floor))) > target:
        raise ValueError(
            f"target={target} cannot be reached: {least:.1%} of the multiply-accumulates are left where each layer "
            f"keeps {floor:.0%} of its channels, at least one; {_ADVICE}"
        )


_ADVICE = "lower layer_floor or raise target"


def floors(channels: Channels, scores: Tensor, floor: float) -> Tensor:
    """The best channels of each layer, a share of them rounded up and at least one; bool, shape ``(count,)``."""
    keep = torch.zeros(channels.count, dtype=torch.bool, device=scores.device)
    for _, entries in channels.makers():
        own = entries.of[entries.of < channels.count].to(scores.device)
        keep[own[scores[own].argsort(descending=True, stable=True)[: _least_of(own, floor)]]] = True
    return keep


def _fewest(channels: Channels, floor: float) -> Tensor:
    """Floors that overlap as far as they can: narrow layers first, whose channels count in the wider ones too."""
    keep = torch.zeros(channels.count, dtype=torch.bool)
    gates = torch.ones(channels.count, dtype=torch.float64, requires_grad=True)
    (costs,) = torch.autograd.grad(channels.macs(gates), gates)
    layers = [entries.of[entries.of < channels.count] for _, entries in channels.makers()]
    for own in sorted(layers, key=lambda own: len(own.unique())):
        for number in own.unique()[costs[own.unique()].argsort(stable=True)]:
            if int(keep[own].sum()) >= _least_of(own, floor):
                break
            keep[number] = True
    return keep


def _least_of(own: Tensor, floor: float) -> int:
    return max(1, -int(-floor * len(own) // 1))


def _share(channels: Channels, keep: Tensor) -> float:
    return float(channels.macs(keep.double()))
