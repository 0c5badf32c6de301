"""What becomes of a user's network before a method works with it: a copy of its own, with its heads known."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from graphprune.data.base import GraphData, LabelledData
from graphprune.data.evaluation import outputs
from graphprune.graphs import check_forgets
from graphprune.masks.copies import independent_copy, read_by, uncached_
from graphprune.masks.heads import heads_of, keep_heads_
from graphprune.masks.recompute import once

_EXAMPLES = 8  # samples with which the network runs once


def prepared(model: nn.Module, data: LabelledData[Any], *, prune_heads: bool) -> nn.Module:
    """A copy that computes with its own weights, on whatever graph it is given, and protects what leaves it.

    Args:
        model: left as it is.
        data: a few training samples go through a copy once, in ``eval()`` mode.
        prune_heads: leave the heads to be pruned like all other weights.

    Raises:
        ValueError: what :func:`~graphprune.masks.copies.independent_copy` raises, or the output of a copy comes from
            the original's weights, or depends on the graph that was seen before.
    """
    made = independent_copy(model)
    uncached_(made)
    trial = copy.deepcopy(made)  # a forward pass may leave traces
    output = _output(trial, data)
    read = read_by(output)
    if foreign := [name for name, parameter in model.named_parameters() if id(parameter) in read]:
        raise ValueError(
            f"a copy of {type(model).__name__} computes with {foreign} of the original, so that training it would not "
            "train these: let forward reach its weights through self only"
        )
    if isinstance(data, GraphData):
        check_forgets(made, _few(data))
    if not prune_heads:
        found = heads_of(trial, output)
        if not found and any(parameter.dim() > 1 for parameter in made.parameters()):
            raise ValueError(
                f"no weight of {type(model).__name__} is seen to give its output, and such weights are kept (does its "
                "forward run without gradients in eval() mode?): protect= them by name, and say prune_heads=True"
            )
        keep_heads_(made, found)
    return made


def _output(model: nn.Module, data: LabelledData[Any]) -> Any:
    """What a network makes of a few samples, with gradients of all weights that it computes with."""
    device = next((parameter.device for parameter in model.parameters()), data.train.device)
    for parameter in model.parameters():  # frozen heads are heads, too
        if parameter.is_floating_point() and parameter.dim() > 1:
            parameter.requires_grad_()
    forked = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with forked, torch.enable_grad(), once(model, ()), torch.compiler.set_stance("force_eager"):
        return outputs(model.eval(), _few(data).to(device))


def _few(data: LabelledData[Any]) -> Any:
    return data.train.batch(range(min(_EXAMPLES, len(data.train))))
