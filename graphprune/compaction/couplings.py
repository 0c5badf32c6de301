"""What a channel consists of: the layers that give it, and the biases and norms that go with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from graphprune.compaction.check import check_model, uncached
from graphprune.compaction.tape import recorded
from graphprune.masks import Channel, Coupled, Selector, Shared, prunable


def coupled_channels(model: nn.Module, example: Any, select: Selector | None = None) -> Coupled:
    """Find what belongs to the channels of a network.

    A channel of a sum, as in residual networks, is gone only if all layers that add to it have lost it, so these are
    pruned together; so are all heads' and relations' parts of a channel, and all gates' of a state. Biases, norms and
    embeddings with entries for the channel follow: a channel of which the weights alone are 0 is still there as a
    constant, which a layer after it may not be able to take over.

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
    whole = uncached(model)
    tape, _ = recorded(whole, example)
    group, free = tape.dims.groups(pinned=False), tape.dims.groups(rows="go")
    targets = (select or prunable())(whole)
    selected, makers = set(targets.selected), dict[str, set[int]]()
    for names, outer, inner in tape.makes:
        for name in names:
            labels = tape.own[name].labels
            if any(label is inner for label in labels):
                makers.setdefault(name, set()).update(dim for dim, label in enumerate(labels) if label is outer)
    own = selected | makers.keys() | targets.named
    made, following = dict[bytes, list[tuple[str, Channel]]](), dict[bytes, list[tuple[str, Channel]]]()
    for name in targets.shapes:
        for dim, label in enumerate(tape.own[name].labels):
            if label is None or not len(label):
                continue
            channels, of = np.unique(group[label], return_inverse=True)
            how = Channel(dim, tuple(of.tolist()) if len(channels) < len(of) else ())
            if dim in makers.get(name, {0} if name in selected else ()):
                made.setdefault(channels.tobytes(), []).append((name, how))
            elif name not in own and free[label].any():  # what leaves the model stays
                following.setdefault(channels.tobytes(), []).append((name, how))
    shared = []
    for key, weights in made.items():
        pruned = tuple((name, how) for name, how in weights if name in selected)
        # A weight that is not pruned gives the channel all the same: nothing follows then.
        followers = following.get(key, []) if len(pruned) == len(weights) else []
        if pruned:
            shared.append(Shared(pruned, tuple(followers)))
    return Coupled(tuple(shared))
