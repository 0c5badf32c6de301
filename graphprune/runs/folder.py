"""The folder of one run: what it computes, what is finished, and how an interrupted run goes on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphprune.files import (
    LOCK,
    append_json,
    finite,
    is_part,
    locked,
    make_folder,
    parsed,
    remove_leftovers,
    write_json,
    write_text,
    writing,
)
from graphprune.runs.build import last_round
from graphprune.runs.config import GROWING, RunConfig
from graphprune.runs.entries import TICKET, read_entries, told
from graphprune.runs.objects import LAST_ROUND, RECORDS
from graphprune.runs.options import read_yaml
from graphprune.sealed import DIGEST, check_seal, seal
from graphprune.ticket import Ticket
from graphprune.ticket.folder import DOCUMENT, head

Row = dict[str, Any]

CONFIG = "config.yaml"
METRICS, RESULTS, PROVENANCE = RECORDS
SYNCED = 1.0  # seconds that a line of the metrics waits for the disk at most, but for the next line


class RunFolder:
    """Config, metrics, results and one ticket a finished round; write inside :meth:`claimed` only.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begun: set[tuple[Any, Any]] = set()  # trainings whose lines this sitting has written
        self._synced = 0.0

    @contextmanager
    def claimed(self, config: RunConfig) -> Iterator[list[str]]:
        """Make the folder, or go on in that of an earlier, perhaps interrupted, run of this configuration.

        Inside the block no other process can claim it. What the earlier run wrote after its last finished round is
        cut off; the block is told of lines of the metrics that are damaged, which go. A new run that is refused before
        its first epoch leaves the folder to any other.

        Raises:
            FileExistsError: see :meth:`check`.
            BlockingIOError: another process runs in this folder.
            ValueError: a finished round is missing or damaged.
        """
        self.check(config)
        with writing(self.path):
            make_folder(self.path)
        with locked(self.path / LOCK):
            self.check(config)
            new = not (self.path / CONFIG).exists()
            self._longer(config).save(self.path / CONFIG)
            remove_leftovers(self.path)  # a ticket that was being saved when the process died
            for rest in filter(is_part, list(self.path.iterdir())):
                rest.unlink()
            finished = self.finished
            damaged = self._keep_metrics(lambda entry: entry["round"] <= finished)
            self.write_results()
            try:
                yield damaged
            except Exception as error:
                broke_down = isinstance(error, ArithmeticError | OSError)
                if new and not broke_down and not (self.path / METRICS).exists() and not self.finished:
                    for name in (CONFIG, RESULTS, PROVENANCE):
                        (self.path / name).unlink(missing_ok=True)
                raise

    def _longer(self, config: RunConfig) -> RunConfig:
        """The configuration with the most rounds that this folder was asked for."""
        if not (self.path / CONFIG).exists():
            return config
        there = read_yaml(self.path / CONFIG)["method"]
        _, _, rounds = GROWING.partition(".")
        return config if there.get(rounds, 0) <= config.method.get(rounds, 0) else replace(config, method=there)

    def check(self, config: RunConfig) -> None:
        """Make sure that a run of this configuration can begin or go on here.

        Raises:
            FileExistsError: something else is there, or the run of another configuration (all differences are named).
        """
        if not self.path.exists() and not self.path.is_symlink():
            return
        if not self.path.is_dir():
            raise FileExistsError(f"{self.path} is not a folder; choose another --out")
        if not (self.path / CONFIG).exists():
            if any(entry.name != LOCK and not is_part(entry) for entry in self.path.iterdir()):
                raise FileExistsError(f"{self.path} holds other files and no {CONFIG}; choose another --out")
            return
        if read_yaml(self.path / CONFIG) == config.plain():
            return  # the usual case, without a parser: a grid asks this of every finished run
        there = RunConfig.load(self.path / CONFIG)
        if different := there.differences(config):
            raise FileExistsError(
                f"{self.path} holds a run of another configuration ({'; '.join(different)}); choose another --out"
            )

    # ------------------------------------------------------------------ finished rounds

    def round(self, number: int) -> Path:
        """Folder of a round's ticket."""
        return self.path / f"round-{number}"

    @property
    def finished(self) -> int:
        """The number of the last finished round, 0 before the first.

        Raises:
            ValueError: an earlier round is missing, or the results are damaged.
        """
        return max(self._saved(), default=0)

    def _saved(self) -> list[int]:
        """Numbers of the finished rounds that have a ticket; the results tell which there were."""
        found = {
            int(match[1])
            for entry in self.path.glob("round-*")
            if (match := re.fullmatch(r"round-([1-9]\d*)", entry.name))
        }
        file, last = self.path / RESULTS, max(found, default=0)
        there: set[int] = {row["round"] for row in read_entries(file)} if file.exists() else set()
        missing = {number for number in there - found if number < last}
        if missing:
            raise ValueError(
                f"{self.round(min(missing))} is missing although round {last} is there; put it back, or delete "
                "the rounds after it to compute them again"
            )
        return sorted(found)

    def last_round(self, config: RunConfig) -> int | None:
        """The number of the last round of a run of this configuration; None: to be told once its method was made.

        Raises:
            ValueError: see :func:`graphprune.runs.build.last_round`.
        """
        last, file = last_round(config), self.path / CONFIG
        if last is None and file.exists():  # one that was made for this folder
            there, (_, _, rounds) = read_yaml(file)["method"], GROWING.partition(".")
            last = there.get(LAST_ROUND) if there.get(rounds) == config.method.get(rounds) else None
        return last

    def finished_rows(self, config: RunConfig) -> list[Row] | None:
        """The results of a finished run of this configuration; None where there is something left to do.

        Neither data nor model nor tickets are read.

        Raises:
            FileExistsError: see :meth:`check`.
            ValueError: a finished round is missing, or the results are damaged.
        """
        self.check(config)
        file, saved, last = self.path / RESULTS, self._saved(), self.last_round(config)
        if last is None or not saved or not file.exists() or saved[-1] < last:
            return None
        rows = read_entries(file)
        return [_numbers(row) for row in rows] if [row["round"] for row in rows] == saved else None

    def wait(self) -> None:
        """Return as soon as no other process runs here; the system drops the lock of one that died."""
        if (self.path / LOCK).exists():
            with locked(self.path / LOCK, wait=True):
                pass

    def last_ticket(self) -> Ticket | None:
        """The ticket of the last finished round.

        Raises:
            ValueError: it is damaged.
        """
        if not self.finished:
            return None
        folder = self.round(self.finished)
        try:
            return Ticket.load(folder)
        except (ValueError, OSError) as error:
            raise ValueError(f"{error}. Delete {folder} to compute this round again") from error

    def rows(self) -> list[Row]:
        """One row a finished round, as the tickets have it, with the options that :func:`told` gives.

        A row of a ticket with a digest has that as ``ticket``, and a digest of its own.

        Raises:
            ValueError: a ticket's document is damaged.
        """
        options = told(self.path / CONFIG)
        rows = []
        for number in self._saved():
            file = self.round(number) / DOCUMENT
            try:
                found = head(file)
                row = {**found["ticket"]["row"], **options}
                rows.append(seal({**row, TICKET: found[DIGEST]}) if DIGEST in found else row)
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise ValueError(
                    f"{file} is damaged ({error!r}); delete {self.round(number)} and all rounds after it to compute "
                    "them again"
                ) from error
        return rows

    # ------------------------------------------------------------------ writing

    def save(self, ticket: Ticket) -> None:
        """Finish a round; its metrics are on the disk before it is."""
        ticket.save(self.round(ticket.round))
        self.write_results()

    def write_results(self) -> None:
        """Write the rows of all finished rounds."""
        write_json(self.path / RESULTS, self.rows())

    def log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the metrics; those that an earlier sitting has left of the same training go first."""
        if (training := (entry["round"], entry["phase"])) not in self._begun:
            self._begun.add(training)
            self._keep_metrics(lambda other: (other["round"], other.get("phase")) != training)
        now = time.monotonic()
        line = seal(finite(dict(entry)))
        append_json(self.path / METRICS, line, synced=(due := now - self._synced >= SYNCED))
        self._synced = now if due else self._synced

    def sittings(self) -> list[Any]:
        """Where, when and how earlier sittings computed."""
        file = self.path / PROVENANCE
        return read_entries(file) if file.exists() else []

    def sign(self, entry: Mapping[str, Any]) -> None:
        """Record where, when and how this sitting computes."""
        write_json(self.path / PROVENANCE, [*self.sittings(), seal(entry)])

    def _keep_metrics(self, stays: Callable[[dict[str, Any]], bool]) -> list[str]:
        """Cut lines off the metrics; what is damaged goes too, and is told."""
        file = self.path / METRICS
        if not file.exists():
            return []
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept, damaged = [], list[str]()
        for number, line in enumerate(lines, start=1):
            if (entry := _entry(line)) is not None:
                kept += [line] if stays(entry) else []
            elif line.endswith("\n"):  # else it was being written when the process died
                damaged.append(f"{file}, line {number}, is damaged and left out: {line.strip()[:60]!r}")
        if len(kept) < len(lines):
            write_text(file, "".join(kept))
        return damaged


def _entry(line: str) -> dict[str, Any] | None:
    """What a whole line of the metrics says; None: it is damaged."""
    try:
        entry = parsed(line)
        if isinstance(entry, dict):
            check_seal(entry)
    except (ValueError, RecursionError):
        return None
    whole = line.endswith("\n") and isinstance(entry, dict) and type(entry.get("round")) is int
    return entry if whole else None


def _numbers(row: Row) -> Row:
    return {name: math.nan if value is None else value for name, value in row.items()}
