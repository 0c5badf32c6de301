"""What becomes of a user's network before a method works with it: a copy of its own, with its heads known."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.data.base import GraphData, LabelledData
from graphprune.data.evaluation import outputs
from graphprune.data.images import ImageBatch
from graphprune.graphs import check_forgets
from graphprune.masks.copies import independent_copy, uncached_
from graphprune.masks.heads import heads_of, keep_heads_, read_by
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
        check_forgets(copy.deepcopy(made).eval(), _few(data))
    if not prune_heads:
        keep_heads_(made, heads_of(trial, output))
    return made


def _output(model: nn.Module, data: LabelledData[Any]) -> Any:
    """What a network makes of a few samples, with gradients of all that it computes with."""
    model.eval().requires_grad_(True)
    device = next((parameter.device for parameter in model.parameters()), data.train.device)
    batch = _few(data).to(device)
    # Features too: where a weight meets them is then seen.
    if isinstance(batch, ImageBatch):
        batch = batch._replace(x=_followed(batch.x))
    else:
        for name in ("x", "edge_attr"):
            if isinstance(values := batch.get(name), Tensor) and values.is_floating_point():
                batch[name] = _followed(values)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad(), once(model, ()):
        return outputs(model, batch)


def _few(data: LabelledData[Any]) -> Any:
    return data.train.batch(range(min(_EXAMPLES, len(data.train))))


def _followed(values: Tensor) -> Tensor:
    return values.clone().requires_grad_().clone()  # no leaf, so that the network may work in place
