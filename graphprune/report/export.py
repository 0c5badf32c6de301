"""Reports for other programs: all rows as one tidy table, and the tables of the report in LaTeX."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.files import make_folder, write_text, writing
from graphprune.methods.core.shown import Table
from graphprune.report.collect import collect
from graphprune.report.records import PLACE
from graphprune.report.results import Group
from graphprune.runs.text import numeric

if TYPE_CHECKING:
    import pandas

# What TeX reads as a command, or does not have in its default fonts.
TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": "``",
    "”": "''",
}


def frame(folders: Sequence[Path]) -> pandas.DataFrame:
    """All results below these folders, one row a run and round, numbers as they were written.

    Columns are the setting, the series and its role as the report calls them, seed and fold, the results, and every
    option of the configuration by its dotted name; those that a run does not have are missing there.

    Raises:
        FileNotFoundError, ValueError: see :func:`graphprune.report.collect.collect`.
        ImportError: pandas is missing.
    """
    return _frame(collect(folders))


def _frame(groups: Iterable[Group]) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame(
        [
            {"setting": group.title, "series": series.label, "role": series.role, "fold": run.repetition[1]}
            | {name: " ".join(value) if name == "collapsed" else value for name, value in row.items()}
            | {name: value for name, value in run.config.items() if name != PLACE}
            | {"folder": os.path.relpath(run.folder)}
            for group in groups
            for series in group.series
            for run in series.runs
            for row in run.rows
        ],
        dtype=object,  # whole numbers stay whole where some are missing
    )


def write_csv(groups: Iterable[Group], file: Path) -> Path:
    """Write all rows, see :func:`frame`."""
    write_text(file, _frame(groups).to_csv(index=False, lineterminator="\n"))
    return file


def write_latex(tables: Iterable[tuple[str, Table]], folder: Path) -> list[Path]:
    """Write each table as a file of its own, of which there is one by what comes before it and its title.

    Args:
        tables: what its file's name begins with, and the table.
        folder: for the files; older tables in it go.
    """
    with writing(folder):
        make_folder(folder)
    files = []
    for prefix, table in tables:
        name = "-".join(re.findall(r"[a-z0-9]+", f"{prefix} {table.title}".lower()))
        files.append(folder / f"{name}.tex")
        write_text(files[-1], latex(table, name))
    for old in set(folder.glob("*.tex")).difference(files):
        old.unlink()
    return files


def latex(table: Table, label: str) -> str:
    """A table for a paper that uses booktabs; what is shown to be best is bold."""
    aligned = "".join("r" if right else "l" for right in numeric(table.rows, len(table.head)))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(f'{table.title}. {table.caption}'.strip())}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{aligned}}}",
        r"\toprule",
        _line(map(escaped, table.head)),
        r"\midrule",
    ]
    for row, cells in enumerate(table.rows):
        texts = [escaped(cell) for cell in cells]
        lines.append(
            _line(rf"\textbf{{{text}}}" if (row, column) in table.best else text for column, text in enumerate(texts))
        )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _line(cells: Iterable[str]) -> str:
    text = " & ".join(cells)
    # Behind the end of a line TeX takes a bracket or a star for an argument of it.
    return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"


def escaped(text: str) -> str:
    """Text that TeX prints as it is."""
    return "".join(TEX.get(character, character) for character in text)
