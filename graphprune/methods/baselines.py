"""What every ticket is compared with, on the same code path: dense, no edges, small and dense, random, magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import attrs
import torch
from torch import nn

from graphprune.graphs import RandomEdges
from graphprune.masks import MaskSet, random
from graphprune.methods.core import validators
from graphprune.methods.core.fit import AnyData, Fit, derive_seed
from graphprune.methods.core.iterative import IterativeMethod
from graphprune.methods.core.shown import Role
from graphprune.methods.core.state import Decision, RunState, count_prunable_arcs, weights
from graphprune.ticket import Ticket


@attrs.frozen(kw_only=True)
class IMP(IterativeMethod):
    """Iterative magnitude pruning with rewinding to initialisation (Frankle & Carbin, ICLR 2019); all edges stay.

    A round prunes the weights that the round before trained; the first trains the dense network for it.
    """

    edge_rate: float = attrs.field(default=0.0, init=False)
    name = "imp"
    by_ticket = True

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Magnitudes after the last training."""
        return self.trained_magnitudes(state, fit)


@attrs.frozen(kw_only=True)
class RandomPruning(IterativeMethod):
    """Random edges of every graph (train and test) and random weights, nested over rounds, same initial weights."""

    name = "random"

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Draw; nothing is trained."""
        number = state.round + 1
        scores = random(derive_seed(self.seed, number, "weights"))(
            weights(state.model.state_dict(), state.masks), {}, state.masks
        )
        edges = (
            RandomEdges(derive_seed(self.seed, number, "edges"), self.protocol.rule.unit) if self.edge_rate else None
        )
        return Decision(edges, scores if self.weight_rate else None)


@attrs.frozen(kw_only=True)
class Dense(IterativeMethod):
    """The network as it is, trained once."""

    num_rounds: int = attrs.field(default=1, init=False)
    edge_rate: float = attrs.field(default=0.0, init=False)
    weight_rate: float = attrs.field(default=0.0, init=False)
    name = "dense"
    role: ClassVar[Role] = "dense"

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Nothing goes."""
        return Decision(None, None)


@attrs.frozen(kw_only=True)
class NoEdges(Dense):
    """The same network on graphs without any edges: what node features alone are worth.

    On DD, PROTEINS and ENZYMES such controls beat graph networks (Errica et al., ICLR 2020).
    """

    edge_rate: float = attrs.field(default=1.0, init=False)  # all, however a protocol counts
    name = "no-edges"
    role = "no-edges"

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where there are no edges to do without."""
        if not count_prunable_arcs(data.train):
            raise ValueError(f"{data.name} has no edges: dense and no-edges are the same there")
        if self.protocol.rule.constrained:
            raise ValueError(f"{self.name} removes every edge: take a protocol without connected and min_degree")
        super().supports(model, data)

    def search(self, state: RunState, fit: Fit) -> Decision:
        """Every edge goes, whatever its score."""
        return Decision(RandomEdges(), None)


@attrs.frozen(kw_only=True)
class SmallDense(Dense):
    """A dense network of the width at which it has as many parameters as a ticket has left.

    The largest width that needs no more is taken, and width 1 where there is none. Its size is told in one of two ways.

    Args:
        params: parameters to match: ``params_kept`` of the ticket's row.
        density: share of the prunable weights that the ticket has left, for example 0.8 to the power of its rounds; all
            other parameters count in full, as they do in the ticket.

    Raises:
        ValueError: both or neither of ``params`` and ``density``, or a density outside [0, 1].
    """

    params: int | None = None
    density: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.share))
    name = "small-dense"
    role = "size-matched"

    def __attrs_post_init__(self) -> None:
        if (self.params is None) == (self.density is None):
            raise ValueError(
                "small-dense needs either params or density to know its size, "
                f"got params={self.params} and density={self.density}"
            )

    def rounds(self, model: nn.Module, data: AnyData, fit: Fit, *, after: Ticket | None = None) -> Iterator[Ticket]:
        """Train the small network; see :meth:`IterativeMethod.rounds`.

        Raises:
            ValueError: ``params`` is more than the model has, or the model has no method ``resized(hidden)`` that
                builds it at another width.
        """
        return super().rounds(self.small(self.prepared(model, data)), data, fit, after=after)

    def small(self, model: nn.Module) -> nn.Module:
        """The model at the matching width, with initial weights by the method's seed."""
        resized = getattr(model, "resized", None)
        if resized is None:
            raise ValueError(f"{type(model).__name__} has no method resized(hidden): build the small network yourself")
        params = self._budget(model)

        def fits(width: int) -> bool:
            with torch.device("meta"):  # sizes only: a wide network would not fit into memory
                return _size(resized(width)) <= params

        with torch.random.fork_rng(devices=[]):
            low, high = 1, 2
            while high <= params and fits(high):  # a unit has a parameter at least
                low, high = high, 2 * high
            while high - low > 1:
                width = (low + high) // 2
                low, high = (width, high) if fits(width) else (low, width)
            # Its initial weights are the method's own choice: they must not depend on what was drawn before.
            torch.manual_seed(derive_seed(self.seed, "small"))
            return resized(low)  # type: ignore[no-any-return]

    def _budget(self, model: nn.Module) -> int:
        """Parameters to match."""
        total = _size(model)
        if self.density is not None:
            prunable = MaskSet.dense(model, self.selector).total
            return total - prunable + round(self.density * prunable)
        if self.params is None or not 1 <= self.params <= total:
            raise ValueError(f"params must lie between 1 and the model's own {total}, got {self.params}")
        return self.params


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
