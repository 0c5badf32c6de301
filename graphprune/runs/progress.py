"""How a run shows itself: live bars in a terminal, one line a round everywhere else."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from graphprune.runs.build import last_round
from graphprune.runs.config import RunConfig
from graphprune.runs.run import Watch
from graphprune.ticket import Ticket


class Lines(Watch):
    """One line a round on stdout; notices on stderr."""

    def started(self, config: RunConfig, finished: int) -> None:
        """Say what goes on after finished rounds."""
        if finished:
            self.notice(f"{config.title}: {finished} finished rounds found")

    def ticket(self, ticket: Ticket) -> None:
        """The ticket's summary."""
        print(ticket.summary(), flush=True)

    def notice(self, text: str) -> None:
        """The text."""
        print(text, file=sys.stderr, flush=True)


class Bars(Lines):
    """Bars of rounds and epochs on stderr, with the current sparsities and metric."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rounds = progress.add_task("rounds", total=None, text="")
        self._epochs = progress.add_task("epochs", total=None, text="")

    def started(self, config: RunConfig, finished: int) -> None:
        """Set the lengths of the bars."""
        self._progress.update(self._rounds, total=last_round(config), completed=finished, text=config.title)
        self._progress.update(self._epochs, total=config.fit.get("epochs"))

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Move the bar of the running training."""
        text = f"round {entry['round']}, {entry['phase']}: {validation(entry)}loss {entry.get('loss', math.nan):.4f}"
        self._progress.update(self._epochs, completed=entry["epoch"], text=text)

    def ticket(self, ticket: Ticket) -> None:
        """Move the bar of the rounds; the summary goes above the bars, or where stdout is sent."""
        row = ticket.row
        text = (
            f"edges removed {row['edge_sparsity_train']:.1%}, weights removed {row['weight_sparsity']:.1%}, "
            f"test {row['metric']} {row['test_metric']:.4f}"
        )
        self._progress.update(self._rounds, completed=ticket.round, text=text)
        if sys.stdout.isatty():
            self.notice(ticket.summary())
        else:
            super().ticket(ticket)

    def notice(self, text: str) -> None:
        """The text above the bars."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def watching() -> Iterator[Watch]:
    """Bars if stderr is a terminal, else lines."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    with bars() as progress:
        yield Bars(progress)


def bars() -> Progress:
    """Bars on stderr with a text that each task updates."""
    whole, cut = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(
        TextColumn("{task.description}", table_column=whole),
        BarColumn(bar_width=12, table_column=whole),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        TextColumn("{task.fields[text]}", table_column=cut),
        console=Console(stderr=True),
        redirect_stdout=False,
        expand=True,
    )


def validation(entry: Mapping[str, Any]) -> str:
    """An epoch's validation metric, if it has one, and a comma."""
    value = entry["val_metric"]
    return "" if value is None or math.isnan(value) else f"val {value:.4f}, "
