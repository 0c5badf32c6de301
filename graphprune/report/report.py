"""The report on any number of runs: Markdown, one self-contained page, the figures, and tables for other programs."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.methods.core.shown import Illustration, Table
from graphprune.report import tables
from graphprune.report.collect import collect
from graphprune.report.compare import Findings, dense_for, findings, trained_otherwise
from graphprune.report.export import write_csv, write_latex
from graphprune.report.origins import configuration, facts, origins
from graphprune.report.overview import overview
from graphprune.report.records import mixtures, read_cells
from graphprune.report.results import Group, leaking
from graphprune.runs.files import write_text, writing
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
        summary: the short tables as text.
        others: report.csv and files of tables, where they were asked for.
    """

    markdown: Path
    html: Path
    summary: str
    others: tuple[Path, ...] = ()


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


@dataclass(frozen=True)
class Chapter:
    """One group, as the templates print it.

    Attributes:
        title: data set and model.
        facts: what holds for all runs.
        leaks: series that select on the test set.
        collapsed: layers without weights.
        notes: what else a reader must know.
        results: the last round of each series.
        tables: what is compared, and tables of methods.
        pictures: the figures.
        rounds: every round.
        configurations: label and options of each series.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    leaks: tuple[str, ...]
    collapsed: tuple[str, ...]
    notes: tuple[str, ...]
    results: Table
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    rounds: Table
    configurations: tuple[tuple[str, str], ...]


def needed(*more: str) -> None:
    """Make sure that reports can be written.

    Raises:
        ImportError: the extra ``report`` is missing.
    """
    missing = [name for name in ("matplotlib", "jinja2", *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"a report needs {' and '.join(missing)}: pip install 'graphprune[report]'")


def write_report(folders: Sequence[Path], out: Path, *, csv: bool = False, latex: bool = False) -> Written:
    """Read every run in these folders and write the report.

    Args:
        folders: runs, or folders that hold any number of runs.
        out: gets report.md, report.html and figures/.
        csv: also report.csv, all rows unrounded with every option, see :func:`graphprune.report.export.frame`.
        latex: also tables/, each table of the report as a file for a paper.

    Raises:
        FileNotFoundError: no results there.
        ValueError: damaged results, the same run twice, or different data under one name.
        ImportError: matplotlib or jinja2 is missing, or pandas for ``csv``.
    """
    needed(*["pandas"] * csv)
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    from graphprune.report.style import styles

    groups = collect(folders)
    found = [findings(group) for group in groups]
    looks = styles({series.label: series.role for group in groups for series in group.series})
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
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
        "cells": read_cells(folders),
        "mixtures": list(mixtures([run for group in groups for run in group.runs])),
        "origins": list(origins(groups)),
    }
    for name in ("report.md", "report.html"):
        write_text(out / name, environment.get_template(f"{name}.j2").render(content))
    others = [write_csv(groups, out / "report.csv")] if csv else []
    if latex:
        every = [("summary", table) for table in first]
        for number, one in enumerate(chapters, start=1):
            every += [(str(number), table) for table in (one.results, *one.tables, one.rounds) if table.rows]
        others += write_latex(every, out / "tables")
    titled = [*((one.title, one.results) for one in chapters), *((table.title, table) for table in first)]
    summary = "\n\n".join(f"{title}\n{text_table(table.head, table.rows, numbers=True)}" for title, table in titled)
    return Written(out / "report.md", out / "report.html", summary, tuple(others))


def _markdown(table: Table) -> str:
    rows = [
        [f"**{cell}**" if (row, column) in table.best else cell for column, cell in enumerate(cells)]
        for row, cells in enumerate(table.rows)
    ]
    return text_table(table.head, rows, numbers=True, markdown=True)


def chapter(found: Findings, out: Path, number: int, styles: Styles, tickets: bool) -> Chapter:
    """Draw the figures of a group and put its tables together.

    Args:
        found: the group and what it shows.
        out: folder of the report.
        number: of the chapter, from 1; it tells files apart.
        styles: of each series.
        tickets: draw what takes tickets and graphs to be read, too.
    """
    from graphprune.report.illustrate import from_folders, illustrations

    group, drawn = found.group, list(illustrations(found, styles))
    own, missing = from_folders(group, styles) if tickets else ([], [])
    pictures: dict[str, Picture] = {}
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
    return Chapter(
        title=group.title,
        facts=tuple(facts(group)),
        leaks=tuple(series.label for series in group.series if series.selects_on_test),
        collapsed=tuple(collapsed),
        notes=(*_unfinished(group), *_otherwise(group), *missing),
        results=tables.results(found),
        tables=tuple(table for table in compared if table.rows),
        pictures=tuple(pictures.values()),
        rounds=tables.rounds(found),
        configurations=tuple((series.label, configuration(series)) for series in group.series),
    )


def _picture(one: Illustration, out: Path, file: str) -> Picture:
    from graphprune.report.style import save

    png = save(one.figure, out / "figures" / file)
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return Picture(one.title, one.caption, png.relative_to(out).as_posix(), data)


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
