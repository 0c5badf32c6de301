"""Runs and cells of grids, read back from their folders, and what forbids or warns to put them into one report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphprune.files import below, read_json
from graphprune.runs.folder import CONFIG, PROVENANCE, RESULTS
from graphprune.runs.options import flat, read_yaml

CELLS = "cells.json"
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
# Columns that results of older versions do not have.
ADDED: Mapping[str, Any] = {"epochs_search": 0, "predictor_passes": 0, "unseen": ""}
# Where this machine keeps the raw files: says nothing of what is computed, and is nobody's business.
PLACE = "data.root"


@dataclass(frozen=True)
class Run:
    """One results file.

    Attributes:
        folder: where it lies.
        rows: one a round, NaN where the file has null.
        config: flat options, empty where there is no configuration beside it.
        provenance: entries of where and when it was computed.
    """

    folder: Path
    rows: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    provenance: tuple[Mapping[str, Any], ...]

    @property
    def repetition(self) -> tuple[int, int]:
        """Seed and fold."""
        return int(self.rows[0]["seed"]), int(self.config.get("data.fold") or 0)


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


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Every run in and below these folders that has finished a round.

    Raises:
        FileNotFoundError: there is none, or a folder is missing.
        ValueError: a file is damaged or has no results of runs, or runs on different data go by one name; the text
            names the folders.
    """
    files: dict[Path, None] = {}
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"there is no folder {folder}")
        found = below(folder, RESULTS)
        if not found and not (folder / CELLS).exists():
            raise FileNotFoundError(f"{folder} holds no {RESULTS}: name the folder of a run, or one that holds runs")
        files |= dict.fromkeys(file.resolve() for file in found)
    runs = [run for run in map(read_run, files) if run.rows]
    if not runs:
        failed = "".join(f"; {cell.name} failed: {cell.error}" for cell in read_cells(folders) if cell.error)
        raise ValueError(f"no run in {', '.join(map(str, folders))} has finished a round yet{failed}")
    _same_data(runs)
    return runs


def read_run(file: Path) -> Run:
    """One results file with what lies beside it.

    Raises:
        ValueError: it is damaged or holds something else.
    """
    rows = read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= NEEDED for row in rows):
        raise ValueError(f"{file} is no list of rows with the columns {', '.join(sorted(NEEDED))}")
    config, provenance = file.with_name(CONFIG), file.with_name(PROVENANCE)
    return Run(
        file.parent,
        tuple({**ADDED, **{name: math.nan if value is None else value for name, value in row.items()}} for row in rows),
        flat(read_yaml(config)) if config.exists() else {},
        tuple(read_json(provenance)) if provenance.exists() else (),
    )


def read_cells(folders: Iterable[Path]) -> tuple[Cell, ...]:
    """The cells of grids in these folders that failed or are not finished.

    Raises:
        ValueError: a list of cells is damaged.
    """
    found: dict[tuple[str, str], Cell] = {}
    for file in dict.fromkeys(file.resolve() for folder in folders for file in below(folder, CELLS)):
        entries = read_json(file)
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and entry.keys() >= {"cell", "state"} for entry in entries
        ):
            raise ValueError(f"{file} is no list of cells with the entries cell and state")
        for entry in entries:
            if entry["state"] != "done":
                cell = Cell(str(entry["cell"]), str(entry["state"]), str(entry.get("error") or ""))
                found[cell.name, cell.error] = cell
    return tuple(found.values())


# ---------------------------------------------------------------------- what must not be mixed


def _same_data(runs: Sequence[Run]) -> None:
    """Refuse runs that name the same data, with the same options, and had other graphs."""
    seen: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        # A fold is data of its own, and so are other features.
        options = {name: value for name, value in run.config.items() if name.startswith("data.") and name != PLACE}
        for part in parts(run.provenance, "data"):
            key = json.dumps([part.get("name"), options], sort_keys=True, default=str)
            seen.setdefault(key, {}).setdefault(str(part.get("digest")), []).append(run)
    for key, by_digest in seen.items():
        if len(by_digest) > 1:
            told = "; ".join(f"digest {digest[:12]} in {_places(found)}" for digest, found in by_digest.items())
            raise ValueError(
                f"these results on {json.loads(key)[0]} come from different data: {told}. Report them apart, or "
                "compute them again on the same data"
            )


def mixtures(runs: Sequence[Run]) -> Iterator[str]:
    """Warnings of packages that runs were computed with in different versions."""
    packages: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        for part in parts(run.provenance, "versions"):
            for package, version in part.items():
                packages.setdefault(package, {}).setdefault(str(version), []).append(run)
    for package, by_version in packages.items():
        if len(by_version) > 1:
            told = "; ".join(f"{version} in {_places(found)}" for version, found in sorted(by_version.items()))
            yield f"{package} {told}"


def parts(entries: Iterable[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    """One part of all provenance entries that have it."""
    return (entry[name] for entry in entries if isinstance(entry.get(name), Mapping))


def _places(runs: Sequence[Run], most: int = 3) -> str:
    """A few folders, as seen from here."""
    folders = list(dict.fromkeys(os.path.relpath(run.folder) for run in runs))
    more = f" and {len(folders) - most} more" if len(folders) > most else ""
    return ", ".join(folders[:most]) + more
