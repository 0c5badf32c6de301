"""HAMP-style: a memetic search over channels for what hardware really costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs
import torch
from torch import nn

from graphprune.data import GraphData
from graphprune.graphs.sparsifiers import EdgeScore, scorer_of
from graphprune.masks.parameters import world_size
from graphprune.measure.machine import check_device, clock
from graphprune.methods.core.fit import AnyData, Fit, FitResult, derive_seed
from graphprune.methods.core.iterative import count
from graphprune.methods.core.method import Epochs, Method
from graphprune.methods.core.norms import kept_norms
from graphprune.methods.core.state import Position, proper
from graphprune.methods.hamp import options
from graphprune.methods.hamp.choice import spread
from graphprune.methods.hamp.evaluation import Evaluator
from graphprune.methods.hamp.genes import Genes
from graphprune.methods.hamp.journal import JOURNAL, Journal, check_start
from graphprune.methods.hamp.proxy import BATCH, EXAMPLES, Meter, Objective, Proxy, compacted
from graphprune.methods.hamp.samples import drawn, split
from graphprune.methods.hamp.searched import Searched, Searching
from graphprune.methods.hamp.searches import fewest, find
from graphprune.methods.sparsifier import edge_score
from graphprune.ticket import Ticket


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
        executor: judges points in place of own processes, in as many parts as ``workers`` says.

    Raises:
        ValueError: bad options; (in `rounds`) a device that is not there, fewer than two numbers to search, a model
            that cannot be compacted, errors that are no numbers, or a journal of another search.
        ImportError: (in `rounds`) pymoo is missing.
    """

    budget: int = attrs.field(default=200, validator=count)
    population: int = attrs.field(default=20, validator=count)
    objectives: tuple[Objective, ...] = attrs.field(
        default=("latency",), converter=options.names, validator=options.costs
    )
    members: int = attrs.field(default=5, validator=count)
    step: float = attrs.field(default=0.1, validator=options.step_size)
    edge_score: EdgeScore | None = attrs.field(default=None, validator=attrs.validators.optional(edge_score))
    search: options.Search = attrs.field(default="memetic", validator=options.word)
    portfolio: bool = attrs.field(default=True, validator=options.kind)
    surrogate: bool = attrs.field(default=True, validator=options.kind)
    holdout: float = attrs.field(default=0.1, validator=options.part)
    batches: int = attrs.field(default=20, validator=count)
    cost_batch: int = attrs.field(default=32, validator=count)
    repeats: int = attrs.field(default=50, validator=count)
    threads: int = attrs.field(default=1, validator=count)
    device: str = attrs.field(default="cpu", validator=options.kind)
    workers: int = attrs.field(default=1, validator=count)
    journal: Path | None = attrs.field(default=None, converter=attrs.converters.optional(options.folder))
    executor: Executor | None = attrs.field(default=None, validator=options.kind, eq=False, repr=False)

    name: ClassVar[str] = "hamp"

    def __attrs_post_init__(self) -> None:
        options.check_seed(self.seed)
        options.check_sizes(self.search, self.budget, self.population, self.members)

    @property
    def last_round(self) -> int:
        """``members``."""
        return self.members

    @property
    def prunes_weights(self) -> bool:
        """Always."""
        return True

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
        """Raise, with the reason, where the method cannot search.

        Raises:
            ValueError: as `HAMP`; also labels of nodes, edges to search where there are none, one budget of edges for
        all graphs, or a held-out part on which the metric is not defined.
            ImportError: pymoo is missing.
        """
        super().supports(model, data)
        if isinstance(data, GraphData) and data.level == "node":
            raise ValueError(f"{data.name} has labels of nodes: {self.name} holds out whole graphs or images")
        if self.edge_score is not None and not proper(data.train):
            raise ValueError(f"{data.name} has no edges to prune in its training split; leave out edge_score")
        if self.edge_score is not None and self.protocol.rule.budget == "global":
            raise ValueError(
                f"{self.name} keeps a share of each graph's edges: it needs a protocol with budget='graph'"
            )
        check_device(self.device)
        options.check_pymoo(self.search)
        held_out, _ = split(data, self.holdout, self.seed)
        labels = data.labels(held_out)
        data.evaluate(labels, torch.zeros(len(labels), data.num_outputs), split="held-out")
        genes = self._genes(model, data)
        if (sure := fewest(self.search, genes.space, self.budget)) < self.members:
            raise ValueError(f"search={self.search!r} may find only {sure} points, fewer than members={self.members}")

    def prune(self, here: Position, fit: Fit) -> tuple[Position, Epochs]:
        """Search, in the first round; then the network of the round's point, before its training."""
        assert isinstance(here, Searching) and here.start is not None
        epochs: Epochs = ()
        if here.searched is None:
            here = replace(here, searched=self._search(here.start, fit))
            epochs = here.searched.dense.history if here.searched and not here.round else ()
        searched, start = here.searched, here.start
        assert searched is not None and start is not None
        proxy, point = searched.proxy, searched.point(here.round + 1)
        network, masks = proxy.network(point)
        edges = proxy.genes.edges(point, proxy.scorer, proxy.rule)
        data = start.data
        if edges.stages:
            data = data.with_splits(**{split: edges.prune(graphs) for split, graphs in data.splits.items()})
        return replace(here, model=network.to("cpu"), masks=masks, edges=edges, data=data), epochs

    # ------------------------------------------------------------------ the search

    def explore(self, model: nn.Module, data: AnyData, fit: Fit) -> Searched:
        """Train the dense network and search; no tickets are trained.

        Args:
            model: see `rounds`.
            data: see `rounds`.
            fit: trains the dense network.

        Raises:
            ValueError, TrainingDiverged: as `rounds`.
        """
        self.supports(model, data)
        return self._search(self._start(model, data), fit)

    def _start(self, model: nn.Module, data: AnyData) -> Position:
        if world_size() > 1:
            raise RuntimeError(f"{self.name} searches in one process: use workers, not torchrun")
        here = super()._start(model, data)
        return Searching(**vars(here), start=here)

    def _resume(self, model: nn.Module, data: AnyData, after: Ticket) -> Position:
        if self.journal is None:
            raise ValueError(f"{self.name} goes on behind a ticket only with the journal of its search")
        here = self._start(model, data)
        after.check(method=self.name, settings=self.settings(), data_digest=here.digest)
        return replace(here, round=after.round)

    def _search(self, start: Position, fit: Fit) -> Searched:
        journal, begun = Journal(self.journal), time.perf_counter()
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
            evaluator = Evaluator(proxy, self._meter(), journal, executor, self.workers, self.cost_batch)
            archive = find(
                self.search,
                evaluator,
                genes.space,
                budget=self.budget,
                population=self.population,
                portfolio=self.portfolio,
                surrogate=self.surrogate,
                seed=derive_seed(self.seed, "search") % 2**32,
            )
        members = tuple(spread(archive.f, self.members))
        return Searched(dense, proxy, archive, members, evaluator)

    def _dense(self, start: Position, genes: Genes, fit: Fit, begun: float) -> Ticket:
        """The dense network as a ticket of round 0."""
        data = start.data.with_splits(train=split(start.data, self.holdout, self.seed)[1])
        here = replace(start, round=-1, data=data, masks=genes.dense)
        job = here.job(here.rewound(), here.masks, "dense", self.protocol.select)
        result = job.run(fit)
        ticket = super()._ticket(here, result, (), time.perf_counter() - begun)
        origin = {**ticket.provenance, "settings": self._decisive()}
        return replace(ticket, history=tuple(result.history), provenance=origin)

    def _decisive(self) -> dict[str, Any]:
        """The settings that decide over the dense network and the evaluation of a point."""
        how = ("members", "budget", "population", "search", "portfolio", "surrogate")
        return {name: value for name, value in self.settings().items() if name not in how}

    def _genes(self, model: nn.Module, data: AnyData) -> Genes:
        batch = data.train.batch(range(min(EXAMPLES, len(data.train))))
        example = batch if isinstance(data, GraphData) else batch.x
        return Genes.of(model, example, self.selector, self.step, edges=self.edge_score is not None)

    def _proxy(self, dense: Ticket, start: Position, genes: Genes) -> Proxy:
        model, (held_out, rest) = dense.build(start.model), split(start.data, self.holdout, self.seed)
        rule, seed = self.protocol.rule, derive_seed(self.seed, "edges")
        return Proxy(
            model.to(self.device),
            genes,
            start.data.with_splits(train=held_out, val=held_out, test=held_out),
            drawn(rest, self.batches * BATCH, self.seed),
            rule,
            None if self.edge_score is None else scorer_of(self.edge_score, seed, rule.unit),
            self.threads,
            self.device,
            kept_norms(dense.rewind, model),
        )

    def _meter(self) -> Meter:
        return Meter(self.objectives, self.threads, self.repeats)

    @contextmanager
    def _judges(self) -> Iterator[Executor | None]:
        if self.executor is not None or self.workers == 1:
            yield self.executor
            return
        with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as executor:
            yield executor

    # ------------------------------------------------------------------ tickets

    def _ticket(self, here: Position, result: FitResult, search: Epochs, seconds: float) -> Ticket:
        ticket = super()._ticket(here, result, search, seconds)
        assert isinstance(here, Searching) and here.searched is not None and here.start is not None
        searched = here.searched
        proxy, point = searched.proxy, searched.point(here.round + 1)
        held_out = proxy.pruned(proxy.data.val, point)
        try:
            small = compacted(ticket.build(here.model).to(self.device), proxy.inputs(held_out, EXAMPLES))
            batch = proxy.inputs(held_out, self.cost_batch)
            costs: dict[str, Any] = {"costs": self._meter()(small, batch, searched.evaluator.reference)}
        except (TypeError, ValueError, RuntimeError) as error:  # the network is trained, and worth keeping
            costs = {"costs": None, "costs_missing": str(error)}
        before = searched.known[point]
        found = {
            "point": list(point),
            "channels": proxy.genes.channels(point),
            "edges_kept": proxy.genes.density(point),
            "proxy_error": before["error"],
            **costs,
            "costs_in_search": {name: value for name, value in before.items() if name not in ("error", "seconds")},
            "cost_batch": self.cost_batch,
            "threads": self.threads,
            "device": self.device,
            "evaluations": len(searched.archive),
            "search_seconds": sum(searched.known[tuple(each)]["seconds"] for each in searched.archive.x.tolist()),
        }
        return replace(ticket, row=ticket.row | found)
