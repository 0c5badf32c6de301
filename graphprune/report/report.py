"""The report on any number of runs: Markdown, one self-contained page, and the figures."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from graphprune.files import write_text, writing
from graphprune.report.compare import findings
from graphprune.report.origins import origins
from graphprune.report.overview import overview
from graphprune.report.records import mixtures, read_cells
from graphprune.report.results import SINGLE, collect, leaking
from graphprune.runs.text import text_table

# Of so many groups tickets and graphs are drawn: reading them takes most of a report's time.
DRAWN = 3


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
        ValueError: damaged results, the same run twice, or different data under one name.
        ImportError: matplotlib or jinja2 is missing.
    """
    needed()
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    from graphprune.report.chapters import chapter
    from graphprune.report.style import styles

    groups = collect(folders)
    found = [findings(group) for group in groups]
    looks = styles(series.label for group in groups for series in group.series if series.method not in SINGLE)
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
    environment.filters["table"] = lambda table: text_table(table.head, table.rows, numbers=True, markdown=True)
    environment.tests["leaking"] = leaking
    tables = overview(found)
    content = {
        "overview": tables,
        "chapters": chapters,
        "cells": read_cells(folders),
        "mixtures": list(mixtures([run for group in groups for run in group.runs])),
        "origins": list(origins(groups)),
    }
    for name in ("report.md", "report.html"):
        write_text(out / name, environment.get_template(f"{name}.j2").render(content))
    titled = [*((one.title, one.results) for one in chapters), *((table.title, table) for table in tables)]
    summary = "\n\n".join(f"{title}\n{text_table(table.head, table.rows, numbers=True)}" for title, table in titled)
    return Written(out / "report.md", out / "report.html", summary)
