"""One forward pass of a model on a tape that knows all rules."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from graphprune.compaction import shapes, sums
from graphprune.compaction.tape import Tape

RULES = shapes.RULES | sums.RULES


def recorded(model: nn.Module, arguments: tuple[Any, ...], caution: int = 0) -> tuple[Tape, Any]:
    """Run a model in ``eval()`` mode on copies of its arguments; the finished tape and the output.

    Args:
        model: in ``eval()`` mode.
        arguments: of its forward pass.
        caution: see :class:`Tape`.
    """
    tape, copies = Tape(model, RULES, caution=caution), copy.deepcopy(arguments)
    with torch.no_grad(), tape:
        output = model(*copies)
    tape.finish(output)
    return tape, output
