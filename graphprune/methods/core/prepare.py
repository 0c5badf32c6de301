"""What becomes of a user's network before a method works with it: a copy of its own, its heads and its units known."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from graphprune.compaction.couplings import coupled_channels
from graphprune.data.base import GraphData
from graphprune.data.images import ImageBatch
from graphprune.data.labelled import LabelledData
from graphprune.graphs import check_forgets
from graphprune.graphs.inputs import of_data
from graphprune.masks import UNITS, Selector, Unit, UnitName
from graphprune.masks.copies import independent_copy, read_by, uncached_
from graphprune.masks.heads import heads_of, keep_heads_
from graphprune.masks.networks import check_forward
from graphprune.masks.recompute import once
from graphprune.methods.core.handed import check_state

EXAMPLES = 8  # samples with which a network runs once to show what it is

_prepared: WeakKeyDictionary[nn.Module, bool] = (
    WeakKeyDictionary()
)  # copies that were made, and whether heads are pruned


def prepared(model: nn.Module, data: LabelledData[Any], *, prune_heads: bool) -> nn.Module:
    """A copy that computes with its own weights, on whatever graph it is given, and protects what leaves it.

    Args:
        model: left as it is; one that was made here is that copy itself.
        data: a few training samples go through a copy once, in ``eval()`` mode.
        prune_heads: leave the heads to be pruned like all other weights.

    Raises:
        ValueError: what :func:`check_encodings` and :func:`~graphprune.masks.copies.independent_copy` raise, or the
            output of a copy comes from the original's weights, or depends on the graph that was seen before; or no
            head.
        TypeError: no network, or one whose forward takes other arguments than a batch, or whose state is more than
            tensors.
    """
    check_forward(model)
    check_state(model)
    check_encodings(model, data)
    if _prepared.get(model) is prune_heads:
        return model
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
        check_forgets(made, example(data))
    if not prune_heads:
        found = heads_of(trial, output)
        if not found and any(parameter.dim() > 1 for parameter in made.parameters()):
            raise ValueError(
                f"no weight of {type(model).__name__} is seen to give its output, and such weights are kept (does its "
                "forward run without gradients in eval() mode?): protect= them by name, and say prune_heads=True"
            )
        keep_heads_(made, found)
    _prepared[made] = prune_heads
    return made


def check_encodings(network: nn.Module, data: LabelledData[Any]) -> None:
    """Raise ValueError if a network or predictor says that it reads encodings, and those of the data are others."""
    config = getattr(network, "config", None)
    said = config() if callable(config) else None
    wanted = said.get("encodings") if isinstance(said, Mapping) else None
    there = of_data(data).get("encodings", {})
    if isinstance(wanted, Mapping) and dict(wanted) != there:
        asked, has = (", ".join(f"{name}={value}" for name, value in each.items()) for each in (wanted, there))
        raise ValueError(
            f"{type(network).__name__} reads the encodings {asked}, {data.name} has {has or 'none'}: give it "
            f"data.with_encodings({asked}), or make the network by for_data(data)"
        )


def example(data: LabelledData[Any], size: int = EXAMPLES) -> Any:
    """A batch of the first training samples, as a network is called with it."""
    return inputs(data.train.batch(range(min(size, len(data.train)))))


def inputs(batch: Any) -> Any:
    """What a network is called with: images without their labels, or graphs."""
    return batch.x if isinstance(batch, ImageBatch) else batch


def unit_of(unit: UnitName | Unit) -> Unit:
    """The unit of a network that nobody has run yet.

    Raises:
        ValueError: channels of several layers, which only a run of the network tells.
    """
    if not isinstance(unit, str):
        return unit
    if unit == "coupled":
        raise ValueError(
            "what the network couples is seen by running it: pass unit=graphprune.compaction.coupled_channels(model, "
            "example) where you attach a method yourself"
        )
    return UNITS[unit]


def unit_in(unit: UnitName | Unit, model: nn.Module, data: LabelledData[Any], select: Selector) -> Unit:
    """The unit of a network on a data set: of channels with all that goes with them.

    Raises:
        TypeError, ValueError: what :func:`graphprune.compaction.coupled_channels` raises.
    """
    if not isinstance(unit, str) or unit == "weight":
        return unit_of(unit)
    found = coupled_channels(model, example(data), select)
    return found if unit == "coupled" else found.apart()


def _output(model: nn.Module, data: LabelledData[Any]) -> Any:
    """What a network makes of a few samples, with gradients of all weights that it computes with."""
    device = next((parameter.device for parameter in model.parameters()), data.train.device)
    for parameter in model.parameters():  # frozen heads are heads, too
        if parameter.is_floating_point() and parameter.dim() > 1:
            parameter.requires_grad_()
    forked = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with forked, torch.enable_grad(), once(model, ()), torch.compiler.set_stance("force_eager"):
        return model.eval()(example(data).to(device))
