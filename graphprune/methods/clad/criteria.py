"""Criteria: from the filters of each layer to a score for each channel, learned or fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphprune.methods.clad.channels import Channels

CriterionName = Literal["learner", "l1", "l2", "geometric-median", "mixture", "free"]

OPEN = 1.0  # scores at which everything that learns starts, so that all gates are open


def distances(filters: Tensor) -> Tensor:
    """How far each filter, ``(n, D)``, is from all others: the sum of the distances.

    It is least near the geometric median. He et al. (CVPR 2019) remove these filters: the others can stand for them.
    """
    return torch.cdist(filters, filters).sum(1)


FIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda filters: filters.abs().sum(1),
    "l2": lambda filters: filters.norm(dim=1),
    "geometric-median": distances,
}


class Criterion(nn.Module):
    """Scores of all channels, the mean over the layers that give a channel; for its kinds see :class:`graphprune.CLAD`.

    Filters are read once, of the trained weights, and never get a gradient: what is learned is how to judge them.
    """

    of: Tensor
    members: Tensor

    def __init__(
        self, channels: Channels, model: nn.Module, kind: CriterionName, hidden: int = 64, norms: bool = True
    ) -> None:
        super().__init__()
        self.count = channels.count
        self.layers, of = nn.ModuleList(), []
        for name, entries in channels.makers():
            filters = model.get_parameter(name).detach().flatten(1)
            self.layers.append(_layer(kind, filters, hidden, norms))
            of.append(entries.of)
        self.register_buffer("of", torch.cat(of), persistent=False)
        self.register_buffer("members", torch.bincount(self.of, minlength=self.count + 1), persistent=False)

    def forward(self) -> Tensor:
        """Shape ``(count,)``; above 0 an open gate."""
        scores = torch.cat([layer() for layer in self.layers])
        sums = scores.new_zeros(self.count + 1).index_add(0, self.of, scores)
        return (sums / self.members.clamp(min=1))[:-1]


class Learner(nn.Module):
    """A small network that judges the filters of one layer, ``(n, D)``, each by itself: ``D -> min(D, hidden) -> 1``.

    With ``norms`` it also sees the fixed criteria, standardised over the layer.
    """

    given: Tensor

    def __init__(self, filters: Tensor, hidden: int = 64, norms: bool = True) -> None:
        super().__init__()
        seen = [functional.layer_norm(filters, filters.shape[1:])]
        if norms:
            seen.append(standardised(filters))
        self.register_buffer("given", torch.cat(seen, 1), persistent=False)
        width = min(hidden, filters.size(1))
        last = nn.Linear(width, 1)
        nn.init.constant_(last.bias, OPEN)
        self.network = nn.Sequential(nn.Linear(self.given.size(1), width), nn.ReLU(), last)

    def forward(self) -> Tensor:
        """Shape ``(n,)``."""
        return self.network(self.given).squeeze(1)  # type: ignore[no-any-return]


class Mixture(nn.Module):
    """A learned softmax mixture of the fixed criteria of filters, ``(n, D)``, and a learned threshold."""

    given: Tensor

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.register_buffer("given", standardised(filters), persistent=False)
        self.logits = nn.Parameter(filters.new_zeros(len(FIXED)))
        self.offset = nn.Parameter(filters.new_full((), OPEN))

    def forward(self) -> Tensor:
        """Shape ``(n,)``."""
        return self.given @ self.logits.softmax(0) + self.offset


class Scores(nn.Module):
    """A score for each filter as it is: a fixed criterion's, or (``learned``) one of its own, whatever its weights."""

    scores: Tensor

    def __init__(self, scores: Tensor, *, learned: bool) -> None:
        super().__init__()
        if learned:
            self.scores = nn.Parameter(scores)
        else:
            self.register_buffer("scores", scores)

    def forward(self) -> Tensor:
        """Shape ``(n,)``."""
        return self.scores


def standardised(filters: Tensor) -> Tensor:
    """Fixed criteria, ``(n, 3)``, of filters, ``(n, D)``: of mean 0 and deviation 1, or 0 where all filters agree."""
    values = torch.stack([measure(filters) for measure in FIXED.values()], 1)
    deviation = values.std(0, correction=0)
    centred = values - values.mean(0)
    return torch.where(deviation > 1e-6 * values.mean(0).abs(), centred / deviation.clamp(min=1e-30), 0.0)


def _layer(kind: CriterionName, filters: Tensor, hidden: int, norms: bool) -> nn.Module:
    if kind == "learner":
        return Learner(filters, hidden, norms)
    if kind == "mixture":
        return Mixture(filters)
    if kind == "free":
        return Scores(filters.new_full((len(filters),), OPEN), learned=True)
    values = FIXED[kind](filters)  # divided by their mean over the layer: so layers of any size compare
    return Scores(values / values.mean().clamp(min=torch.finfo(values.dtype).tiny), learned=False)
