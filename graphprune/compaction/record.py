"""One forward pass of a model on a tape that knows all rules."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from graphprune.compaction import rules_elementwise as shapes
from graphprune.compaction import rules_sums as sums
from graphprune.compaction.tape import Tape
from graphprune.measure.modes import as_it_was

RULES = shapes.RULES | sums.RULES


def recorded(model: nn.Module, arguments: tuple[Any, ...], caution: int = 0) -> tuple[Tape, Any]:
    """Run a model in ``eval()`` mode on copies of its arguments; the finished tape and the output.

    Args:
        model: in ``eval()`` mode.
        arguments: of its forward pass.
        caution: see :class:`Tape`.
    """
    tape = Tape(model, RULES, caution=caution)
    return tape, followed(tape, model, arguments)


def followed(tape: Tape, model: nn.Module, arguments: tuple[Any, ...]) -> Any:
    """The output of a model in ``eval()`` mode on copies of its arguments; the tape has followed, and is finished."""
    copies = copy.deepcopy(arguments)
    with as_it_was(model), torch.no_grad(), tape:
        output = model(*copies)
    tape.finish(output)
    return output
