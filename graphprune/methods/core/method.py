"""What every method does around its decision: train, evaluate, hand out a ticket, and go on after one."""

from __future__ import annotations

import math
import platform
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs
from torch import nn

from graphprune import __version__
from graphprune.checks import instance
from graphprune.data import GraphData
from graphprune.data.labelled import SPLITS
from graphprune.graphs import PruneEdges, RandomEdges
from graphprune.graphs.attributes import check_data
from graphprune.graphs.rule import original_units
from graphprune.masks import MaskSet, Selector, Unit, prunable, sparing
from graphprune.methods.core import validators
from graphprune.methods.core.fit import AnyData, Fit, FitJob, FitResult, Stopwatch, snapshot
from graphprune.methods.core.prepare import prepared, unit_in
from graphprune.methods.core.protocol import CLEAN, Protocol, protocol
from graphprune.methods.core.shown import Shown
from graphprune.methods.core.stable_repr import stable_repr
from graphprune.methods.core.state import ORIGINAL_UNITS, RunState, count_prunable_arcs
from graphprune.ticket import Ticket
from graphprune.ticket.models import recorded

Epochs = tuple[Mapping[str, Any], ...]

# Of the density: what each layer keeps by default. A layer without weights passes nothing on, at whatever density.
SAFE_FLOOR = 0.1


@attrs.frozen(kw_only=True)
class Method(Shown, ABC):
    """A method of one or several trainings. A subclass says in :meth:`prune` what goes; the rest is shared.

    Args:
        protocol: ``"clean"``, ``"paper"`` or a :class:`Protocol`.
        select: which weights can be pruned.
        protect: fnmatch patterns of parameters that are not pruned after all, such as ``node_encoder.*``.
        prune_heads: whether the weights that give what leaves the network (its logits) are pruned as all others; None:
            they are kept, but pruned as single weights under ``protocol="paper"``, as the authors do. ``select`` can
            name some of them.
        seed: for every random choice of the method itself.
    """

    protocol: Protocol = attrs.field(default=CLEAN, converter=protocol)
    select: Selector = attrs.field(factory=prunable, validator=validators.selector)
    protect: tuple[str, ...] = attrs.field(default=(), converter=validators.patterns)
    prune_heads: bool | None = None
    seed: int = attrs.field(default=0, validator=validators.whole())

    name: ClassVar[str] = "method"
    later: ClassVar[Mapping[str, Any]] = {}  # options that came later: with these values nothing is said of them
    soft_edges: ClassVar[bool] = False  # whether it trains networks with gated edges, not every convolution can do that
    gates_pruned: ClassVar[bool] = False  # whether pruned edges can stay with a gate of 0, see Protocol.pruned

    @property
    def last_round(self) -> int:
        """The number of its last round, which has a ticket."""
        return 1

    @property
    def prunes_weights(self) -> bool:
        """Whether any weight goes."""
        return True

    @abstractmethod
    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Prune up to the next round with a ticket: where the method stands before its training, and epochs it took."""

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise, with the reason, where the method cannot prune this model or data set.

        Raises:
            ValueError: nothing prunable in the model, lazy parameters, what :meth:`prepared` raises, or a protocol that
                the method does not know.
            TypeError: graphs in place of a data set.
        """
        check_data(data)
        self.selector(model)
        self.selector(self.prepared(model, data))
        if self.protocol.pruned == "gated" and not self.gates_pruned:
            raise ValueError(f"{self.name} removes the edges that it prunes: a protocol with pruned='gated' is for UGS")

    def unit_in(self, model: nn.Module, data: AnyData) -> Unit:
        """What falls together in this network: what the method's ``unit`` says, or single weights where it has none."""
        return unit_in(getattr(self, "unit", "weight"), model, data, self.selector)

    def within(self, folder: Path) -> Self:
        """The same, keeping what an interrupted round goes on from in a run's folder; most methods have nothing to."""
        return self

    @property
    def selector(self) -> Selector:
        """Which weights are pruned: ``select`` without what ``protect`` names."""
        return sparing(self.select, self.protect) if self.protect else self.select

    def rounds(self, model: nn.Module, data: AnyData, fit: Fit, *, after: Ticket | None = None) -> Iterator[Ticket]:
        """Run the method, a ticket for each finished round (each that is to have one).

        Args:
            model: any network over PyG batches; its present weights are the rewind weights. It is not changed.
            data: full graphs; see :func:`graphprune.data.from_graphs` for your own.
            fit: the training, for example :class:`graphprune.train.Fit`.
            after: the last finished round, to go on after it. With the same ``fit`` the result is the same as without
                the interruption; the rewind weights are the ticket's, whatever those of ``model`` are.

        Yields:
            The ticket of each round, trained and evaluated.

        Raises:
            ValueError: what :meth:`supports` raises, or ``after`` comes from other data, settings or another model.
            TypeError: another kind of object; a network not called with one batch, or whose state is more than tensors.
            TrainingDiverged: a training broke down; rounds yielded before stand.
        """
        check_data(data)
        self.selector(model)  # what is no weight at all is told before anything is copied or run
        model = self.prepared(model, data)
        self.supports(model, data)
        state = self._start(model, data) if after is None else self._resume(model, data, after)
        while state.round < self.last_round:
            ticket, state = self._round(state, fit)
            yield ticket

    # ------------------------------------------------------------------ the steps of a round

    def prepared(self, model: nn.Module, data: AnyData) -> nn.Module:
        """A copy of a network to work with, whose heads are protected unless they are to be pruned.

        Raises:
            ValueError: a copy would compute with the original's weights, or on a graph that it saw before; or no head.
        """
        return prepared(model, data, prune_heads=self._prunes_heads)

    @property
    def _prunes_heads(self) -> bool:
        if self.prune_heads is not None:
            return self.prune_heads
        # Of whole channels a head has one for each logit; no authors prune these.
        return self.protocol.published and getattr(self, "unit", "weight") == "weight"

    def _start(self, model: nn.Module, data: AnyData) -> RunState:
        data = self.protocol.splits(data)
        model = self.prepared(model, data)
        unit, digest, edges = self.protocol.rule.unit, data.digest(), PruneEdges((), self.protocol.rule)
        full = {split: count_prunable_arcs(samples, unit) for split, samples in data.splits.items()}
        if isinstance(data, GraphData):
            units = {split: original_units(graphs, self.protocol.rule) for split, graphs in data.splits.items()}
            with_units = {split: data.splits[split].with_graph(**{ORIGINAL_UNITS: units[split]}) for split in SPLITS}
            data, edges = data.with_splits(**with_units), replace(edges, encodings=data.encodings)
        masks = MaskSet.dense(model, self.selector, unit=self.unit_in(model, data))
        return RunState(0, model, masks, edges, data, full, digest)

    def _resume(self, model: nn.Module, data: AnyData, after: Ticket) -> RunState:
        instance("after", after, Ticket, "a Ticket, such as Ticket.load(path)")
        state = self._start(model, data)
        made = after.rewound(state.model)
        after.check(method=self.name, settings=self.settings(), data_digest=state.digest)
        made.load_state_dict(after.rewind)
        return replace(state, model=made, round=after.round, masks=after.masks, last=dict(after.last))

    def _round(self, state: RunState, fit: Fit) -> tuple[Ticket, RunState]:
        started = Stopwatch()
        state, history = self.prune(state, fit)
        job = self.training(state)
        result = job.run(fit)
        masks = job.masks if result.masks is None else result.masks
        state = replace(state, masks=masks)
        masks.verify(job.model)
        ticket = seeded(self._ticket(state, result, history, started), fit)
        return ticket, replace(state, round=state.round + 1, last=result.last)

    def training(self, state: RunState) -> FitJob:
        """The training of the coming round's ticket."""
        return self.job(state, state.rewound(), state.masks, "ticket")

    def job(self, state: RunState, model: nn.Module, masks: MaskSet, phase: str) -> FitJob:
        """A training in the coming round, in which the protocol's split selects."""
        data = state.seen
        if self.protocol.select == "test":
            data = data.with_splits(val=data.test)
        return FitJob(model, data, masks, state.round + 1, phase)

    def _ticket(
        self, state: RunState, result: FitResult, search: tuple[Mapping[str, Any], ...], started: Stopwatch
    ) -> Ticket:
        data, masks = state.data, state.masks
        total = sum(parameter.numel() for parameter in state.model.parameters())
        left = {split: count_prunable_arcs(getattr(data, split), self.protocol.rule.unit) for split in SPLITS}
        row = {
            "method": self.name,
            "data": data.name,
            "model": type(state.model).__name__,
            "protocol": self.label,
            "seed": self.seed,
            "round": state.round + 1,
            **{
                f"edge_sparsity_{split}": 1 - left[split] / state.full[split] if state.full[split] else 0.0
                for split in SPLITS
            },
            "weight_sparsity": masks.sparsity,
            "params_kept": total - (masks.total - masks.kept),
            "params_total": total,
            "metric": data.metric,
            # A metric that the test split selected is no validation metric.
            "val_metric": result.val_metric if self.protocol.select == "val" else math.nan,
            "test_metric": result.test_metric,
            "epoch": result.epoch,
            "epochs_trained": len(search) + len(result.history),
            "epochs_search": len(search),
            **_of_unseen(state.edges),
            **started.spent(),
            "collapsed": list(masks.collapsed),
        }
        history = [{"phase": "search", **entry} for entry in search]
        history += [{"phase": "ticket", **entry} for entry in result.history]
        return Ticket(
            method=self.name,
            round=state.round + 1,
            masks=masks,
            edges=state.edges,
            rewind=snapshot(state.model),
            trained=result.best,
            last=result.last,
            row=row,
            history=tuple(history),
            provenance=self.provenance(state),
        )

    # ------------------------------------------------------------------ what a ticket says of its origin

    @property
    def label(self) -> str:
        """The protocol as every output names it."""
        return self.protocol.label

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data."""
        settings: dict[str, Any] = {}
        for item in attrs.fields(type(self)):
            value = getattr(self, item.name)
            plain = value is None or isinstance(value, (bool, int, float, str))
            settings[item.alias] = (
                value if plain else value.config() if isinstance(value, Protocol) else stable_repr(value)
            )
        # Tickets from before there was a choice have pruned heads and do not say so; runs can go on after them.
        del settings["prune_heads"]
        return settings if self._prunes_heads else settings | {"prune_heads": False}

    def provenance(self, state: RunState) -> dict[str, Any]:
        """Where a ticket comes from."""
        return {
            "settings": self.settings(),
            "model": recorded(state.model),
            "data": {**state.data.provenance, "name": state.data.name, "digest": state.digest},
            "versions": {
                "python": platform.python_version(),
                "graphprune": __version__,
                **{name: version(name) for name in ("torch", "torch-geometric")},
            },
        }

    def floor(self, given: float | None, density: float) -> float:
        """Share of each layer that is kept whatever its scores, at a density of all layers together."""
        if given is not None:
            return given
        return 0.0 if self.protocol.published else SAFE_FLOOR * density

    def replace(self, **changes: Any) -> Self:
        """A copy with other hyper-parameters."""
        return attrs.evolve(self, **changes)


def seeded(ticket: Ticket, fit: Fit) -> Ticket:
    """A ticket whose row says the seed of the training function as well, where it has one: the method's is another."""
    seed = getattr(fit, "seed", None)
    return replace(ticket, row=ticket.row | {"fit_seed": seed}) if isinstance(seed, int) else ticket


def _of_unseen(edges: PruneEdges) -> dict[str, Any]:
    """How unseen graphs are pruned, and how many passes of a learnt scorer that takes."""
    scorers = [edge_round.scorer for edge_round in edges.rounds]
    learnt = sum(scorer is not None and any(True for _ in scorer.parameters()) for scorer in scorers)
    if not scorers:
        rule = "none"
    elif scorers[-1] is None:
        rule = "dense"
    else:
        rule = "predictor" if learnt else "random" if isinstance(scorers[-1], RandomEdges) else "scorer"
    return {"unseen": rule, "predictor_passes": learnt}
