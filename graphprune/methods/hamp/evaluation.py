"""From points to objectives: judged in parallel, measured one at a time, each remembered; what a search has found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from graphprune.methods.core.prepare import EXAMPLES
from graphprune.methods.core.state import RunState
from graphprune.methods.hamp.journal import Found, Journal
from graphprune.methods.hamp.proxy import Meter, Point, Proxy, Reference, compacted
from graphprune.search import Archive, FloatArray, IntArray
from graphprune.ticket import Ticket


@dataclass(eq=False)
class Evaluator:
    """The objectives of points, the error first; what the journal has is not computed again.

    The executor (None: this process) judges as many points at once as there are workers.
    """

    proxy: Proxy
    meter: Meter
    journal: Journal
    executor: Executor | None
    workers: int
    cost_batch: int

    def __call__(self, points: IntArray) -> FloatArray:
        """``(n, genes)`` points to ``(n, objectives)``.

        Raises:
            ValueError: an error or a cost that is not finite, or a network that cannot be compacted; the text has the
                point.
        """
        every = [tuple(point) for point in points.tolist()]
        new = [point for point in every if point not in self.journal.known]
        if new and self._full not in self.journal.known:  # what all others are timed beside
            new = [self._full, *(point for point in new if point != self._full)]
        begun = time.perf_counter()
        for point, (error, small) in zip(new, self._judged(new), strict=True):
            reference = None if point == self._full else self.reference
            found = {"error": error, **self.meter(small, self._inputs(point), reference)}
            if wrong := [name for name, value in found.items() if not math.isfinite(value)]:
                raise ValueError(f"{wrong[0]} is {found[wrong[0]]} at {self.proxy.genes.space.named(point)}")
            now = time.perf_counter()
            self.journal.add(point, found | {"seconds": now - begun})
            begun = now
        names = ("error", *self.meter.objectives)
        return np.array([[self.journal.known[point][name] for name in names] for point in every])

    @property
    def _full(self) -> Point:
        return self.proxy.genes.full

    @cached_property
    def reference(self) -> Reference | None:
        """The network that keeps everything, and how long it took when it was evaluated."""
        seconds = self.journal.known[self._full].get("latency")
        if seconds is None:
            return None
        return Reference(self.proxy.judge([self._full])[0][1], self._inputs(self._full), seconds)

    def costs(self, network: nn.Module, point: Point) -> dict[str, float]:
        """What a trained network of a point costs, as those in the search were measured.

        Raises:
            TypeError, ValueError, RuntimeError: it cannot be compacted or run.
        """
        held_out = self.proxy.pruned(self.proxy.data.val, point)
        small = compacted(network.to(self.proxy.device), self.proxy.inputs(held_out, EXAMPLES))
        return self.meter(small, self._inputs(point), self.reference)

    def _inputs(self, point: Point) -> Any:
        return self.proxy.inputs(self.proxy.pruned(self.proxy.data.val, point), self.cost_batch)

    def _judged(self, points: Sequence[Point]) -> Iterator[tuple[float, nn.Module]]:
        if self.executor is None:
            for point in points:
                yield from self.proxy.judge([point])
            return
        # As many as there are workers, and all of them before the first is measured: nothing else is to run while the
        # clock does. They are in the journal before more are judged.
        for first in range(0, len(points), self.workers):
            found = list(self.executor.map(self.proxy.judge, [[one] for one in points[first : first + self.workers]]))
            yield from (judged for (judged,) in found)


@dataclass(frozen=True)
class Searched:
    """What a search has found.

    Attributes:
        archive: all evaluated points.
        chosen: places of those that become tickets.
    """

    dense: Ticket
    proxy: Proxy
    archive: Archive
    chosen: tuple[int, ...]
    evaluator: Evaluator

    @property
    def known(self) -> dict[Point, Found]:
        """What was measured of each point."""
        return self.evaluator.journal.known

    def point(self, number: int) -> Point:
        """The point of the ticket of a round."""
        return tuple(self.archive.x[self.chosen[number - 1]].tolist())

    def row(self, number: int) -> dict[str, Any]:
        """What a ticket's row says of its point and of the search."""
        point, genes = self.point(number), self.proxy.genes
        found = self.known[point]
        return {
            "point": list(point),
            "channels": genes.channels(point),
            "edges_kept": genes.density(point),
            "proxy_error": found["error"],
            "costs_in_search": {name: value for name, value in found.items() if name not in ("error", "seconds")},
            "evaluations": len(self.archive),
            "search_seconds": sum(self.known[tuple(each)]["seconds"] for each in self.archive.x.tolist()),
        }


@dataclass(frozen=True, kw_only=True)
class Searching(RunState):
    """A position that also has what the search has found, and the graphs before any pruning."""

    start: RunState
    searched: Searched | None = field(default=None, repr=False)
