"""Mutated data files, run folders, journals and YAML files.

python -m tests.campaigns.inputs [--trials 20000] [--seconds 1800] [--seed 0] [--only NAME ...]

Limits of what a file may ask for, and the digests of stored sets, journals and results, are not there for all of these
yet: what is accepted or raw until then is counted and does not fail the script (`OPEN`). A reader of another format is
added with one entry in `subjects`.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphprune.data import load
from graphprune.data.disk.open import open_stored
from graphprune.data.disk.write import store
from graphprune.grids.file import read_grid
from graphprune.methods.hamp import journal
from graphprune.report.collect import collect
from graphprune.runs import RunConfig, run_one
from graphprune.runs.folder import RunFolder
from tests.campaigns.commands import grid, hamp
from tests.campaigns.damage import Subject, main
from tests.campaigns.mutate import damaged, json_values, text_lines
from tests.runs.samples import NAME, tiny_run, tiny_set

OPEN = ("accepted with other content", "raw errors", "memory above the limit")
OPTIONS = {"features": "deg+odeg10"}


def _zipped(folder: Path) -> None:
    tiny_set(folder / "files")
    with zipfile.ZipFile(folder / f"{NAME}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / "files").iterdir()):
            archive.write(file, f"{NAME}/{file.name}")
    shutil.rmtree(folder / "files")


def _run(folder: Path) -> Any:
    run = RunFolder(folder / "run")
    config = RunConfig.load(folder / "run/config.yaml")
    return config.plain(), run.finished_rows(config), run.rows(), run.sittings()


def _report(folder: Path) -> Any:
    return [
        [(series.label, [(run.rows, run.config) for run in series.runs]) for series in group.series]
        for group in collect([folder])
    ]


def subjects(folder: Path) -> Mapping[str, Subject]:
    """What is read of files that users are handed, or that a disk has damaged."""
    root = tiny_set(folder / "raw")
    data = load(NAME, root=root, **OPTIONS)
    run_one(tiny_run(root, "random"), folder / "made")
    run_one(hamp(root), folder / "searched")
    records = {"*.json": (json_values, damaged), "config.yaml": (text_lines, damaged)}
    return {
        "tu": Subject(
            tiny_set,
            lambda at: load(NAME, root=at, **OPTIONS).digest(),
            {"*.txt": (text_lines, damaged)},
        ),
        "tu-zip": Subject(
            _zipped, lambda at: load(NAME, root=at, **OPTIONS).digest(), {"*.zip": (damaged,)}, sealed=True
        ),
        "stored": Subject(
            lambda to: store(data, to / "set"),
            lambda at: (opened := open_stored(at / "set")).digest() + str(opened.degrees) + str(opened.provenance),
            {"*.json": (json_values, damaged), "*.raw": (damaged,)},
            sealed=True,
        ),
        "run": Subject(lambda to: _copy(folder / "made", to / "run"), _run, records),
        "report": Subject(lambda to: _copy(folder / "made", to / "run"), _report, records),
        "journal": Subject(
            lambda to: _copy(folder / "searched/search", to / "search"),
            lambda at: "\n".join(map(str, journal.read(at / "search").evaluations)),
            {"evaluations.jsonl": (json_values, damaged)},
            sealed=True,
            same=str.startswith,  # the last line may be one that was being written when a search was killed
        ),
        "yaml": Subject(
            lambda to: tiny_run(root).save(to / "config.yaml"),
            lambda at: RunConfig.load(at / "config.yaml").plain(),
            {"config.yaml": (text_lines, damaged)},
        ),
        "grid": Subject(
            lambda to: grid(root, to / "grid.yaml"),
            lambda at: [cell.config.plain() for cell in read_grid(at / "grid.yaml").cells],
            {"grid.yaml": (text_lines, damaged)},
        ),
    }


def _copy(source: Path, to: Path) -> None:
    shutil.copytree(source, to)


if __name__ == "__main__":
    raise SystemExit(main(subjects, __doc__, OPEN))
