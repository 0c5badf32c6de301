"""How many of the true edges tickets keep, on data sets that know them (``edge_truth``)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from graphprune.data import GraphData
from graphprune.report.records import TRUTH, Run
from graphprune.report.results import EDGES, Group, Stat
from graphprune.runs.trained import Trained


@dataclass(frozen=True)
class KeptTruth:
    """What the last tickets of a series keep of the test graphs, over its runs.

    Attributes:
        true: share of the true arcs.
        other: share of all other arcs.
    """

    true: Stat
    other: Stat


def kept_truth(group: Group) -> dict[str, KeptTruth]:
    """By label of the series that remove edges of test graphs; empty for data without known true edges.

    Raises:
        ValueError, OSError: tickets or data that cannot be read.
    """
    found: dict[str, KeptTruth] = {}
    loaded: dict[str, Any] = {}
    for series in group.series:
        if series.baseline or not series.removes(EDGES.column):
            continue
        shares = []
        for run in _last_runs(series.runs):
            trained = Trained.at(run.folder / f"round-{run.rows[-1]['round']}")
            key = json.dumps(trained.config.data if trained.config else None, default=str)
            data = loaded[key] = loaded.get(key) or trained.data({})
            if not isinstance(data, GraphData) or TRUTH not in data.test.edge:
                return {}
            truth = data.test.edge[TRUTH]
            keep = trained.ticket.edge_mask(data.test).keep
            shares.append((float(keep[truth].double().mean()), float(keep[~truth].double().mean())))
        found[series.label] = KeptTruth(*map(Stat.of, zip(*shares, strict=True)))
    return found


def _last_runs(runs: tuple[Run, ...]) -> list[Run]:
    """One run a repetition: that of the smallest density."""
    return list({run.repetition: run for run in runs}.values())
