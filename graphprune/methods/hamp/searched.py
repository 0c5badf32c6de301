"""What a search has found, and where a run that has searched stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphprune.methods.core.state import Position
from graphprune.methods.hamp.evaluation import Evaluator
from graphprune.methods.hamp.journal import Found
from graphprune.methods.hamp.proxy import Point, Proxy
from graphprune.search import Archive
from graphprune.ticket import Ticket


@dataclass(frozen=True)
class Searched:
    """What a search has found.

    Attributes:
        dense: the dense network.
        proxy: of a point's error.
        archive: all evaluated points.
        members: places of those that become tickets.
        evaluator: with what was measured of each point.
    """

    dense: Ticket
    proxy: Proxy
    archive: Archive
    members: tuple[int, ...]
    evaluator: Evaluator

    @property
    def known(self) -> dict[Point, Found]:
        """What was measured of each point."""
        return self.evaluator.journal.known

    def point(self, number: int) -> Point:
        """The point of the ticket of a round."""
        return tuple(self.archive.x[self.members[number - 1]].tolist())


@dataclass(frozen=True)
class Searching(Position):
    """A position that also has what the search has found, and the graphs before any pruning."""

    start: Position | None = None
    searched: Searched | None = field(default=None, repr=False)
