"""Runs grouped by what they have in common, and called by what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphprune.report.records import ADDED, NUMBERS, Run, read_runs
from graphprune.report.results import BASELINES, Group, Point, Repetition, Series, Stat

COLUMNS = (*NUMBERS, *(name for name, value in ADDED.items() if value != ""))
SUMMED = ("epochs_trained", "epochs_search", "seconds", "cpu_seconds")
RATES = ("method.edge_rate", "method.weight_rate")
PROTOCOL = "method.protocol"  # the results have better words for it
# Of a method that was given as an object: what it is called says it all.
OBJECT = ("method.name", "method.object", "method.source")


def collect(folders: Sequence[Path], left_out: Collection[Path] = ()) -> tuple[Group, ...]:
    """Read every ``results.json`` in and below these folders, but for those in the folders ``left_out``.

    Raises:
        FileNotFoundError: there is none, or a folder is missing.
        ValueError: a file is damaged or has no results of runs, the same run is there twice, or different data go by
            one name; the text names the folders.
    """
    groups = _split(
        read_runs(folders, left_out),
        lambda run: (*(run.rows[0][name] for name in ("data", "model", "metric")), _key(run.setting)),
    )
    made = []
    for (data, model, metric, key), members in sorted(groups.items()):
        options, others = json.loads(key), [json.loads(other[3]) for other in groups if other[:2] == (data, model)]
        told = [_told(name, options) for name in _differing(others)]
        made.append(Group(_bracketed(f"{data}, {model}", told), metric, _series(members)))
    return tuple(made)


def _split(runs: Iterable[Run], key: Callable[[Run], Any]) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _key(content: Any) -> str:
    return json.dumps(content, sort_keys=True, default=str)


def _series(runs: list[Run]) -> tuple[Series, ...]:
    alike = _split(runs, lambda run: _key([run.rows[0]["method"], run.rows[0]["protocol"], run.options]))
    made = []
    for members in alike.values():
        first = members[0].rows[0]
        rivals = [other[0] for other in alike.values() if other[0].rows[0]["method"] == first["method"]]
        ordered = tuple(sorted(members, key=lambda run: (run.repetition, -(run.density or 0))))
        run = ordered[0]
        made.append(
            Series(
                _label(run, rivals),
                first["method"],
                run.method.role,
                first["protocol"],
                ordered,
                _points(ordered),
                _joint(run, rivals),
            )
        )
    return tuple(sorted(made, key=lambda series: (_rank(series), series.label)))


def _rank(series: Series) -> int:
    return BASELINES.index(series.role) if series.baseline else len(BASELINES)


def _points(runs: Sequence[Run]) -> tuple[Point, ...]:
    """One for each density and round that is there, the largest density first."""
    reached: dict[tuple[float, int], dict[Repetition, Run]] = {}
    for run in runs:
        for row in run.rows:
            there = reached.setdefault((-(run.density or 0), row["round"]), {})
            if other := there.get(run.repetition):
                raise ValueError(f"{other.folder} and {run.folder} hold the same run: leave one of them out")
            there[run.repetition] = run
    folded = len({run.repetition[1] for run in runs}) > 1
    points = []
    for place, ((_, number), there) in enumerate(sorted(reached.items()), start=1):
        density = next(iter(there.values())).density
        rows = {key: next(row for row in run.rows if row["round"] == number) for key, run in there.items()}
        values = {name: Stat.of(float(row[name]) for row in rows.values()) for name in COLUMNS}
        for name in SUMMED:
            values[name] = Stat.of(
                sum(row[name] for row in run.rows if row["round"] <= number) for run in there.values()
            )
        collapsed = tuple(
            f"seed {seed}{f', fold {fold}' * folded}: {', '.join(row['collapsed'])}"
            for (seed, fold), row in rows.items()
            if row["collapsed"]
        )
        points.append(Point(number if density is None else place, density, rows, values, collapsed))
    return tuple(points)


# ---------------------------------------------------------------------- names: what differs, and nothing else


def _label(run: Run, rivals: Sequence[Run], without: Sequence[str] = ()) -> str:
    """The method, its variant, and the options in which it differs from others of that method.

    Args:
        run: any run of the series.
        rivals: one run of each series of that method, this one included.
        without: options that are not told.
    """
    told = [run.variant] if run.variant else []
    for option in _differing([rival.options for rival in rivals if rival.variant == run.variant]):
        if option not in (*without, *OBJECT) and not option.startswith(PROTOCOL):
            told.append(_told(option, run.options))
    if len({rival.rows[0]["protocol"] for rival in rivals}) > 1:
        told.append(run.rows[0]["protocol"])
    return _bracketed(str(run.config["method.name"] if OBJECT[1] in run.config else run.rows[0]["method"]), told)


def _joint(run: Run, rivals: Sequence[Run]) -> str:
    """The grid of edge rates times weight rates that a run belongs to; empty if it belongs to none.

    In such a grid there are more pairs of rates than either rate has values.
    """

    def rest(other: Run) -> dict[str, Any]:
        return {name: value for name, value in other.options.items() if name not in RATES}

    pairs = {tuple(rival.config.get(rate) for rate in RATES) for rival in rivals if rest(rival) == rest(run)}
    edge, weight = ({pair[side] for pair in pairs} for side in (0, 1))
    whole = len(edge) > 1 and len(weight) > 1 and len(pairs) > max(len(edge), len(weight))
    return _label(run, rivals, without=RATES) if whole else ""


def _differing(others: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for other in others for name in other})
    return [name for name in names if len({str(other.get(name)) for other in others}) > 1]


def _told(option: str, options: Mapping[str, Any]) -> str:
    own = option.startswith("data.encodings")  # that a predictor may have, too, as options of its own
    return f"{option.partition('.')[2] if own else option.rpartition('.')[2]}={options.get(option)}"


def _bracketed(name: str, told: Sequence[str]) -> str:
    return f"{name} ({', '.join(told)})" if told else name
