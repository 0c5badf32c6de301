"""The report on any number of runs: Markdown, one self-contained page, and the figures."""

from __future__ import annotations

import base64
import importlib.util
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphprune.bench.collect import SINGLE, Group, Point, Run, Series, Stat, collect
from graphprune.bench.files import write_text, writing
from graphprune.bench.tables import text_table

HEAD = (
    "method",
    "round",
    "edges removed, train",
    "edges removed, test",
    "weights removed",
    "parameters",
    "val {metric}",
    "test {metric}",
    "runs",
    "epochs",
    "seconds",
)

# What labels of protocols that choose by the test metric hold.
LEAKING = ("selects on test", "select=test", "protocol=paper")


@dataclass(frozen=True)
class Written:
    """What a report consists of.

    Attributes:
        markdown: report.md.
        html: report.html.
        summary: the short tables as text.
    """

    markdown: Path
    html: Path
    summary: str


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        title: heading.
        caption: what is to be seen.
        file: the .png, relative to the report.
        data: the .png in base64.
    """

    title: str
    caption: str
    file: str
    data: str


@dataclass
class Chapter:
    """One data set and kind of model, as the templates print it."""

    title: str
    head: tuple[str, ...]
    short: list[list[str]]
    full: list[list[str]]
    facts: list[tuple[str, str]]
    leaks: list[str]
    collapsed: list[str]
    notes: list[str]
    pictures: list[Picture] = field(default_factory=list)


def needed() -> None:
    """Make sure that reports can be written.

    Raises:
        ImportError: the extra ``report`` is missing.
    """
    missing = [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"a report needs {' and '.join(missing)}: pip install 'graphprune[report]'")


def write_report(folders: Sequence[Path], out: Path) -> Written:
    """Read every run in these folders and write the report.

    Args:
        folders: runs, or folders that hold any number of runs.
        out: gets report.md, report.html and figures/.

    Raises:
        FileNotFoundError: no results there.
        ValueError: damaged results.
        ImportError: matplotlib or jinja2 is missing.
    """
    needed()
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    groups = collect(folders)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        chapters = [_chapter(group, out, number) for number, group in enumerate(groups, start=1)]
    environment = Environment(
        loader=PackageLoader("graphprune.bench", "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["table"] = lambda rows, head: text_table(head, rows, numbers=True, markdown=True)
    environment.tests["leaking"] = _selects_on_test
    content = {"chapters": chapters, "origins": list(_origins(groups))}
    for name in ("report.md", "report.html"):
        write_text(out / name, environment.get_template(f"{name}.j2").render(content))
    summary = "\n\n".join(
        f"{chapter.title}\n{text_table(chapter.head, chapter.short, numbers=True)}" for chapter in chapters
    )
    return Written(out / "report.md", out / "report.html", summary)


# ---------------------------------------------------------------------- a chapter


def _chapter(group: Group, out: Path, number: int) -> Chapter:
    from graphprune.bench import illustrate
    from graphprune.bench.figures import METRIC, save

    metric = METRIC.get(group.metric, group.metric)
    full = [_row(series, point) for series in group.series for point in series.points]
    pictures = []
    figures, notes = illustrate.figures(group)
    for name, title, caption, figure in figures:
        png = save(figure, out / "figures" / (name if number == 1 else f"{name}-{number}"))
        pictures.append(_picture(title, caption, png, out))
    return Chapter(
        title=f"{group.data}, {group.model}",
        head=tuple(name.format(metric=metric) for name in HEAD),
        short=[_row(series, series.points[-1]) for series in group.series],
        full=full,
        facts=list(_facts(group)),
        leaks=[series.label for series in group.series if _selects_on_test(series.protocol)],
        collapsed=[
            f"{series.label}, round {point.round}, {text}"
            for series in group.series
            for point in series.points
            for text in point.collapsed
        ],
        notes=[*_unfinished(group), *notes],
        pictures=pictures,
    )


def _row(series: Series, point: Point) -> list[str]:
    kept, total = point["params_kept"].mean, point["params_total"].mean
    leaks = _selects_on_test(series.protocol) and not _selects_on_test(series.label)
    return [
        series.label + (" [selects on test]" if leaks else ""),
        "" if series.method in SINGLE else str(point.round),
        percent(point["edge_sparsity_train"]),
        percent(point["edge_sparsity_test"]),
        percent(point["weight_sparsity"]),
        f"{kept:,.0f} of {total:,.0f}",
        spread(point["val_metric"]),
        spread(point["test_metric"]),
        str(point.runs),
        f"{point['epochs_trained'].mean:,.0f}",
        f"{point['seconds'].mean:,.0f}",
    ]


def spread(stat: Stat) -> str:
    """Mean ± standard deviation; says how many values are missing."""
    if not stat.finite:
        return "–"
    text = f"{stat.mean:.4f}" + ("" if math.isnan(stat.sd) else f" ± {stat.sd:.4f}")
    return text if stat.finite == stat.count else f"{text} ({stat.finite} of {stat.count} runs)"


def percent(stat: Stat) -> str:
    """A mean share, in percent."""
    return f"{100 * stat.mean:.2f} %" if stat.finite else "–"


def _selects_on_test(label: str) -> bool:
    return any(word in label for word in LEAKING)


def _facts(group: Group) -> Iterator[tuple[str, str]]:
    runs = [run for series in group.series for run in series.runs]
    entries = [entry for run in runs for entry in run.provenance]
    yield "Metric", group.metric
    yield "Protocol", "; ".join(sorted({series.protocol for series in group.series}))
    yield "Seeds", ", ".join(sorted({str(run.rows[0]["seed"]) for run in runs}, key=lambda text: (len(text), text)))
    folds = sorted({run.config["data.fold"] for run in runs if "data.fold" in run.config})
    if len(folds) > 1:
        yield "Folds", ", ".join(map(str, folds))
    for title, name in (("Split", "split"), ("Source", "source")):
        if texts := sorted({entry["data"][name] for entry in entries if name in entry.get("data", {})}):
            yield title, "; ".join(texts)
    for title, section in (("Model", "model."), ("Training", "fit.")):
        common = _common(runs, section)
        if common:
            yield (
                title,
                ", ".join(str(value) if name == "name" else f"{name} {value}" for name, value in common.items()),
            )


def _common(runs: Sequence[Run], prefix: str) -> dict[str, Any]:
    """Options of a section on which all runs agree."""
    configs = [run.config for run in runs]
    return {
        name.removeprefix(prefix): value
        for name, value in configs[0].items()
        if name.startswith(prefix) and all(config.get(name) == value for config in configs)
    }


def _unfinished(group: Group) -> Iterator[str]:
    for series in group.series:
        last = series.points[-1]
        if last.runs < len(series.runs):
            yield (
                f"{series.label}: {last.runs} of {len(series.runs)} runs have reached round {last.round}; "
                "the others are unfinished or broke down, which makes the means of the last rounds incomparable."
            )


def _picture(title: str, caption: str, png: Path, out: Path) -> Picture:
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return Picture(title, caption, png.relative_to(out).as_posix(), data)


# ---------------------------------------------------------------------- where the numbers come from


def _origins(groups: Sequence[Group]) -> Iterator[tuple[str, list[str]]]:
    """What the runs were computed with: each fact once, with all its values."""
    runs = [run for group in groups for series in group.series for run in series.runs]
    entries = [entry for run in runs for entry in run.provenance]
    if not entries:
        yield "Provenance", ["not recorded: there is no provenance.json beside the results"]
        return
    yield "Machine", _every(map(_machine, _parts(entries, "machine")))
    yield "Threads", _every(str(entry.get("threads")) for entry in entries)
    yield "Versions", _every(", ".join(f"{k} {v}" for k, v in part.items()) for part in _parts(entries, "versions"))
    yield "Data", _every(f"{part['name']}: SHA-256 {part['digest']}" for part in _parts(entries, "data"))
    yield "Started", _every([min(str(e.get("started")) for e in entries), max(str(e.get("started")) for e in entries)])
    yield "Commands", _every(" ".join(map(str, entry.get("command", []))) for entry in entries)
    # As seen from here: a report is passed on, and where this machine keeps its files is nobody's business.
    below = Path(os.path.relpath(os.path.commonpath([run.folder for run in runs])))
    each = f"each of the {len(runs)} folders of runs below " if len(runs) > 1 else ""
    yield "Configurations", [f"config.yaml in {each}{below}"]


def _parts(entries: Sequence[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    return (entry[name] for entry in entries if isinstance(entry.get(name), Mapping))


def _machine(entry: Mapping[str, Any]) -> str:
    gpu = f", {entry['gpu']}" if entry.get("gpu") else ""
    return f"{entry['processor']}, {entry['cpus']} CPUs{gpu}, {entry['system']}"


def _every(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
