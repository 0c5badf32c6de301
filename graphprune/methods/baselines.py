"""What every ticket is compared with, on the same code path: dense, no edges, small and dense, random, magnitude."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import torch
from torch import Tensor, nn

from graphprune.data import GraphData
from graphprune.graphs import RandomEdges
from graphprune.masks import magnitude, random
from graphprune.methods.fit import Fit, State, derive_seed
from graphprune.methods.rounds import Found, IterativeMethod, Position, rate, weights
from graphprune.ticket import Ticket


@attrs.frozen(kw_only=True)
class IMP(IterativeMethod):
    """Iterative magnitude pruning with rewinding to initialisation (Frankle & Carbin, ICLR 2019); all edges stay.

    A round prunes the weights that the round before trained; the first trains the dense network for it.
    """

    edge_rate: float = attrs.field(default=0.0, validator=rate)
    name = "imp"

    def __attrs_post_init__(self) -> None:
        if self.edge_rate:
            raise ValueError(f"IMP prunes no edges, got edge_rate={self.edge_rate}; see RandomPruning and ICPG")

    def search(self, here: Position, fit: Fit) -> Found:
        """Magnitudes behind the last training."""
        if here.last is not None:
            return Found(None, self._scores(here, here.last))
        dense = here.job(here.rewound(), here.masks, "search", self.protocol.select).run(fit)
        return Found(None, self._scores(here, dense.last), dense.history)

    @staticmethod
    def _scores(here: Position, last: State) -> dict[str, Tensor]:
        return magnitude(weights(last, here.masks), {}, here.masks)


@attrs.frozen(kw_only=True)
class RandomPruning(IterativeMethod):
    """Random edges of every graph (train and test) and random weights, nested over rounds, same initial weights."""

    name = "random"

    def search(self, here: Position, fit: Fit) -> Found:
        """Draw; nothing is trained."""
        number = here.round + 1
        scores = random(derive_seed(self.seed, number, "weights"))(
            weights(here.model.state_dict(), here.masks), {}, here.masks
        )
        edges = (
            RandomEdges(derive_seed(self.seed, number, "edges"), self.protocol.rule.unit) if self.edge_rate else None
        )
        return Found(edges, scores if self.weight_rate else None)


@attrs.frozen(kw_only=True)
class Dense(IterativeMethod):
    """The network as it is, trained once."""

    num_rounds: int = attrs.field(default=1, init=False)
    edge_rate: float = attrs.field(default=0.0, init=False)
    weight_rate: float = attrs.field(default=0.0, init=False)
    name = "dense"

    def search(self, here: Position, fit: Fit) -> Found:
        """Nothing goes."""
        return Found(None, None)


@attrs.frozen(kw_only=True)
class NoEdges(Dense):
    """The same network on graphs without any edges: what node features alone are worth.

    On DD, PROTEINS and ENZYMES such controls beat graph networks (Errica et al., ICLR 2020).
    """

    name = "no-edges"

    def edge_density(self, number: int) -> float:
        """None is left."""
        return 0.0

    def search(self, here: Position, fit: Fit) -> Found:
        """Every edge goes, whatever its score."""
        return Found(RandomEdges(), None)


@attrs.frozen(kw_only=True)
class SmallDense(Dense):
    """A dense network of the width at which it has as many parameters as a ticket has left.

    Args:
        params: parameters to match (``params_kept`` of a ticket's row); the largest width that needs no more is taken,
            and width 1 where there is none.
    """

    params: int
    name = "small-dense"

    def rounds(self, model: nn.Module, data: GraphData, fit: Fit, *, after: Ticket | None = None) -> Iterator[Ticket]:
        """Train the small network; see :meth:`IterativeMethod.rounds`.

        Raises:
            ValueError: ``params`` is more than the model has, or the model has no method ``resized(hidden)`` that
                builds it at another width.
        """
        return super().rounds(self.small(model), data, fit, after=after)

    def small(self, model: nn.Module) -> nn.Module:
        """The model at the matching width."""
        resized = getattr(model, "resized", None)
        if resized is None:
            raise ValueError(f"{type(model).__name__} has no method resized(hidden): build the small network yourself")
        if not 1 <= self.params <= _size(model):
            raise ValueError(f"params must lie between 1 and the model's own {_size(model)}, got {self.params}")
        low, high = 1, 1 + math.isqrt(self.params)
        with torch.random.fork_rng(devices=[]):  # looking at sizes draws no random numbers
            while low < high:
                width = (low + high + 1) // 2
                if _size(resized(width)) <= self.params:
                    low = width
                else:
                    high = width - 1
        return resized(low)  # type: ignore[no-any-return]


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
