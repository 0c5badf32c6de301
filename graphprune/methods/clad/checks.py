"""What is found out about a network and its teacher before anything is trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.compaction import compact
from graphprune.measure import count_macs
from graphprune.methods.clad.budget import floors
from graphprune.methods.clad.channels import Channels
from graphprune.ticket.scorers import first, misfits

_ALIVE = 0.01  # takes the place of zeros, with which compaction would remove more than a mask says
_HALF = 0.55  # of each layer's channels; a half itself might suit sizes that are written down
_ATOL = 1e-3  # what is asked is the size of the small network, not the last digits of its outputs


@torch.no_grad()
def check_compaction(model: nn.Module, channels: Channels, example: Any) -> None:
    """Mask about half of the channels, and see whether compaction leaves what :meth:`Channels.macs` says.

    Args:
        model: any weights; it is left as it is.
        channels: of the model.
        example: what it is called with.

    Raises:
        ValueError: it does not.
    """
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


def check_teacher(teacher: Mapping[str, Tensor], model: nn.Module) -> None:
    """Make sure that a model can have a teacher's weights.

    Raises:
        ValueError: it is of another architecture, or there are NaN or infinities where the model has none.
    """
    own = model.state_dict()
    if problems := misfits(teacher, own):
        raise ValueError(
            f"the teacher is of another architecture than this {type(model).__name__}, in which {problems}"
        )
    broken = [name for name, value in teacher.items() if (~value.cpu().isfinite() & own[name].cpu().isfinite()).any()]
    if broken:
        raise ValueError(f"teacher has values that are not finite in {first(map(repr, broken))}")
