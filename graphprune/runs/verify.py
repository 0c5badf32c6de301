"""Whether files are what was written: their digests, and what they say of each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graphprune import deployed
from graphprune.data.disk.open import DOCUMENT as STORED
from graphprune.data.disk.open import described, open_stored
from graphprune.files import finite, parsed, read_json
from graphprune.methods.hamp import journal
from graphprune.runs.entries import CELLS, TICKET, read_entries, told
from graphprune.runs.folder import CONFIG, METRICS, PROVENANCE, RESULTS, RunFolder
from graphprune.sealed import DIGEST, check_seal
from graphprune.ticket import folder as ticket_folder
from graphprune.ticket.folder import DOCUMENT

Kind = Literal["damaged", "no digest", "unfinished"]
Check = Callable[[Path], Iterator[tuple[Kind, str]]]

TORN = "ends within a line, as what a killed process was writing; the same command goes on"


@dataclass(frozen=True)
class Finding:
    """What there is to say of a file.

    Attributes:
        file: the file.
        kind: ``damaged``: it is not what was written, or not of the files beside it; ``no digest``: older versions
            wrote it; ``unfinished``: it ends within a line.
        text: what does not fit.
    """

    file: Path
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.text}"


def verify(folder: Path) -> tuple[list[Finding], int]:
    """Read what runs, grids, tickets, deployed objects, stored sets and searches have written in and below a folder.

    Every file is compared with its digests, rows of results with the tickets that they are of and with the
    configuration. Nothing in them runs. Folders whose names begin with a dot are left out.

    Returns:
        What there is to say, and how many files were read.

    Raises:
        FileNotFoundError: there is no such folder, or nothing of that kind in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found, number = list[Finding](), 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        for name in sorted(CHECKS.keys() & set(files)):
            found += check(Path(parent, name), CHECKS[name])
            number += 1
        for kind in KINDS:
            if f"{kind}.safetensors" in files and f"{kind}.json" not in files:
                found.append(
                    Finding(Path(parent, f"{kind}.json"), "damaged", f"it is missing beside {kind}.safetensors")
                )
    if not number and not found:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(sorted(CHECKS))}")
    return found, number


def check_run(folder: Path) -> list[Finding]:
    """The same of a run's results, configuration and provenance, and of its tickets without their tensors."""
    files = [folder / name for name in (RESULTS, CONFIG, PROVENANCE) if (folder / name).is_file()]
    found = [each for file in files for each in check(file, CHECKS[file.name])]
    return found + [each for file in sorted(folder.glob(f"round-*/{DOCUMENT}")) for each in check(file, _document)]


def check(file: Path, how: Check) -> list[Finding]:
    """What a check finds; an error while it reads the file is damage."""
    try:
        return [Finding(file, kind, text) for kind, text in how(file)]
    except Exception as error:  # whatever a damaged file leads to
        text = str(error) or type(error).__name__
        for prefix in (f"{file}: ", f"{file} is damaged: ", f"{file.parent}{os.sep}"):
            text = text.replace(prefix, "")
        return [Finding(file, "damaged", " ".join(text.split()))]


def _document(file: Path) -> Iterator[tuple[Kind, str]]:
    return _old([ticket_folder.head(file, file.stem)])


def _tensors(file: Path) -> Iterator[tuple[Kind, str]]:
    ticket_folder.read(file.parent, file.stem)
    return _document(file)


def _stored(file: Path) -> Iterator[tuple[Kind, str]]:
    open_stored(file.parent)
    return _old([described(file)])


def _journal(file: Path) -> Iterator[tuple[Kind, str]]:
    journal.read(file.parent)
    return _lines(file)


def _lines(file: Path) -> Iterator[tuple[Kind, str]]:
    """Of a file that grows by lines; the last may be half of one."""
    *lines, rest = file.read_text(encoding="utf-8").split("\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(parsed(line))
            check_seal(entries[-1])
        except (ValueError, TypeError) as error:
            raise ValueError(f"line {number}: {error}") from error
    if rest:
        yield "unfinished", TORN
    yield from _old(entries)


def _entries(file: Path) -> Iterator[tuple[Kind, str]]:
    return _old(read_entries(file))


def _results(file: Path) -> Iterator[tuple[Kind, str]]:
    if not (file.parent / CONFIG).exists() and isinstance(read_json(file), dict):
        return  # other programs have files of this name
    rows, run = read_entries(file), RunFolder(file.parent)
    for row in rows:
        ticket = run.round(row["round"]) / DOCUMENT
        try:
            found = ticket_folder.head(ticket)
        except (ValueError, FileNotFoundError):  # it is damaged itself, or was not kept
            continue
        own = finite(found["ticket"]["row"])
        differ = [name for name, value in own.items() if row.get(name) != value]
        if differ or row.get(TICKET) != found.get(DIGEST):
            what = f"has another {', '.join(differ)} than" if differ else "is of another ticket than"
            raise ValueError(f"the row of round {row['round']} {what} {ticket}")
    _ = run.finished  # an earlier round may be missing
    yield from _old(rows)


def _config(file: Path) -> Iterator[tuple[Kind, str]]:
    """Rows of tickets with a digest tell the options, too."""
    options = finite(told(file))
    results = file.with_name(RESULTS)
    try:
        rows = read_entries(results) if results.exists() else []
    except ValueError:  # damaged themselves
        rows = []
    for row in rows:
        if TICKET in row and (differ := [name for name, value in options.items() if row.get(name) != value]):
            raise ValueError(f"the row of round {row['round']} in {RESULTS} has another {', '.join(differ)}")
    return iter(())


def _old(documents: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Kind, str]]:
    if without := sum(DIGEST not in document for document in documents):
        yield "no digest", f"{without} of {len(documents)} entries" if len(documents) > 1 else "written without one"


KINDS = ("ticket", deployed.KIND)
CHECKS: dict[str, Check] = {
    **{f"{kind}.json": _tensors for kind in KINDS},
    **{STORED: _stored, journal.EVALUATIONS: _journal, RESULTS: _results, CONFIG: _config},
    **{PROVENANCE: _entries, CELLS: _entries, METRICS: _lines},
}
