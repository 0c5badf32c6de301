"""A ticket on the disk and the data that it was trained on: what all commands that take one share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from graphprune.data import GraphData, ImageData, load
from graphprune.methods.core.protocol import PAPER
from graphprune.runs.config import RunConfig
from graphprune.runs.folder import CONFIG, RunFolder
from graphprune.runs.identity import OBJECT
from graphprune.ticket import Ticket


@dataclass(frozen=True)
class Trained:
    """A ticket and the run that it is from.

    Attributes:
        ticket: the ticket.
        folder: of its round.
        config: of the run whose folder it lies in; None outside of one.
    """

    ticket: Ticket
    folder: Path
    config: RunConfig | None

    @classmethod
    def at(cls, path: Path | str) -> Self:
        """The ticket of a finished round's folder, or the last one of a run's folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: a run that has finished no round, or a damaged file.
        """
        folder = run = Path(path)
        if (run / CONFIG).exists():
            if not (last := RunFolder(run).finished):
                raise ValueError(f"{run} has no finished round: run it first")
            folder = RunFolder(run).round(last)
        else:
            run = folder.resolve().parent
        config = RunConfig.load(run / CONFIG) if (run / CONFIG).exists() else None
        return cls(Ticket.load(folder), folder, config)

    def data(self, given: Mapping[str, Any]) -> GraphData | ImageData:
        """The data that the ticket was trained on.

        Args:
            given: options of :func:`graphprune.data.load`. Those of the run hold where they are not given; outside of a
                run's folder a name is needed.

        Raises:
            ValueError: other data than the ticket's (the text says in what they differ), or no name.
            FileNotFoundError: no such data.
        """
        data = self._loaded(given)
        try:
            # A protocol that selects on the test graphs trains on those that validate; old tickets did not.
            self.ticket.check_data(data, PAPER.splits(data).digest())
        except ValueError as error:
            raise ValueError(
                f"{self.folder}: {error}: give the options that the ticket's data had, such as --data-fold, "
                "--data-features or --data-root"
            ) from None
        return data

    def any_data(self, given: Mapping[str, Any]) -> GraphData | ImageData:
        """The same, or any other data that are asked for: a set of another name, or other options than the run's."""
        own = self._recorded.get("name")
        other = given.get("name", own) != own or bool(given.keys() - {"name", "root"})
        return self._loaded(given) if other else self.data(given)

    def _loaded(self, given: Mapping[str, Any]) -> GraphData | ImageData:
        own = {} if self.config is None else self.config.data
        if OBJECT in own and "name" not in given:
            raise ValueError(
                f"{self.folder} was trained on {own['name']}, an object from Python ({own[OBJECT]}): prune it there by "
                "Ticket.edge_mask(graphs), or name another data set"
            )
        name = given.get("name", own.get("name"))
        if name is None:
            raise ValueError(
                f"{self.folder} lies in no run's folder, whose {CONFIG} would say what it was trained on: give --data "
                f"{self._recorded.get('name')} and the options that the data had"
            )
        return load(**{**(own if name == own.get("name") else {}), **given})

    @property
    def _recorded(self) -> Mapping[str, Any]:
        found = self.ticket.provenance.get("data")
        return found if isinstance(found, Mapping) else {}
