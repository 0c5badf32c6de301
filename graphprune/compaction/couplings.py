"""What a channel consists of: the layers that give it, and the biases and norms that go with it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from graphprune.compaction.check import check_model
from graphprune.compaction.record import recorded
from graphprune.masks import Coupled, Follower, Selector, prunable


def coupled_channels(model: nn.Module, example: Any, select: Selector | None = None) -> Coupled:
    """Find what belongs to the channels of a network.

    A channel of a sum, as in residual networks, is gone only if all layers that add to it have lost it, so these are
    pruned together. Biases, norms and embeddings with entries for the channel follow: a channel of which the weights
    alone are 0 is still there as a constant, which a layer behind it may not be able to take over.

    Args:
        model: any module; it runs once in evaluation and is left as it is.
        example: what it is called with: a tensor, a PyG ``Data`` or ``Batch``, or a tuple of arguments.
        select: which weights are looked at; None: all that are pruned by default.

    Returns:
        The unit to prune by: ``MaskSet.dense(model, unit=unit).tighten(scores, density, unit=unit)``. Masks without the
        followers are pruned as well, but leave these constants.

    Raises:
        TypeError, ValueError: as `compact`, of the model.
    """
    check_model(model)
    whole = copy.deepcopy(model).eval()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        tape, _ = recorded(whole, example if isinstance(example, tuple) else (example,))
    group, free = tape.wires.groups(pinned=False), tape.wires.groups()
    targets = (select or prunable())(whole)
    selected = set(targets.selected)
    left_alone = {name for name, reason in targets.protected.items() if reason.endswith("by pattern")}
    products = {read.weight for read in tape.reads}
    made, following = dict[bytes, list[str]](), dict[bytes, list[tuple[str, int]]]()
    for name in targets.shapes:
        for dim, label in enumerate(tape.own[name].labels):
            if label is None or not len(label):
                continue
            channels = group[label].tobytes()
            if dim == 0 and (name in selected or name in products):
                made.setdefault(channels, []).append(name)
            elif name not in selected | products | left_alone and free[label].all():  # what leaves the model stays
                following.setdefault(channels, []).append((name, dim))
    groups = {channels: tuple(name for name in names if name in selected) for channels, names in made.items()}
    return Coupled(
        together=tuple(names for names in groups.values() if len(names) > 1),
        followers=tuple(
            Follower(made_by, name, dim)
            for channels, made_by in groups.items()
            if len(made_by) == len(made[channels])  # a weight that is not pruned gives the channel all the same
            for name, dim in following.get(channels, ())
        ),
    )
