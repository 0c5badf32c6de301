"""Runs and cells of grids, read back from their folders, and what forbids or warns to put them into one report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from graphprune.files import below
from graphprune.methods import METHODS
from graphprune.methods.core.shown import Shown
from graphprune.runs.entries import CELLS, read_entries
from graphprune.runs.folder import CONFIG, PROVENANCE, RESULTS
from graphprune.runs.options import flat, read_yaml
from graphprune.sealed import DIGEST

# Numbers of a row; results of older versions do not have the last ones.
NUMBERS = (
    "edge_sparsity_train",
    "edge_sparsity_test",
    "weight_sparsity",
    "params_kept",
    "params_total",
    "val_metric",
    "test_metric",
    "epochs_trained",
    "seconds",
)
NEEDED = frozenset({"method", "data", "model", "protocol", "seed", "round", "metric", "collapsed", *NUMBERS})
ADDED: Mapping[str, Any] = {"epochs_search": 0, "predictor_passes": 0, "unseen": "", "cpu_seconds": math.nan}
# Where this machine keeps the raw files: says nothing of what is computed, and is nobody's business.
PLACE = "data.root"
# Options that tell repetitions apart, and those that change nothing about what is compared.
REPEATED, IGNORED = ("seed", "data.fold"), (PLACE, "method.rounds", "method.last_round")
DENSITY = "method.density"
# Edge attribute of graphs, bool: which arcs are known to decide over the label.
TRUTH = "edge_truth"


@dataclass(frozen=True)
class Run:
    """One results file.

    Attributes:
        folder: where it lies.
        rows: one a round, NaN where the file has null and for edges of graphs that have none.
        config: flat options, empty where there is no configuration beside it.
        provenance: entries of where and when it was computed.
        method: the class of its method; ``Shown`` itself, with its defaults, where that is not installed or broken.
    """

    folder: Path
    rows: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    provenance: tuple[Mapping[str, Any], ...]
    method: type[Shown]

    @property
    def repetition(self) -> tuple[int, int]:
        """Seed and fold."""
        return int(self.rows[0]["seed"]), int(self.config.get("data.fold") or 0)

    @property
    def density(self) -> float | None:
        """The density that a method of one training was asked for: its runs at others are points of one curve.

        None for methods of rounds, whose points are these, and for baselines, a series for each of their options.
        """
        return float(self.config[DENSITY]) if self.method.points == "density" and DENSITY in self.config else None

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """What decides with which other runs it is put together."""
        left_out = (*REPEATED, *IGNORED, *[DENSITY] * (self.density is not None))
        found = {name: value for name, value in self.config.items() if name not in left_out}
        # Without a configuration the results alone can tell the policies for unseen graphs apart.
        return found or {"method.unseen": self.rows[0]["unseen"]}

    @property
    def setting(self) -> dict[str, Any]:
        """The options of data and model: what all methods that are compared have in common."""
        return {name: value for name, value in self.options.items() if name.startswith(("data.", "model."))}

    @property
    def variant(self) -> str:
        """Which of its method's variants it is."""
        return self.method.variant(section(self.config, "method."), self.rows[-1])


@dataclass(frozen=True)
class Cell:
    """A cell of a grid that has no complete results.

    Attributes:
        name: what it is called in the grid.
        state: ``"failed"`` or ``"unfinished"``.
        error: why it failed.
    """

    name: str
    state: str
    error: str


def result_files(folders: Sequence[Path]) -> list[Path]:
    """The results of every run in and below these folders.

    Raises:
        FileNotFoundError: there are none in one of them, or it is missing.
    """
    files: dict[Path, None] = {}
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"there is no folder {folder}")
        found = below(folder, RESULTS)
        if not found and not (folder / CELLS).exists():
            raise FileNotFoundError(f"{folder} holds no {RESULTS}: name the folder of a run, or one that holds runs")
        files |= dict.fromkeys(file.resolve() for file in found)
    return list(files)


def read_runs(folders: Sequence[Path], left_out: Collection[Path] = ()) -> list[Run]:
    """Every run in and below these folders that has finished a round, but for those of the folders ``left_out``.

    Raises:
        FileNotFoundError: there is none, or a folder is missing.
        ValueError: a file is damaged or has no results of runs, or runs on different data go by one name; the text
            names the folders.
    """
    files = [file for file in result_files(folders) if file.parent not in left_out]
    runs = [run for run in map(read_run, files) if run.rows]
    if not runs:
        failed = "".join(f"; {cell.name} failed: {cell.error}" for cell in read_cells(folders) if cell.error)
        damaged = "".join(f"; {folder} is damaged, see graphprune verify" for folder in sorted(left_out))
        raise ValueError(f"no run in {', '.join(map(str, folders))} has finished a round yet{failed}{damaged}")
    _same_data(runs)
    return runs


def read_run(file: Path) -> Run:
    """One results file with what lies beside it.

    Raises:
        ValueError: it is damaged or holds something else.
    """
    rows = _read(file, "run the same graphprune run or bench again: it is written from the tickets of finished rounds")
    if not all(row.keys() >= NEEDED for row in rows):
        raise ValueError(f"{file} is no list of rows with the columns {', '.join(sorted(NEEDED))}")
    config, provenance = file.with_name(CONFIG), file.with_name(PROVENANCE)
    entries = tuple(read_entries(provenance)) if provenance.exists() else ()
    undefined = dict.fromkeys(_without_edges(entries), math.nan)
    return Run(
        file.parent,
        tuple(
            {**ADDED, **{name: math.nan if value is None else value for name, value in row.items()}, **undefined}
            for row in ({name: value for name, value in row.items() if name != DIGEST} for row in rows)
        ),
        flat(read_yaml(config)) if config.exists() else {},
        entries,
        _method(str(rows[0]["method"])) if rows else Shown,
    )


def _read(file: Path, remedy: str) -> list[dict[str, Any]]:
    try:
        return read_entries(file)
    except ValueError as error:
        raise ValueError(f"{error}. Delete it and {remedy}") from error


def _method(name: str) -> type[Shown]:
    try:
        return METHODS[name]
    except (KeyError, ImportError, TypeError):  # not installed, or a plug-in that is broken
        return Shown


def _without_edges(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Columns of the splits whose graphs have no edges, of which no share can go."""
    for part in parts(entries, "data"):
        for split, counts in part.get("empty", {}).items():
            if 0 < part.get("graphs", {}).get(split, 0) == counts.get("no_edges"):
                yield f"edge_sparsity_{split}"


def read_cells(folders: Iterable[Path]) -> tuple[Cell, ...]:
    """The cells of grids in these folders that failed or are not finished.

    Raises:
        ValueError: a list of cells is damaged.
    """
    found: dict[tuple[str, str], Cell] = {}
    for file in dict.fromkeys(file.resolve() for folder in folders for file in below(folder, CELLS)):
        entries = _read(file, "run the same graphprune bench again")
        if not all(entry.keys() >= {"cell", "state"} for entry in entries):
            raise ValueError(f"{file} is no list of cells with the entries cell and state")
        for entry in entries:
            if entry["state"] != "done":
                cell = Cell(str(entry["cell"]), str(entry["state"]), str(entry.get("error") or ""))
                found[cell.name, cell.error] = cell
    return tuple(found.values())


# ---------------------------------------------------------------------- what must not be mixed


def _same_data(runs: Sequence[Run]) -> None:
    """Refuse runs that name the same data, with the same options, and had other graphs."""
    digests = []
    for run in runs:
        # A fold is data of its own, and so are other features.
        options = {name: value for name, value in section(run.config, "data.").items() if f"data.{name}" != PLACE}
        for part in parts(run.provenance, "data"):
            key = json.dumps([part.get("name"), options], sort_keys=True, default=str)
            digests.append((key, f"digest {str(part.get('digest'))[:12]}", run))
    for key, told in _several(digests):
        raise ValueError(
            f"these results on {json.loads(key)[0]} come from different data: {told}. Report them apart, or "
            "compute them again on the same data"
        )


def mixtures(runs: Sequence[Run]) -> Iterator[str]:
    """Warnings of packages that runs were computed with in different versions."""
    versions = (
        (package, str(version), run)
        for run in runs
        for part in parts(run.provenance, "versions")
        for package, version in part.items()
    )
    return (f"{package} {told}" for package, told in _several(versions))


def _several(entries: Iterable[tuple[str, str, Run]]) -> Iterator[tuple[str, str]]:
    """Of names, values and runs that have them: the names of several values, and which values are where."""
    found: dict[str, dict[str, list[Run]]] = {}
    for name, value, run in entries:
        found.setdefault(name, {}).setdefault(value, []).append(run)
    for name, by_value in found.items():
        if len(by_value) > 1:
            yield name, "; ".join(f"{value} in {_places(there)}" for value, there in sorted(by_value.items()))


def parts(entries: Iterable[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    """One part of all provenance entries that have it."""
    return (entry[name] for entry in entries if isinstance(entry.get(name), Mapping))


def section(options: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Options of a section, by their names in it."""
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}


def _places(runs: Sequence[Run], most: int = 3) -> str:
    """A few folders, as seen from here."""
    folders = list(dict.fromkeys(os.path.relpath(run.folder) for run in runs))
    more = f" and {len(folders) - most} more" if len(folders) > most else ""
    return ", ".join(folders[:most]) + more
