"""Gradual inductive co-pruning: edges and weights go while one network trains, for a whole range of densities."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import attrs
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.data import GraphData
from graphprune.data.base import Split
from graphprune.graphs import PruneEdges, Stage, supports
from graphprune.graphs.counting import original_units
from graphprune.graphs.segments import pointers
from graphprune.masks import Cubic, MaskSet, Pruning, Targets, keep_top
from graphprune.masks.attach import stepping
from graphprune.methods.fit import AnyData, Fit, FitResult, State
from graphprune.methods.gradual import FGGP
from graphprune.methods.in_training import steps
from graphprune.methods.joint import JointNetwork, to_share
from graphprune.methods.method import Epochs, Method
from graphprune.methods.one_training import open_density
from graphprune.methods.position import Position, proper
from graphprune.ticket import Ticket

Training = Literal["range", "lowest"]

_DENSITIES = (1.0, 0.86, 0.77, 0.66, 0.57, 0.44, 0.36, 0.25, 0.18)
_PREFIX = "model."


def falling(instance: Any, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    """Validates densities of edges, the highest first."""
    if not value or not all(0 < density <= 1 for density in value):
        raise ValueError(f"{attribute.alias} must be shares above 0 and at most 1, got {value}")
    if list(value) != sorted(set(value), reverse=True):
        raise ValueError(f"{attribute.alias} must fall, from the densest ticket to the sparsest, got {value}")


def trained_with(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    """Validates at which densities the network trains."""
    if value not in get_args(Training):
        raise ValueError(f"{attribute.alias} must be one of {', '.join(get_args(Training))}, got {value!r}")


def _tuple(value: float | Iterable[float]) -> tuple[float, ...]:
    return (value,) if isinstance(value, int | float) else tuple(value)


@attrs.frozen(kw_only=True)
class GICP(Method):
    """Gradual inductive co-pruning: one training for tickets of many densities, edges removed while it trains.

    Network and edge predictor train together, once. In each forward pass the predictor's lowest edges are removed, as
    they will be in the end, and its gradient is that of relaxed gates (straight-through). How many go is drawn anew for
    each batch, between none and a share that rises along a cubic schedule; so one predictor and one network serve all
    densities in that range, and nothing is trained again for the next. Weights go meanwhile by gradual magnitude (or
    gradient-first) pruning along the same schedule. From ``stop`` on the masks of weights are fixed and the whole range
    is trained.

    It takes predictor and task from ICPG (Sui et al., JCST 2024), the schedule from Zhu & Gupta (2017) and FGGP (Zhu et
    al., SCIA 2025), the straight-through estimator from Bengio et al. (2013); training for a range of densities at once
    is what slimmable networks (Yu et al., ICLR 2019) do with widths.

    Args:
        predictor: the edge predictor with its initial weights.
        densities: of edges, one ticket each, the highest first; the last is the lowest that is trained.
        weight_density: share of the prunable weights that is left in all tickets; 1: weights stay.
        stop: optimiser step at which the final densities are reached.
        every: optimiser steps between two prunings of weights.
        candidate_ratio: of :class:`FGGP`; 1: by magnitude alone.
        train_densities: ``"range"``, or ``"lowest"``: each batch at the schedule's density, for the last ticket alone.
        temperature: of the gates' gradients, above 0.
        predictor_lr: learning rate of the predictor; None: the network's.
        protocol: see :class:`~graphprune.methods.Protocol`, as all that follow.
        select: which weights can be pruned.
        protect: patterns of parameters that are not pruned after all.
        seed: of the method's name only: what is drawn, ``fit`` seeds.

    Raises:
        ValueError: densities outside (0, 1] or not falling, no predictor, unknown words, or (when run) a schedule
            longer than the training, a density that leaves no edge of any training graph, or images.
    """

    predictor: nn.Module | None = None
    densities: tuple[float, ...] = attrs.field(default=_DENSITIES, converter=_tuple, validator=falling)
    weight_density: float = attrs.field(default=1.0, validator=open_density)
    stop: int = attrs.field(validator=steps)
    every: int = attrs.field(default=10, validator=steps)
    candidate_ratio: float = attrs.field(default=1.0, validator=open_density)
    train_densities: Training = attrs.field(default="range", validator=trained_with)
    temperature: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    predictor_lr: float | None = None

    name: ClassVar[str] = "gicp"
    soft_edges: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.predictor is None:
            raise ValueError("GICP needs a predictor: predictor=EdgePredictor.for_data(data)")

    @property
    def last_round(self) -> int:
        """The number of densities."""
        return len(self.densities)

    @property
    def prunes_weights(self) -> bool:
        """Unless all of them stay."""
        return self.weight_density < 1

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where the model has a convolution without soft edges, or there is nothing to prune."""
        super().supports(model, data)
        supports(model)
        if not isinstance(data, GraphData) or not proper(data.train):
            raise ValueError(f"{data.name} has no edges to prune in its training split")
        if self.protocol.rule.budget == "global":
            raise ValueError(
                f"{self.name} keeps a share of each graph's edges: it needs a protocol with budget='graph'"
            )
        lowest = self.densities[-1]
        if not (original_units(data.train, self.protocol.rule).double() * lowest).round().any():
            raise ValueError(
                f"densities: {lowest} keeps no edge of any training graph of {data.name}; raise the last one"
            )

    # ------------------------------------------------------------------ the one training, and its tickets

    def prune(self, here: Position, fit: Fit) -> tuple[Position, Epochs]:
        """Train, in the first round; then the graphs of the round's density."""
        assert isinstance(here, Trained)
        epochs: Epochs = ()
        if here.scorer is None:
            here, epochs = self._trained(here, fit)
        assert here.scorer is not None and here.full_data is not None
        density = self.densities[here.round]
        stages = () if density == 1 else (Stage(here.scorer, 1 - density, density),)
        edges = PruneEdges(stages, self.protocol.rule)
        data = here.full_data
        if stages:
            data = data.with_splits(**{split: edges.prune(graphs) for split, graphs in data.splits.items()})
        return replace(here, edges=edges, data=data), epochs

    def _round(self, here: Position, fit: Fit) -> tuple[Ticket, Position]:
        started = time.perf_counter()
        here, history = self.prune(here, fit)
        assert isinstance(here, Trained) and here.best is not None
        model = copy.deepcopy(here.model)
        model.load_state_dict(here.best)
        here.masks.verify(model)
        val, test = (measured(model, here.data, split) for split in ("val", "test"))
        result = FitResult(here.best, here.best, here.epoch, val, test)
        ticket = self._ticket(here, result, history, time.perf_counter() - started)
        return ticket, replace(here, round=here.round + 1)

    def _start(self, model: nn.Module, data: AnyData) -> Position:
        here = super()._start(model, data)
        return Trained(**vars(here), full_data=here.data)

    def _resume(self, model: nn.Module, data: AnyData, after: Ticket) -> Position:
        here = self._start(after.rewound(model), data)
        assert isinstance(here, Trained)
        after.check(method=self.name, settings=self.settings(), data_digest=here.digest)
        here.model.load_state_dict(after.rewind)
        here = replace(here, round=after.round)
        scorers = [stage.scorer for stage in after.edges.stages]
        if not scorers:  # all edges were left: the training is done again
            return here
        return replace(here, masks=after.masks, scorer=scorers[-1], best=after.trained, epoch=int(after.row["epoch"]))

    def _trained(self, here: Trained, fit: Fit) -> tuple[Trained, Epochs]:
        scorer = copy.deepcopy(self.predictor)
        assert scorer is not None
        lowest = self.densities[-1]
        rule = self.protocol.rule
        gates = TopGates(Cubic(1.0, lowest, 0, self.stop, 1), self.temperature, self.train_densities == "range")
        stage = Stage(scorer, 1 - lowest, lowest)
        joint = GradualNetwork(here.rewound(), scorer, stage, rule, here.graph_data.train, self.predictor_lr, gates)
        dense = MaskSet.dense(here.model, self.selector)
        job = replace(here, round=0).job(joint, dense.prefixed(_PREFIX), "search", self.protocol.select)
        result = replace(job, pruner=self._weights).run(fit)
        own = {name: value for name, value in result.best.items() if name.startswith("predictor.")}
        scorer.load_state_dict({name.removeprefix("predictor."): value for name, value in own.items()})
        best = {name.removeprefix(_PREFIX): value for name, value in result.best.items() if name.startswith(_PREFIX)}
        if result.masks is None:
            raise RuntimeError("the training returned no masks: it has to return job.track().result()")
        masks = MaskSet.of({name.removeprefix(_PREFIX): mask for name, mask in result.masks.items()})
        return replace(here, scorer=scorer, best=best, masks=masks, epoch=result.epoch), result.history

    @property
    def _weights(self) -> _Weights:
        return _Weights(
            density=self.weight_density,
            stop=self.stop,
            every=self.every,
            candidate_ratio=self.candidate_ratio,
            select=self._inside,
        )

    def _inside(self, joint: nn.Module) -> Targets:
        """What is pruned of the network, by the names that it has beside its predictor."""
        found = self.selector(joint.get_submodule(_PREFIX.removesuffix(".")))
        return Targets(
            tuple(_PREFIX + name for name in found.selected),
            {_PREFIX + name: reason for name, reason in found.protected.items()},
            {_PREFIX + name: shape for name, shape in found.shapes.items()},
        )

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the predictor by what it is made from."""
        config = getattr(self.predictor, "config", None)
        made = config() if callable(config) else repr(self.predictor)
        return super().settings() | {"predictor": made, "densities": ", ".join(map(str, self.densities))}


@dataclass(frozen=True)
class Trained(Position):
    """A position behind the one training: what it found, and the graphs before any pruning."""

    full_data: AnyData | None = None
    scorer: nn.Module | None = None
    best: State | None = field(default=None, repr=False)
    epoch: int = 0


class _Weights(FGGP):
    """Gradual pruning whose epochs count from ``stop`` on, also where no weight goes: edges have a schedule too."""

    def begin(
        self, masks: MaskSet, model: nn.Module, optimizer: Optimizer, resume: Mapping[str, Any] | None
    ) -> Pruning:
        """Start a run."""
        return _UpToStop(self, self.first(masks), model, optimizer)


class _UpToStop(Pruning):
    @property
    def finished(self) -> bool:
        return self.step >= self._rule.stop and super().finished


class TopGates:
    """Keeps the highest logits of each graph, as removal does; gradients are those of relaxed gates.

    Args:
        schedule: of the lowest density, over optimiser steps.
        temperature: of the gradients.
        over_range: draw each batch's density between the lowest one and 1.

    Attributes:
        step: optimiser steps taken.
    """

    def __init__(self, schedule: Cubic, temperature: float, over_range: bool) -> None:
        self.schedule, self.temperature, self.over_range, self.step = schedule, temperature, over_range, 0

    def __call__(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """Gates of 0 and 1, shape ``(U,)``."""
        lowest = self.schedule.density(self.step)
        density = lowest + (1 - lowest) * float(torch.rand(())) if self.over_range else lowest
        if density == 1:
            return torch.ones_like(logits)
        counts = (sizes.double() * density).round().long()
        hard = keep_top(logits.detach(), pointers(sizes), counts).to(logits.dtype)
        soft = (to_share(logits, sizes, density) / self.temperature).sigmoid()
        return hard + (soft - soft.detach())  # in this order: exactly 0 and 1


class GradualNetwork(JointNetwork):
    """Network and predictor as one module whose gates follow the optimiser's steps."""

    def follow(self, optimizer: Optimizer) -> None:
        """Count its steps from here on."""
        stepping(optimizer).register_step_post_hook(self._stepped)

    def _stepped(self, *_: Any) -> None:
        gates = self._unit_gates
        assert isinstance(gates, TopGates)
        gates.step += 1


@torch.no_grad()
def measured(model: nn.Module, data: AnyData, split: Split, batch_size: int = 512) -> float:
    """The metric of a network on a split, in ``eval()`` mode."""
    model.eval()
    samples = data.splits[split]
    outputs = torch.cat([model(samples.batch(part)) for part in torch.arange(len(samples)).split(batch_size)])
    return data.evaluate(data.labels(samples), outputs, split=split)
