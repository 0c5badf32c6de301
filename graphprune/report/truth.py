"""How many of the true edges tickets keep, on data sets that know them (``edge_truth``)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from graphprune.data import GraphData, ImageData
from graphprune.report.records import TRUTH, Run
from graphprune.report.results import EDGES, Group, Stat
from graphprune.runs.trained import Trained
from graphprune.ticket import Ticket


@dataclass(frozen=True)
class KeptTruth:
    """What the last tickets of a series keep of the test graphs, over its runs.

    Attributes:
        true: share of the true arcs.
        other: share of all other arcs.
    """

    true: Stat
    other: Stat


class Opened:
    """Tickets of runs with their data, which are loaded once for all runs that have the same."""

    def __init__(self) -> None:
        self._data: dict[str, GraphData | ImageData] = {}

    def last(self, run: Run) -> tuple[Ticket, GraphData | ImageData]:
        """The last ticket of a run, and the data that it was trained on.

        Raises:
            ValueError, OSError: tickets or data that cannot be read.
        """
        found = trained(run, run.rows[-1]["round"])
        key = json.dumps(found.config.data if found.config else None, default=str)
        if key not in self._data:
            self._data[key] = found.data({})
        return found.ticket, self._data[key]


def trained(run: Run, number: int) -> Trained:
    """A round of a run."""
    # As seen from here: errors end up in the report, and where this machine keeps its files is nobody's business.
    return Trained.at(os.path.relpath(run.folder / f"round-{number}"))


def kept_truth(group: Group, opened: Opened) -> dict[str, KeptTruth]:
    """By label of the series that remove edges of test graphs; empty for data without known true edges.

    Raises:
        ValueError, OSError: tickets or data that cannot be read.
    """
    found: dict[str, KeptTruth] = {}
    for series in group.series:
        if series.baseline or not series.removes(EDGES.column):
            continue
        shares = []
        for run in _last_runs(series.runs):
            ticket, data = opened.last(run)
            if not isinstance(data, GraphData) or TRUTH not in data.test.edge:
                return {}
            truth = data.test.edge[TRUTH]
            keep = ticket.edge_mask(data.test).keep
            shares.append((float(keep[truth].double().mean()), float(keep[~truth].double().mean())))
        found[series.label] = KeptTruth(*map(Stat.of, zip(*shares, strict=True)))
    return found


def _last_runs(runs: tuple[Run, ...]) -> list[Run]:
    """One run a repetition: that of the smallest density."""
    return list({run.repetition: run for run in runs}.values())
