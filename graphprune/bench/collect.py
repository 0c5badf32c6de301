"""Runs read back from their folders, grouped by what they have in common, with means and spreads over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from graphprune.bench.files import read_json
from graphprune.bench.folder import CONFIG, PROVENANCE, RESULTS
from graphprune.bench.options import flat, read_yaml

NUMBERS = (
    "edge_sparsity_train",
    "edge_sparsity_test",
    "weight_sparsity",
    "params_kept",
    "params_total",
    "val_metric",
    "test_metric",
    "epochs_trained",
    "seconds",
)
NEEDED = frozenset({"method", "data", "model", "protocol", "seed", "round", "metric", "collapsed", *NUMBERS})
# Options that tell repetitions apart, and those that change nothing about what is compared.
REPEATED, IGNORED = ("seed", "data.fold"), ("data.root", "method.rounds")


@dataclass(frozen=True)
class Run:
    """One results file.

    Attributes:
        folder: where it lies.
        rows: one a round, NaN where the file has null.
        config: flat options, empty where there is no configuration beside it.
        provenance: entries of where and when it was computed.
    """

    folder: Path
    rows: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    provenance: tuple[Mapping[str, Any], ...]

    @property
    def repetition(self) -> tuple[Any, ...]:
        """Seed and fold."""
        return self.rows[0]["seed"], self.config.get("data.fold", 0)


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation of the finite values among ``count``."""

    mean: float
    sd: float
    count: int
    finite: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Stat:
        """Of any numbers; mean NaN without a finite one, sd NaN with fewer than two."""
        every = list(values)
        finite = [value for value in every if math.isfinite(value)]
        mean = fmean(finite) if finite else math.nan
        return cls(mean, stdev(finite) if len(finite) > 1 else math.nan, len(every), len(finite))


@dataclass(frozen=True)
class Point:
    """A round of a series, over its runs.

    Attributes:
        round: its number.
        values: statistics by column of the results; ``epochs_trained`` and ``seconds`` are summed up to the round.
        runs: number of runs that have finished it.
        collapsed: names of layers without weights, with the seed.
    """

    round: int
    values: Mapping[str, Stat]
    runs: int
    collapsed: tuple[str, ...]

    def __getitem__(self, column: str) -> Stat:
        return self.values[column]


@dataclass(frozen=True)
class Series:
    """Runs of one method that differ in seed and fold only.

    Attributes:
        label: the method, and the options in which it differs from other series of that method.
        method: its name.
        protocol: as the results have it.
        runs: the repetitions.
        points: one a round.
    """

    label: str
    method: str
    protocol: str
    runs: tuple[Run, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Group:
    """Series on one data set with one kind of model.

    Attributes:
        data: name of the data set.
        model: class of the model.
        metric: what is measured.
        series: baselines first.
    """

    data: str
    model: str
    metric: str
    series: tuple[Series, ...]

    def find(self, *methods: str) -> list[Series]:
        """The series of these methods."""
        return [series for series in self.series if series.method in methods]


SINGLE = ("dense", "no-edges", "small-dense")


def collect(folders: Sequence[Path]) -> tuple[Group, ...]:
    """Read every ``results.json`` in and below these folders.

    Raises:
        FileNotFoundError: there is none, or a folder is missing.
        ValueError: a file is damaged or has no results of runs; the text names it.
    """
    files: dict[Path, None] = {}
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"there is no folder {folder}")
        found = sorted(folder.rglob(RESULTS))
        if not found:
            raise FileNotFoundError(f"{folder} holds no {RESULTS}: name the folder of a run, or one that holds runs")
        files |= dict.fromkeys(file.resolve() for file in found)
    runs = [run for run in map(read_run, files) if run.rows]
    if not runs:
        raise ValueError(f"no run in {', '.join(map(str, folders))} has finished a round yet")
    groups = _split(runs, lambda run: (run.rows[0]["data"], run.rows[0]["model"], run.rows[0]["metric"]))
    return tuple(
        Group(data, model, metric, _series(members)) for (data, model, metric), members in sorted(groups.items())
    )


def read_run(file: Path) -> Run:
    """One results file with what lies beside it.

    Raises:
        ValueError: it is damaged or holds something else.
    """
    rows = read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= NEEDED for row in rows):
        raise ValueError(f"{file} is no list of rows with the columns {', '.join(sorted(NEEDED))}")
    config, provenance = file.with_name(CONFIG), file.with_name(PROVENANCE)
    return Run(
        file.parent,
        tuple({name: math.nan if value is None else value for name, value in row.items()} for row in rows),
        flat(read_yaml(config)) if config.exists() else {},
        tuple(read_json(provenance)) if provenance.exists() else (),
    )


def _split(runs: Iterable[Run], key: Callable[[Run], Any]) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _series(runs: list[Run]) -> tuple[Series, ...]:
    def identity(run: Run) -> str:
        options = {name: value for name, value in run.config.items() if name not in (*REPEATED, *IGNORED)}
        return json.dumps([run.rows[0]["method"], run.rows[0]["protocol"], options], sort_keys=True, default=str)

    alike = _split(runs, identity)
    made = []
    for members in alike.values():
        first = members[0].rows[0]
        rivals = [other[0] for other in alike.values() if other[0].rows[0]["method"] == first["method"]]
        ordered = tuple(sorted(members, key=lambda run: run.repetition))
        for one, other in pairwise(ordered):
            if one.repetition == other.repetition:
                raise ValueError(f"{one.folder} and {other.folder} hold the same run: leave one of them out")
        made.append(Series(_label(members[0], rivals), first["method"], first["protocol"], ordered, _points(ordered)))
    return tuple(sorted(made, key=lambda series: (_rank(series.method), series.label)))


def _rank(method: str) -> int:
    return SINGLE.index(method) if method in SINGLE else len(SINGLE)


def _label(run: Run, rivals: Sequence[Run]) -> str:
    names = sorted({name for rival in rivals for name in rival.config} - {*REPEATED, *IGNORED})
    differ = [name for name in names if len({str(rival.config.get(name)) for rival in rivals}) > 1]
    told = [f"{name.rpartition('.')[2]}={run.config.get(name)}" for name in differ]
    if len({rival.rows[0]["protocol"] for rival in rivals}) > 1 and not any("protocol" in name for name in differ):
        told.append(run.rows[0]["protocol"])
    return f"{run.rows[0]['method']} ({', '.join(told)})" if told else str(run.rows[0]["method"])


def _points(runs: Sequence[Run]) -> tuple[Point, ...]:
    points = []
    for number in sorted({row["round"] for run in runs for row in run.rows}):
        reached = [run for run in runs if any(row["round"] == number for row in run.rows)]
        rows = [next(row for row in run.rows if row["round"] == number) for run in reached]
        values = {name: Stat.of(float(row[name]) for row in rows) for name in NUMBERS}
        for name in ("epochs_trained", "seconds"):
            values[name] = Stat.of(sum(row[name] for row in run.rows if row["round"] <= number) for run in reached)
        collapsed = tuple(f"seed {row['seed']}: {', '.join(row['collapsed'])}" for row in rows if row["collapsed"])
        points.append(Point(number, values, len(rows), collapsed))
    return tuple(points)
