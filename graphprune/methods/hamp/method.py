"""HAMP-style: a memetic search over channels for what hardware really costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import attrs
import torch
from torch import nn

from graphprune.data import GraphData
from graphprune.graphs.sparsifiers import EdgeScore, scorer_of
from graphprune.masks.parameters import world_size
from graphprune.measure.latency import check_device, clock
from graphprune.methods.core import validators
from graphprune.methods.core.fit import AnyData, Fit, FitResult, Stopwatch, derive_seed
from graphprune.methods.core.method import Epochs, Method
from graphprune.methods.core.norms import kept_norms
from graphprune.methods.core.prepare import example
from graphprune.methods.core.state import RunState, count_prunable_arcs
from graphprune.methods.hamp.evaluation import Evaluator, Searched, Searching
from graphprune.methods.hamp.figures import figures
from graphprune.methods.hamp.genes import Genes
from graphprune.methods.hamp.journal import JOURNAL, Journal, check_start
from graphprune.methods.hamp.proxy import BATCH, Meter, Objective, Proxy, held_out, random_samples
from graphprune.methods.hamp.searches import EVOLVING, Search, diverse, fewest, find
from graphprune.processes import processes
from graphprune.ticket import Ticket


def _names(value: str | Iterable[Any]) -> tuple[Any, ...]:
    """Several names, or a string of them with commas between."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _folder(value: str | PathLike[str]) -> Path:
    """A path, or ValueError."""
    if not isinstance(value, str | PathLike):
        raise ValueError(f"journal must be a folder, got {value!r}")
    return Path(value)


_costs = validators.that(
    lambda value: value and set(value) <= {*get_args(Objective)} and len(set(value)) == len(value),
    f"must be different ones of {', '.join(get_args(Objective))}",
)
_device = validators.kind(str, "the name of a device")
_executor = attrs.validators.optional(validators.kind(Executor, "a concurrent.futures.Executor"))
_step = validators.number(
    lambda value: 0 < value <= 0.5 or (value >= 1 and value % 1 == 0),
    "must be a share of up to 0.5, or a whole number of channels",
)


@attrs.frozen(kw_only=True)
class HAMP(Method):
    """HAMP-style search for channels to keep, by error and by measured cost (after Hong et al., Fundam. Res. 2024).

    The dense network is trained on the training split but for a part that is held out. Then numbers of channels are
    searched: a point's network has the dense weights, the channels of largest mean absolute weight, batch norms counted
    again and no training; its error is that on what was held out, its costs are those of the compacted network. Points
    that are spread over the front of what was found become tickets: networks trained further, with their masks, on the
    whole training split. Of the method's publication only the abstract was at hand; all details are this package's own.

    Args:
        budget: points that are truly evaluated.
        population: of the evolutionary searches.
        objectives: what is minimised beside the error: ``"latency"`` (median seconds of a batch), ``"peak"`` (bytes of
            the network and of the tensors alive at one time), ``"params"``, ``"macs"`` (of a batch).
        members: tickets, ordered by the first of these, the most expensive first.
        step: what a number counts: a share of a group's channels, or so many channels.
        edge_score: also search the share of edges that graphs keep, by a score of :class:`Sparsifier`; None: they stay.
        search: ``"memetic"``, or what it is compared with: ``"nsga2"``, ``"random"``, ``"netadapt"`` or ``"uniform"``
            (one share for all layers).
        portfolio: several rules select survivors, by credit (memetic only).
        surrogate: a surrogate guides a local search (memetic only).
        holdout: share of the training split that judges points.
        batches: of 128 training samples that batch norms are counted on.
        cost_batch: samples of the batch whose costs are measured.
        repeats: timed passes of it.
        threads: of the CPU, for judging and timing.
        device: for judging and timing, such as ``"cpu"`` or ``"cuda"``.
        workers: processes that judge points; times are taken by this one alone, when no other works.
        journal: folder that keeps the dense network and every evaluation, so that a killed search goes on to the same
            front, and searches by other means need not evaluate a point again. A run's folder has one; None: nothing is
            kept.
        executor: judges points in place of own processes, as many at once as ``workers`` says.

    Raises:
        ValueError: bad options; (in `rounds`) a device that is not there, fewer than two numbers to search, a model
            that cannot be compacted, errors that are no numbers, or a journal of another search.
        ImportError: (in `rounds`) a package of the extra `search` is missing.
    """

    budget: int = attrs.field(default=200, validator=validators.count)
    population: int = attrs.field(default=20, validator=validators.count)
    objectives: tuple[Objective, ...] = attrs.field(default=("latency",), converter=_names, validator=_costs)
    tickets: int = attrs.field(default=5, alias="members", validator=validators.count)
    step: float = attrs.field(default=0.1, validator=_step)
    edge_score: EdgeScore | None = attrs.field(default=None, validator=attrs.validators.optional(validators.edge_score))
    search: Search = attrs.field(default="memetic", validator=validators.one_of(*get_args(Search)))
    portfolio: bool = attrs.field(default=True, validator=validators.switch)
    surrogate: bool = attrs.field(default=True, validator=validators.switch)
    holdout: float = attrs.field(default=0.1, validator=validators.part)
    batches: int = attrs.field(default=20, validator=validators.count)
    cost_batch: int = attrs.field(default=32, validator=validators.count)
    repeats: int = attrs.field(default=50, validator=validators.count)
    threads: int = attrs.field(default=1, validator=validators.count)
    device: str = attrs.field(default="cpu", validator=_device)
    workers: int = attrs.field(default=1, validator=validators.count)
    journal: Path | None = attrs.field(default=None, converter=attrs.converters.optional(_folder))
    executor: Executor | None = attrs.field(default=None, validator=_executor, eq=False, repr=False)

    name: ClassVar[str] = "hamp"
    figures = staticmethod(figures)

    def __attrs_post_init__(self) -> None:
        if self.search in EVOLVING and self.population < 2:
            raise ValueError(f"population must be at least 2 for search={self.search!r}, got {self.population}")
        least = {"population": self.population if self.search in EVOLVING else 0, "members": self.tickets}
        if dear := [f"{name}={size}" for name, size in least.items() if size > self.budget]:
            raise ValueError(
                f"budget={self.budget} evaluations are fewer than {' and '.join(dear)}: raise it, or lower these"
            )

    @property
    def last_round(self) -> int:
        """``members``."""
        return self.tickets

    def within(self, folder: Path) -> Self:
        """The same with its journal in a run's folder."""
        return self.replace(journal=folder / JOURNAL) if self.journal is None else self

    def settings(self) -> dict[str, Any]:
        """All that decides over the results as plain data."""
        settings = super().settings()
        for name in ("journal", "executor", "workers"):
            del settings[name]
        return settings | {"objectives": ", ".join(self.objectives)}

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where the method cannot search, also labels of nodes, or a held-out part that the metric is not for."""
        super().supports(model, data)
        if isinstance(data, GraphData) and data.level == "node":
            raise ValueError(f"{data.name} has labels of nodes: {self.name} holds out whole graphs or images")
        if self.edge_score is not None and not count_prunable_arcs(data.train):
            raise ValueError(f"{data.name} has no edges to prune in its training split; leave out edge_score")
        if self.edge_score is not None and self.protocol.rule.budget == "global":
            raise ValueError(
                f"{self.name} keeps a share of each graph's edges: it needs a protocol with budget='graph'"
            )
        check_device(self.device)
        needed = ("moocore", "pymoo") if self.search in EVOLVING else ("moocore",)
        if missing := [name for name in needed if find_spec(name) is None]:
            text = f"search={self.search!r} needs {' and '.join(missing)}: pip install 'graphprune[search]'"
            raise ImportError(text)
        labels = data.labels(held_out(data, self.holdout, self.seed)[0])
        data.evaluate(labels, torch.zeros(len(labels), data.num_outputs), split="held-out")
        genes = self._genes(model, data)
        if (sure := fewest(self.search, genes.space, self.budget)) < self.tickets:
            raise ValueError(f"search={self.search!r} may find only {sure} points, fewer than members={self.tickets}")

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Search, in the first round; then the network of the round's point, before its training."""
        assert isinstance(state, Searching)
        searched = state.searched or self._search(state.start, fit, ended=state.round > 0)
        epochs = () if state.searched or state.round else searched.dense.history
        proxy, point = searched.proxy, searched.point(state.round + 1)
        network, masks = proxy.network(point)
        edges = proxy.genes.edges(point, proxy.scorer, proxy.rule)
        data = state.start.data
        if edges.rounds:
            data = data.with_splits(**{split: edges.prune(graphs) for split, graphs in data.splits.items()})
        edges = replace(state.edges, rounds=edges.rounds)
        state = replace(state, searched=searched, model=network.to("cpu"), masks=masks, edges=edges, data=data)
        return state, epochs

    # ------------------------------------------------------------------ the search

    def explore(self, model: nn.Module, data: AnyData, fit: Fit) -> Searched:
        """Train the dense network and search, as `rounds` does; no tickets are trained."""
        model = self.prepared(model, data)
        self.supports(model, data)
        return self._search(self._start(model, data), fit)

    def _start(self, model: nn.Module, data: AnyData) -> RunState:
        if world_size() > 1:
            raise RuntimeError(f"{self.name} searches in one process: use workers, not torchrun")
        state = super()._start(model, data)
        return Searching(**vars(state), start=state)

    def _resume(self, model: nn.Module, data: AnyData, after: Ticket) -> RunState:
        if self.journal is None:
            raise ValueError(f"{self.name} goes on after a ticket only with the journal of its search")
        state = self._start(model, data)
        after.check(method=self.name, settings=self.settings(), data_digest=state.digest)
        return replace(state, round=after.round)

    def _search(self, start: RunState, fit: Fit, *, ended: bool = False) -> Searched:
        journal = Journal(self.journal)
        with journal.held():
            return self._searched(journal, start, fit, ended)

    def _searched(self, journal: Journal, start: RunState, fit: Fit, ended: bool) -> Searched:
        begun = Stopwatch()
        genes = self._genes(start.model, start.data)
        dense = journal.dense()
        if dense is not None:
            dense.check(method=self.name, settings=self._decisive(), data_digest=start.digest)
            check_start(dense, start.model)
        journal.open(genes.genes, self.objectives, clock(self.device) if "latency" in self.objectives else {})
        dense = dense or self._dense(start, genes, fit, begun)
        journal.bind(dense)
        proxy = self._proxy(dense, start, genes)
        with self._judges() as executor:
            meter = Meter(self.objectives, self.threads, self.repeats)
            evaluator = Evaluator(proxy, meter, journal, executor, self.workers, self.cost_batch)
            archive = find(
                self.search,
                evaluator,
                genes.space,
                budget=self.budget,
                population=self.population,
                portfolio=self.portfolio,
                surrogate=self.surrogate,
                seed=derive_seed(self.seed, "search") % 2**32,
                found=list(journal.known) if ended else (),
            )
        return Searched(dense, proxy, archive, tuple(diverse(archive.f, self.tickets)), evaluator)

    def _dense(self, start: RunState, genes: Genes, fit: Fit, begun: Stopwatch) -> Ticket:
        """The dense network as a ticket of round 0."""
        data = start.data.with_splits(train=held_out(start.data, self.holdout, self.seed)[1])
        state = replace(start, round=-1, data=data, masks=genes.dense)
        result = self.job(state, state.rewound(), state.masks, "dense").run(fit)
        ticket = super()._ticket(state, result, (), begun)
        origin = {**ticket.provenance, "settings": self._decisive()}
        return replace(ticket, history=tuple(result.history), provenance=origin)

    def _decisive(self) -> dict[str, Any]:
        """The settings that decide over the dense network and the evaluation of a point."""
        how = ("members", "budget", "population", "search", "portfolio", "surrogate")
        return {name: value for name, value in self.settings().items() if name not in how}

    def _genes(self, model: nn.Module, data: AnyData) -> Genes:
        return Genes.of(model, example(data), self.selector, self.step, edges=self.edge_score is not None)

    def _proxy(self, dense: Ticket, start: RunState, genes: Genes) -> Proxy:
        model, (judged, rest) = dense.build(start.model), held_out(start.data, self.holdout, self.seed)
        rule, scorer = self.protocol.rule, None
        if self.edge_score is not None:
            scorer = scorer_of(self.edge_score, derive_seed(self.seed, "edges"), rule.unit)
        return Proxy(
            model.to(self.device),
            genes,
            start.data.with_splits(train=judged, val=judged, test=judged),
            random_samples(rest, self.batches * BATCH, self.seed),
            rule,
            scorer,
            self.threads,
            self.device,
            kept_norms(dense.rewind, model),
        )

    def _judges(self) -> AbstractContextManager[Executor | None]:
        if self.executor is not None or self.workers == 1:
            return nullcontext(self.executor)
        return processes(self.workers)

    def _ticket(self, state: RunState, result: FitResult, search: Epochs, started: Stopwatch) -> Ticket:
        ticket = super()._ticket(state, result, search, started)
        assert isinstance(state, Searching) and state.searched is not None
        searched, number = state.searched, state.round + 1
        try:
            costs: dict[str, Any] = {
                "costs": searched.evaluator.costs(ticket.build(state.model), searched.point(number))
            }
        except (TypeError, ValueError, RuntimeError) as error:  # the network is trained, and worth keeping
            costs = {"costs": None, "costs_missing": str(error)}
        how: dict[str, Any] = {"cost_batch": self.cost_batch, "threads": self.threads, "device": self.device}
        if self.executor is not None or self.workers > 1:  # which processor times nobody has read
            how["cpu_seconds"] = math.nan
        return replace(ticket, row=ticket.row | searched.row(number) | costs | how)
