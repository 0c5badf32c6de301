"""One group of runs as a chapter of a report: its tables, its figures, and what a reader must be told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graphprune.report import sections
from graphprune.report.compare import Findings, dense_for, trained_otherwise
from graphprune.report.figures import Styles
from graphprune.report.illustrate import figures
from graphprune.report.origins import configuration, facts
from graphprune.report.results import Group
from graphprune.report.style import save
from graphprune.report.tables import Table


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
        tables: what is compared.
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


def chapter(found: Findings, out: Path, number: int, styles: Styles, tickets: bool) -> Chapter:
    """Draw the figures of a group and put its tables together.

    Args:
        found: the group and what it shows.
        out: folder of the report.
        number: of the chapter, from 1; it tells files apart.
        styles: of each series.
        tickets: draw what takes tickets and graphs to be read, too.
    """
    group = found.group
    illustrations, missing = figures(found, styles, tickets)
    pictures = []
    for name, title, caption, figure in illustrations:
        png = save(figure, out / "figures" / (name if number == 1 else f"{name}-{number}"))
        data = base64.b64encode(png.read_bytes()).decode("ascii")
        pictures.append(Picture(title, caption, png.relative_to(out).as_posix(), data))
    collapsed = (
        f"{series.label}, {point.name}, {text}"
        for series in group.series
        for point in series.points
        for text in point.collapsed
    )
    return Chapter(
        title=group.title,
        facts=tuple(facts(group)),
        leaks=tuple(series.label for series in group.series if series.selects_on_test),
        collapsed=tuple(collapsed),
        notes=(*_unfinished(group), *_otherwise(group), *missing),
        results=sections.results(found),
        tables=tuple(table for table in sections.comparisons(found) if table.rows),
        pictures=tuple(pictures),
        rounds=sections.rounds(found),
        configurations=tuple((series.label, configuration(series)) for series in group.series),
    )


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
