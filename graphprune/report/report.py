"""The report on any number of runs: Markdown, one self-contained page, the figures, and tables for other programs."""

from __future__ import annotations

import base64
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.files import taking_turns, write_text
from graphprune.methods.core.shown import Illustration, Table
from graphprune.report import tables
from graphprune.report.collect import collect
from graphprune.report.compare import Findings, dense_for, findings, trained_otherwise
from graphprune.report.damage import Damage
from graphprune.report.export import write_csv, write_latex
from graphprune.report.overview import overview
from graphprune.report.records import IGNORED, PLACE, REPEATED, Run, mixtures, parts, read_cells
from graphprune.report.results import Group, Series, leaking
from graphprune.report.words import in_words
from graphprune.runs.text import numeric, text_table

if TYPE_CHECKING:
    from graphprune.report.figures import Styles

# Of so many groups tickets and graphs are drawn: reading them takes most of a report's time.
DRAWN = 3


@dataclass(frozen=True)
class Written:
    """What a report consists of.

    Attributes:
        markdown: report.md.
        html: report.html.
        summary: the short tables as text, and what they amount to in words.
        others: report.csv and files of tables, where they were asked for.
    """

    markdown: Path
    html: Path
    summary: str
    others: tuple[Path, ...] = ()


def needed(*more: str) -> None:
    """Make sure that reports can be written.

    Raises:
        ImportError: the extra ``report`` is missing.
    """
    missing = [name for name in ("matplotlib", "jinja2", *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"a report needs {' and '.join(missing)}: pip install 'graphprune[report]'")


def write_report(folders: Sequence[Path], out: Path, *, csv: bool = False, latex: bool = False) -> Written:
    """Read every run in these folders and write the report, which names damaged files; their runs are left out.

    Args:
        folders: runs, or folders that hold any number of runs.
        out: gets report.md, report.html and figures/.
        csv: also report.csv, all rows unrounded with every option, see :func:`graphprune.report.export.frame`.
        latex: also tables/, each table of the report as a file for a paper.

    Raises:
        FileNotFoundError: no results there.
        ValueError: no run that is not damaged, the same run twice, or different data under one name.
        ImportError: matplotlib or jinja2 is missing, or pandas for ``csv``.
    """
    needed(*["pandas"] * csv)
    damage = Damage(folders)
    groups = collect(folders, damage.left_out)
    with taking_turns(out):
        return _write(groups, damage, folders, out, csv, latex)


def _write(
    groups: Sequence[Group], damage: Damage, folders: Sequence[Path], out: Path, csv: bool, latex: bool
) -> Written:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    from graphprune.report.style import styles

    found = [findings(group) for group in groups]
    looks = styles({series.label: series.role for group in groups for series in group.series})
    chapters = [chapter(one, out, number, looks, number <= DRAWN) for number, one in enumerate(found, start=1)]
    environment = Environment(
        loader=PackageLoader("graphprune.report", "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"table": _markdown, "numeric": lambda table: numeric(table.rows, len(table.head))}
    environment.tests["leaking"] = leaking
    first = overview(found)
    content = {
        "overview": first,
        "chapters": chapters,
        "damaged": damage.texts,
        "cells": read_cells(folders),
        "mixtures": list(mixtures([run for group in groups for run in group.runs])),
        "origins": [*origins(groups), ("Digests", damage.digests)],
    }
    for name in ("report.md", "report.html"):
        write_text(out / name, environment.get_template(f"{name}.j2").render(content))
    others = [write_csv(groups, out / "report.csv")] if csv else []
    if latex:
        every = [("summary", table) for table in first]
        for number, one in enumerate(chapters, start=1):
            every += [(str(number), table) for table in (one["results"], *one["tables"], one["rounds"]) if table.rows]
        others += write_latex(every, out / "tables")
    titled = [*((one["title"], one["results"]) for one in chapters), *((table.title, table) for table in first)]
    texts = [f"{title}\n{text_table(table.head, table.rows, numbers=True)}" for title, table in titled]
    texts += ["\n  ".join(one["words"]) for one in chapters]
    texts += ["\n  ".join(["damaged files:", *damage.texts])] if damage.texts else []
    summary = "\n\n".join(filter(None, texts))
    return Written(out / "report.md", out / "report.html", summary, tuple(others))


def _markdown(table: Table) -> str:
    rows = [
        [f"**{cell}**" if (row, column) in table.best else cell for column, cell in enumerate(cells)]
        for row, cells in enumerate(table.rows)
    ]
    return text_table(table.head, rows, numbers=True, markdown=True)


def chapter(found: Findings, out: Path, number: int, styles: Styles, tickets: bool) -> dict[str, Any]:
    """Draw the figures of a group and put its tables together, by the names that the templates have for them.

    Args:
        found: the group and what it shows.
        out: folder of the report.
        number: of the chapter, from 1; it tells files apart.
        styles: of each series.
        tickets: draw what takes tickets and graphs to be read, too.
    """
    from graphprune.report.illustrate import from_folders, illustrations

    group, drawn = found.group, list(illustrations(found, styles))
    own, truth, missing = from_folders(group, styles) if tickets else ([], {}, [])
    pictures: dict[str, dict[str, str]] = {}
    for one in (*drawn, *own):
        if isinstance(one, Illustration):
            file = one.name if number == 1 else f"{one.name}-{number}"
            while file in pictures:  # a method's own figures may be called as others are
                file += "-more"
            pictures[file] = _picture(one, out, file)
    collapsed = (
        f"{series.label}, {point.name}, {text}"
        for series in group.series
        for point in series.points
        for text in point.collapsed
    )
    compared = (*tables.comparisons(found), *(one for one in own if isinstance(one, Table)))
    return {
        "title": group.title,
        "words": in_words(found, truth),
        "facts": list(facts(group)),
        "leaks": [series.label for series in group.series if series.selects_on_test],
        "collapsed": list(collapsed),
        "notes": [*_unfinished(group), *_otherwise(group), *missing],
        "results": tables.results(found),
        "tables": [table for table in compared if table.rows],
        "pictures": list(pictures.values()),
        "rounds": tables.rounds(found),
        "configurations": [(series.label, configuration(series)) for series in group.series],
    }


def _picture(one: Illustration, out: Path, file: str) -> dict[str, str]:
    """A figure's heading, caption, file as seen from the report, and its .png in base64."""
    from graphprune.report.style import save

    png = save(one.figure, out / "figures" / file)
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return {"title": one.title, "caption": one.caption, "file": png.relative_to(out).as_posix(), "data": data}


def _unfinished(group: Group) -> Iterator[str]:
    for series in group.series:
        runs = len(series.repetitions)
        for point in series.finals:
            if point.runs < runs:
                last = "last rounds" if point.density is None else "densities"
                yield (
                    f"{series.label}: {point.runs} of {runs} runs have reached {point.name}; the others are unfinished "
                    f"or broke down, which makes the means of the {last} incomparable."
                )


def _otherwise(group: Group) -> Iterator[str]:
    for series in group.series:
        partner = dense_for(group, series)
        if partner is not None and (options := trained_otherwise(series, partner)):
            yield f"{series.label} was trained otherwise than {partner.label}: {', '.join(options)}."


# ---------------------------------------------------------------------- where runs come from


def facts(group: Group) -> Iterator[tuple[str, str]]:
    """What holds for all runs of a group."""
    runs = group.runs
    entries = [entry for run in runs for entry in run.provenance]
    yield "Metric", group.metric + ("" if group.higher_is_better else " (lower is better)")
    yield "Protocol", "; ".join(sorted({series.protocol for series in group.series}))
    yield "Seeds", _numbers(run.repetition[0] for run in runs)
    if group.folded:
        yield "Folds", _numbers(run.repetition[1] for run in runs)
    for title, name in (("Split", "split"), ("Encodings", "encodings"), ("Source", "source")):
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
    data = [(part, f" with {part['encodings']}" if "encodings" in part else "") for part in parts(entries, "data")]
    yield "Data", _every(f"{part['name']}{beside}: SHA-256 {part['digest']}" for part, beside in data)
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
