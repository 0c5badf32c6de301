"""The rounds that every iterative method shares: search, prune weights and edges, rewind, train, hand out a ticket."""

from __future__ import annotations

import copy
import math
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, Literal, Self

import attrs
from torch import Tensor, nn

from graphprune import __version__
from graphprune.data import GraphData
from graphprune.data.base import SPLITS
from graphprune.graphs import PackedGraphs, PruneEdges, RandomEdges, Stage
from graphprune.graphs.counting import in_chunks, original_units
from graphprune.graphs.pairs import EDGE_UNIT
from graphprune.graphs.prune import stage_keep
from graphprune.masks import MaskSet, Selector, prunable, sparing
from graphprune.methods.fit import Fit, FitResult, snapshot
from graphprune.methods.joint import ORIGINAL_UNITS
from graphprune.methods.position import Found, Position, proper
from graphprune.methods.protocol import CLEAN, Protocol, protocol
from graphprune.ticket import Ticket

__all__ = ["Found", "IterativeMethod", "Position", "count", "rate", "weights"]


def rate(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    """Validates a share of what remains."""
    if not 0 <= value < 1:
        raise ValueError(f"{attribute.alias} must lie in [0, 1), got {value}")


def count(instance: Any, attribute: attrs.Attribute[int], value: int) -> None:
    """Validates a number of rounds."""
    if value < 1:
        raise ValueError(f"{attribute.alias} must be at least 1, got {value}")


def patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    """One pattern or several."""
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True)
class IterativeMethod(ABC):
    """A method of several trainings. A subclass says in :meth:`search` what goes; the rest is shared.

    Args:
        rounds: how often to search, prune and train.
        edge_rate: share of the remaining edges that goes each round.
        weight_rate: share of the remaining weights that goes each round.
        protocol: ``"clean"``, ``"paper"`` or a :class:`Protocol`.
        scope: weights compete over all layers (``"global"``) or within each (``"layer"``).
        layer_floor: share of each layer's weights that a global scope always keeps, against layer collapse.
        degree_features: a ticket's network reads degree features as counted on the ``"full"`` graphs (the authors), or
            ``"recomputed"`` on the pruned ones: the control for what degrees still tell of removed edges.
        select: which weights can be pruned.
        protect: fnmatch patterns of parameters that are not pruned after all, such as ``head.*`` or ``node_encoder.*``.
        seed: for every random choice of the method itself.
    """

    num_rounds: int = attrs.field(default=20, alias="rounds", validator=count)
    edge_rate: float = attrs.field(default=0.05, validator=rate)
    weight_rate: float = attrs.field(default=0.2, validator=rate)
    protocol: Protocol = attrs.field(default=CLEAN, converter=protocol)
    scope: Literal["global", "layer"] = "global"
    layer_floor: float = attrs.field(default=0.0, validator=rate)
    degree_features: Literal["full", "recomputed"] = "full"
    select: Selector = attrs.field(factory=prunable)
    protect: tuple[str, ...] = attrs.field(default=(), converter=patterns)
    seed: int = 0

    name = "iterative"
    soft_edges = False  # whether it trains networks with gated edges, which not every convolution can do
    gates_pruned = False  # whether it can leave pruned edges in the graphs with a gate of 0, see Protocol.pruned

    @abstractmethod
    def search(self, here: Position, fit: Fit) -> Found:
        """Decide what the coming round prunes."""

    def supports(self, model: nn.Module, data: GraphData) -> None:
        """Raise, with the reason, where the method cannot prune this model or data set.

        Raises:
            ValueError: nothing prunable in the model, lazy parameters, no edge in the training graphs, or a protocol
                that the method does not know.
        """
        self.selector(model)
        if self.protocol.pruned == "gated" and not self.gates_pruned:
            raise ValueError(f"{self.name} removes the edges that it prunes: a protocol with pruned='gated' is for UGS")
        if self.edge_rate and not proper(data.train):
            raise ValueError(f"{data.name}: the training graphs have no edges to prune; set edge_rate=0")
        if self.degree_features == "recomputed" and data.degrees is None:
            raise ValueError(f"{data.name} has no degree features to recompute; use degree_features='full'")

    @property
    def selector(self) -> Selector:
        """Which weights are pruned: ``select`` without what ``protect`` names."""
        return sparing(self.select, self.protect) if self.protect else self.select

    def rounds(self, model: nn.Module, data: GraphData, fit: Fit, *, after: Ticket | None = None) -> Iterator[Ticket]:
        """Run the method, one ticket a finished round.

        Args:
            model: any network over PyG batches; its present weights are the rewind weights. It is not changed.
            data: full graphs; see :func:`graphprune.data.from_graphs` for your own.
            fit: the training, for example :class:`graphprune.train.Fit`.
            after: the last finished round, to go on behind it. With the same ``fit`` the result is the same as without
                the interruption; the rewind weights are the ticket's, whatever those of ``model`` are.

        Yields:
            The ticket of each round, trained and evaluated.

        Raises:
            ValueError: what :meth:`supports` raises, or ``after`` comes from other data, settings or another model.
            TrainingDiverged: a training broke down; rounds yielded before stand.
        """
        self.supports(model, data)
        here = self._start(model, data) if after is None else self._resume(model, data, after)
        while here.round < self.num_rounds:
            ticket, here = self._round(here, fit)
            yield ticket

    # ------------------------------------------------------------------ the steps of a round

    def _start(self, model: nn.Module, data: GraphData) -> Position:
        full: dict[str, int] = {}
        splits = {}
        for split in SPLITS:
            graphs: PackedGraphs = getattr(data, split)
            full[split] = proper(graphs)
            splits[split] = graphs.with_graph(**{ORIGINAL_UNITS: original_units(graphs, self.protocol.rule)})
        masks = MaskSet.dense(model, self.selector)
        edges = PruneEdges((), self.protocol.rule)
        return Position(0, copy.deepcopy(model), masks, edges, data.with_splits(**splits), full, data.digest())

    def _resume(self, model: nn.Module, data: GraphData, after: Ticket) -> Position:
        here = self._start(after.rewound(model), data)
        after.check(method=self.name, settings=self.settings(), data_digest=here.digest)
        here.model.load_state_dict(after.rewind)
        for stage in after.edges.stages:
            here = self._prune_edges(here, stage)
        return replace(here, round=after.round, masks=after.masks, last=dict(after.last))

    def _round(self, here: Position, fit: Fit) -> tuple[Ticket, Position]:
        started = time.perf_counter()
        number = here.round + 1
        found = self.search(here, fit)
        if found.scores is not None:
            density = (1 - self.weight_rate) ** number
            masks = here.masks.tighten(found.scores, density, scope=self.scope, layer_floor=self.layer_floor)
            here = replace(here, masks=masks)
        if found.scorer is not None or found.known is not None:
            left = self.edge_density(number)
            stage = Stage(found.scorer, self.edge_rate, left, known=found.known, graphs=here.graphs)
            here = self._prune_edges(here, stage)
        job = here.job(here.rewound(), here.masks, "ticket", self.protocol.select)
        if self.degree_features == "recomputed":
            splits = {split: job.data.recompute_degrees(getattr(job.data, split)) for split in SPLITS}
            job = replace(job, data=job.data.with_splits(**splits))
        result = job.run(fit)
        here.masks.verify(job.model)
        ticket = self._ticket(here, result, found, time.perf_counter() - started)
        return ticket, replace(here, round=number, last=result.last)

    def edge_density(self, number: int) -> float:
        """Share of the original edges left behind a round."""
        return float((1 - self.edge_rate) ** number)

    def _prune_edges(self, here: Position, stage: Stage) -> Position:
        """Prune all splits by one more stage; the training graphs come first, a global budget is counted there."""
        rule, splits = self.protocol.rule, dict[str, PackedGraphs]()
        stage = replace(stage, threshold=None)  # of a finished round: ties are to be counted out again, as they were
        for split in SPLITS:
            graphs: PackedGraphs = getattr(here.data, split)
            # The splits of a transductive set are one graph, of which a threshold alone would keep other ties.
            if not (splits and here.data.transductive):
                numbers, original = graphs.edge.get(EDGE_UNIT), graphs.graph[ORIGINAL_UNITS]
                keep, lowest = stage_keep(in_chunks(graphs, rule), numbers, graphs.num_edges, stage, rule, original)
                stage = replace(stage, threshold=lowest)
            splits[split] = graphs.keep_edges(keep)
        edges = PruneEdges((*here.edges.stages, stage), rule)
        return replace(here, edges=edges, data=here.data.with_splits(**splits))

    def _ticket(self, here: Position, result: FitResult, found: Found, seconds: float) -> Ticket:
        data, masks = here.data, here.masks
        total = sum(parameter.numel() for parameter in here.model.parameters())
        left = {split: proper(getattr(data, split)) for split in SPLITS}
        row = {
            "method": self.name,
            "data": data.name,
            "model": type(here.model).__name__,
            "protocol": self.label,
            "seed": self.seed,
            "round": here.round + 1,
            **{
                f"edge_sparsity_{split}": 1 - left[split] / here.full[split] if here.full[split] else 0.0
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
            "epochs_trained": len(found.history) + len(result.history),
            "epochs_search": len(found.history),
            **_of_unseen(here.edges),
            "seconds": seconds,
            "collapsed": list(masks.collapsed),
        }
        history = [{"phase": "search", **entry} for entry in found.history]
        history += [{"phase": "ticket", **entry} for entry in result.history]
        return Ticket(
            method=self.name,
            round=here.round + 1,
            masks=masks,
            edges=here.edges,
            rewind=snapshot(here.model),
            trained=result.best,
            last=result.last,
            row=row,
            history=tuple(history),
            provenance=self.provenance(here),
        )

    # ------------------------------------------------------------------ what a ticket says of its origin

    @property
    def label(self) -> str:
        """The protocol as every output names it."""
        return self.protocol.label + (", degrees recomputed" if self.degree_features == "recomputed" else "")

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data."""
        settings: dict[str, Any] = {}
        for item in attrs.fields(type(self)):
            value = getattr(self, item.name)
            plain = value is None or isinstance(value, (bool, int, float, str))
            settings[item.alias] = value if plain else asdict(value) if isinstance(value, Protocol) else repr(value)
        return settings

    def provenance(self, here: Position) -> dict[str, Any]:
        """Where a ticket comes from."""
        config = getattr(here.model, "config", None)
        return {
            "settings": self.settings(),
            "model": {
                "class": f"{type(here.model).__module__}.{type(here.model).__qualname__}",
                "config": config() if callable(config) else None,
            },
            "data": {**here.data.provenance, "name": here.data.name, "digest": here.digest},
            "versions": {
                "python": platform.python_version(),
                "graphprune": __version__,
                **{name: version(name) for name in ("torch", "torch-geometric")},
            },
        }

    def replace(self, **changes: Any) -> Self:
        """A copy with other hyper-parameters."""
        return attrs.evolve(self, **changes)


def weights(state: Mapping[str, Tensor], masks: MaskSet, prefix: str = "") -> dict[str, Tensor]:
    """The prunable tensors of a state dict."""
    return {name: state[prefix + name] for name in masks}


def _of_unseen(edges: PruneEdges) -> dict[str, Any]:
    """How unseen graphs are pruned, and how many passes of a learnt scorer that takes."""
    scorers = [stage.scorer for stage in edges.stages]
    learnt = sum(scorer is not None and any(True for _ in scorer.parameters()) for scorer in scorers)
    if not scorers:
        rule = "none"
    elif scorers[-1] is None:
        rule = "dense"
    else:
        rule = "predictor" if learnt else "random" if isinstance(scorers[-1], RandomEdges) else "scorer"
    return {"unseen": rule, "predictor_passes": learnt}
