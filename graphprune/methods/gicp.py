"""Gradual inductive co-pruning: edges and weights go while one network trains, for a whole range of densities."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import attrs
from torch import nn

from graphprune.checks import real
from graphprune.data import GraphData
from graphprune.graphs.rule import original_units
from graphprune.masks import Coupled, MaskSet, Targets, Unit, UnitName
from graphprune.methods.beside_edges import FGGPBesideEdges
from graphprune.methods.core import validators
from graphprune.methods.core.by_density import PREFIX, ByDensity, Trained
from graphprune.methods.core.edge_gates import GradualGates, Removal
from graphprune.methods.core.fit import AnyData, Fit, Stopwatch
from graphprune.methods.core.in_training import is_share
from graphprune.methods.core.method import Epochs, seeded
from graphprune.methods.core.stable_repr import predictor_settings
from graphprune.methods.core.state import RunState
from graphprune.ticket import Ticket

Training = Literal["range", "lowest"]

_DENSITIES = (1.0, 0.86, 0.77, 0.66, 0.57, 0.44, 0.36, 0.25, 0.18)


def _falling(instance: Any, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    """Validates densities of edges, the highest first."""
    if not value or not all(0 < density <= 1 for density in value):
        raise ValueError(f"{attribute.alias} must be shares above 0 and at most 1, and at least one, got {value}")
    if list(value) != sorted(set(value), reverse=True):
        raise ValueError(f"{attribute.alias} must fall, from the densest ticket to the sparsest, got {value}")


def _tuple(value: float | Iterable[float]) -> tuple[float, ...]:
    return tuple(map(float, value if isinstance(value, Iterable) else (value,)))


@attrs.frozen(kw_only=True)
class GICP(ByDensity):
    """Gradual inductive co-pruning: one training for tickets of many densities, edges removed while it trains.

    Network and edge predictor train together, once. In each forward pass the predictor's lowest edges are removed, as
    they will be in the end, and its gradient is that of relaxed gates (straight-through). How many go is drawn for
    each batch, between none and a share that rises along a cubic schedule; so one predictor and one network serve all
    densities in that range, and nothing is trained again for the next. Weights go meanwhile by gradual magnitude (or
    gradient-first) pruning along the same schedule. From ``stop`` on the masks of weights are fixed and the whole range
    is trained. Validation at the middle one of ``densities`` selects the epoch. For each ticket the network's batch
    norms are counted again on the training graphs as that ticket prunes them; all else is shared.

    Predictor and task are ICPG's (Sui et al., JCST 2024), the schedule is from Zhu & Gupta (2017) and FGGP (Zhu et al.,
    SCIA 2025), the straight-through estimator from Bengio et al. (2013); training a range of densities at once, with
    norms for each, is what slimmable networks do with widths (Yu et al., ICLR 2019; Yu & Huang, ICCV 2019).

    Args:
        predictor: the edge predictor with its initial weights; one that knows structure and pairs
            (``EdgePredictor.for_data(data, score="bilinear", walks=16)``) finds much better edges (docs/gicp.md).
        densities: of edges, one ticket each, the highest first; the last is the lowest that is trained.
        weight_density: share of the prunable weights that is left in all tickets, or of what ``unit`` says; 1: all.
        unit: what falls together: single weights (``"weight"``), or channels, of each layer by itself (``"channel"``)
            or in all layers that add them up (``"coupled"``), with their biases and norms' weights.
        channel_density: share of the channels that is left, or less: single weights go from those, down to
            ``weight_density``, and a channel with its last one. None: ``weight_density`` is that of the units.
        stop: optimiser step at which the final densities are reached, or a share of the training, such as 0.6.
        every: optimiser steps between two prunings of weights; the last one is at ``stop``.
        candidate_ratio: of :class:`FGGP`, for weights and channels; 1: by magnitude alone.
        scope: weights compete over all layers (``"global"``), or within each (``"layer"``), which then keeps its share.
        layer_floor: share of each layer's weights that is always kept; None: a tenth of the share kept over all layers.
        edge_gates: how edges are removed while the network trains: ``"top"``, the lowest ones of each graph (under a
            global budget: of the batch); or ``"gumbel"``, at random, as many on average, the lowest ones most often
            (see :class:`ICPG`).
        train_densities: ``"range"``, or ``"lowest"``: each batch at the schedule's density, for the last ticket alone.
        temperature: of the gates' gradients, above 0.
        predictor_lr: learning rate of the predictor; None: the network's.

    Raises:
        ValueError: densities outside (0, 1] or not falling, no predictor, unknown words, or (when run) a schedule
            longer than the training, a density that leaves no edge of any training graph, images, or edges that the
            protocol counts by their rate.
        TrainingDiverged: (when run) the network's outputs at some density are not finite.
    """

    densities: tuple[float, ...] = attrs.field(default=_DENSITIES, converter=_tuple, validator=_falling)
    weight_density: float = attrs.field(default=1.0, validator=validators.density)
    unit: UnitName | Coupled = attrs.field(default="weight", validator=validators.channels)
    channel_density: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.density))
    stop: int | float = attrs.field(validator=validators.step_or_share)
    every: int = attrs.field(default=10, validator=validators.step)
    candidate_ratio: float = attrs.field(default=1.0, validator=validators.density)
    scope: Literal["global", "layer"] = attrs.field(default="global", validator=validators.scope)
    layer_floor: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.share))
    edge_gates: Removal = attrs.field(default="top", validator=validators.one_of(*get_args(Removal)))
    train_densities: Training = attrs.field(default="range", validator=validators.one_of(*get_args(Training)))
    # Again, for their place among the options in files of runs.
    temperature: float = attrs.field(default=1.0, validator=validators.positive)
    predictor_lr: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.positive))

    name: ClassVar[str] = "gicp"
    later: ClassVar[Mapping[str, Any]] = {"unit": "weight", "channel_density": None}

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.unit == "weight" and self.channel_density is not None:
            raise ValueError(f"channel_density={self.channel_density} needs unit='coupled', or 'channel'")

    @property
    def last_round(self) -> int:
        """The number of densities."""
        return len(self.densities)

    @property
    def prunes_weights(self) -> bool:
        """Unless all of them stay."""
        return min(self._shares) < 1

    @property
    def _shares(self) -> tuple[float, float]:
        """Of single weights and of channels."""
        if self.channel_density is not None:
            return self.weight_density, self.channel_density
        return (self.weight_density, 1.0) if self.unit == "weight" else (1.0, self.weight_density)

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where a gate of 0 is no removal in the model, there is nothing to prune, or nothing would be left."""
        super().supports(model, data)
        assert isinstance(data, GraphData)
        weights = MaskSet.dense(model, self.selector).total
        if not round(self.weight_density * weights):
            raise ValueError(f"weight_density={self.weight_density} keeps none of the {weights:,} weights: raise it")
        lowest, units = self.densities[-1], original_units(data.train, self.protocol.rule).double()
        if self.protocol.rule.budget == "global":
            units = units.sum()
        if not (units * lowest).round().any():
            raise ValueError(f"densities: {lowest} leaves no training graph of {data.name} an edge; raise the last one")

    # ------------------------------------------------------------------ the one training, and its tickets

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Train, in the first round; then the graphs of the round's density."""
        assert isinstance(state, Trained)
        epochs: Epochs = ()
        if state.scorer is None:
            state, epochs = self._trained(state, fit)
        return self._thinned(state, self.densities[state.round]), epochs

    def at(self, density: float, ticket: Ticket, model: nn.Module, data: AnyData, fit: Fit | None = None) -> Ticket:
        """A ticket of another density, out of one that this method handed out.

        Args:
            density: of the edges, between the lowest that was trained and 1.
            ticket: any of the run, loaded ones too; of a tuned one what it was tuned from.
            model: that was pruned, with any weights.
            data: that it was pruned on: norms are counted on its training graphs, val and test are measured.
            fit: trains the network further on the pruned graphs, for this density alone; edges and masks stay as they
                are, and validation selects among its epochs. None: nothing is trained, and norms are counted again.

        Raises:
            TypeError: no ticket.
            ValueError: a density outside the range, or a ticket of another method, other settings or other data.
            TrainingDiverged: the network's outputs, or a loss, are not finite.
        """
        if not isinstance(ticket, Ticket):
            raise TypeError(f"ticket must be a Ticket, from rounds() or Ticket.load(path), got {ticket!r}")
        lowest, density = self.densities[-1], real("density", density)
        if not lowest <= density <= 1:
            raise ValueError(f"density must lie between {lowest}, the lowest trained, and 1, got {density!r}")
        started = Stopwatch()
        state = replace(self._thinned(self._resume(model, data, ticket), density), round=ticket.round - 1)
        return self._measured(state, (), started) if fit is None else seeded(self._tuned(state, fit, started), fit)

    def _resume(self, model: nn.Module, data: AnyData, after: Ticket) -> RunState:
        state = super()._resume(model, data, after)
        assert isinstance(state, Trained)
        return replace(state, scorer=after.edges.rounds[-1].scorer, best=state.last, epoch=int(after.row["epoch"]))

    def _trained(self, state: Trained, fit: Fit) -> tuple[Trained, Epochs]:
        scorer = copy.deepcopy(self.predictor)
        assert scorer is not None
        gates = GradualGates(self.edge_gates, self.temperature, self.train_densities == "range")
        unit = self.unit_in(state.model, state.data)
        return self._learned(
            state,
            state.rewound(),
            scorer,
            self.densities[len(self.densities) // 2],
            gates,
            MaskSet.dense(state.model, self.selector, unit=unit),
            fit,
            self._weights(gates, unit),
        )

    def _weights(self, gates: GradualGates, unit: Unit) -> FGGPBesideEdges:
        return FGGPBesideEdges(
            gates=gates,
            edges=self.densities[-1],
            density=self._shares[0],
            channels=self._shares[1],
            channel_unit=unit.prefixed(PREFIX) if isinstance(unit, Coupled) else None,
            stop=self.stop,
            every=self.every if is_share(self.stop) else min(self.every, int(self.stop)),
            candidate_ratio=self.candidate_ratio,
            scope=self.scope,
            layer_floor=self.layer_floor,
            select=self._inside,
        )

    def _inside(self, joint: nn.Module) -> Targets:
        """What is pruned of the network, by the names that it has beside its predictor."""
        found = self.selector(joint.get_submodule(PREFIX.removesuffix(".")))
        return Targets(
            tuple(PREFIX + name for name in found.selected),
            {PREFIX + name: reason for name, reason in found.protected.items()},
            {PREFIX + name: shape for name, shape in found.shapes.items()},
        )

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the predictor by what it is made from."""
        densities = ", ".join(map(str, self.densities))
        settings = super().settings() | {"predictor": predictor_settings(self.predictor), "densities": densities}
        unsaid = {**self.later, "layer_floor": 0.0}
        return {name: value for name, value in settings.items() if unsaid.get(name, ...) != value}
