"""What the runs of a report have in common, what they were computed with, and how they were configured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphprune.report.records import IGNORED, PLACE, REPEATED, Run, parts
from graphprune.report.results import Group, Series


def facts(group: Group) -> Iterator[tuple[str, str]]:
    """What holds for all runs of a group."""
    runs = group.runs
    entries = [entry for run in runs for entry in run.provenance]
    yield "Metric", group.metric + ("" if group.higher_is_better else " (lower is better)")
    yield "Protocol", "; ".join(sorted({series.protocol for series in group.series}))
    yield "Seeds", _numbers(run.repetition[0] for run in runs)
    if group.folded:
        yield "Folds", _numbers(run.repetition[1] for run in runs)
    for title, name in (("Split", "split"), ("Source", "source")):
        if texts := sorted({str(part[name]) for part in parts(entries, "data") if name in part}):
            yield title, "; ".join(texts)
    for title, name in (("Graphs", "graphs"), ("Images", "images")):
        sizes = {
            ", ".join(f"{count:,} {split}" for split, count in part[name].items())
            for part in parts(entries, "data")
            if isinstance(part.get(name), Mapping)
        }
        if sizes:
            yield title, "; ".join(sorted(sizes))
    for title, section in (("Model", "model."), ("Training", "fit.")):
        if common := _common(runs, section):
            named = (str(value) if name == "name" else f"{name} {value}" for name, value in common.items())
            yield title, ", ".join(named)
    if texts := sorted({str(entry["weights"]) for entry in entries if "weights" in entry}):
        yield "Weights", "; ".join(texts)


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _common(runs: Sequence[Run], prefix: str) -> dict[str, Any]:
    """Options of a section on which all runs agree."""
    configs = [run.config for run in runs]
    return {
        name.removeprefix(prefix): value
        for name, value in configs[0].items()
        if name.startswith(prefix) and all(config.get(name) == value for config in configs)
    }


def configuration(series: Series) -> str:
    """The exact options of a series, a line each, as the dotted names of the command line."""
    configs = [run.config for run in series.runs]
    if not configs[0]:
        return "not recorded: there is no config.yaml beside the results"
    lines = []
    for name in configs[0]:
        if name != PLACE:
            values = dict.fromkeys(str(config.get(name)) for config in configs)
            several = name in (*REPEATED, *IGNORED) or len(values) > 1
            lines.append(f"{name}: {', '.join(values) if several else next(iter(values))}")
    return "\n".join(lines)


def origins(groups: Sequence[Group]) -> Iterator[tuple[str, list[str]]]:
    """What the runs were computed with: each fact once, with all its values."""
    runs = [run for group in groups for run in group.runs]
    entries = [entry for run in runs for entry in run.provenance]
    if not entries:
        yield "Provenance", ["not recorded: there is no provenance.json beside the results"]
        return
    yield "Machine", _every(map(_machine, parts(entries, "machine")))
    yield "Threads", _every(str(entry.get("threads")) for entry in entries)
    yield "Versions", _every(", ".join(f"{k} {v}" for k, v in part.items()) for part in parts(entries, "versions"))
    yield "Data", _every(f"{part['name']}: SHA-256 {part['digest']}" for part in parts(entries, "data"))
    yield "Started", _every([min(str(e.get("started")) for e in entries), max(str(e.get("started")) for e in entries)])
    yield "Commands", _every(" ".join(map(str, entry.get("command", []))) for entry in entries)
    # As seen from here: a report is passed on, and where this machine keeps its files is nobody's business.
    below = os.path.relpath(os.path.commonpath([run.folder for run in runs]))
    each = f"each of the {len(runs)} folders of runs below " if len(runs) > 1 else ""
    yield "Configurations", [f"config.yaml in {each}{below}"]


def _machine(entry: Mapping[str, Any]) -> str:
    gpu = f", {entry['gpu']}" if entry.get("gpu") else ""
    return f"{entry['processor']}, {entry['cpus']} CPUs{gpu}, {entry['system']}"


def _every(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
