"""OGB's raw files and its own tables of data sets (Hu et al., 2020), read without ogb's loaders.

Those fail on torch 2.6 and later, whose ``torch.load`` refuses the pickles they keep.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune import limits
from graphprune.data.files.download import cache_folder, fetch
from graphprune.data.files.raw import RawFiles, archive_files, find
from graphprune.data.labelled import Split
from graphprune.data.metrics import METRICS, NEEDS_OGB, Task

Kind = Literal["graph", "node"]

TASKS: dict[str, Task] = {
    "binary classification": "binary",
    "multiclass classification": "multiclass",
    "regression": "regression",
    "subtoken prediction": "sequence",
}
PARTS: dict[Split, str] = {"train": "train", "val": "valid", "test": "test"}
EDGES = "raw/edge.csv.gz"


@cache
def catalogue(kind: Kind) -> dict[str, dict[str, str]]:
    """OGB's table of its property prediction sets: name to properties, read without importing ogb.

    Args:
        kind: what is predicted.

    Raises:
        ImportError: ogb is not installed.
    """
    spec = importlib.util.find_spec("ogb")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the list of OGB's data sets {NEEDS_OGB}")
    path = Path(spec.submodule_search_locations[0]) / f"{kind}proppred" / "master.csv"
    with path.open(newline="") as file:
        titles, *rows = csv.reader(file)
    return {name: {row[0]: row[number] for row in rows} for number, name in enumerate(titles) if number}


def names(kind: Kind, asked: str) -> tuple[str, ...]:
    """The sets that someone who asks for ``asked`` may mean; none, and no ogb needed, if it is another kind of name."""
    return tuple(catalogue(kind)) if asked.startswith(f"ogb{kind[0]}") else ()


def raw_files(name: str, about: Mapping[str, str], root: str | Path | None) -> RawFiles:
    """A set's files in ``root``, else downloaded from the address in OGB's own table.

    Args:
        name: of the set.
        about: its entry in the catalogue.
        root: folder or archive of the files as OGB ships them (``raw/edge.csv.gz``, ``split/...``), or a folder that
            holds them as ``ogbg_NAME/`` (OGB's own layout), ``NAME/`` or ``NAME.zip`` (its archive).

    Raises:
        FileNotFoundError: ``root`` does not hold the files.
        ConnectionError: the download failed.
    """
    archive = about["download_name"]
    if root is not None:
        return find(root, EDGES, (name.replace("-", "_"), archive, ".", f"{archive}.zip"))
    expected = f"{EDGES}, raw/num-node-list.csv.gz, split/{about['split']}/..."
    return archive_files(fetch(name, about["url"], cache_folder() / "ogb" / f"{archive}.zip", expected), EDGES)


def counts(files: RawFiles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many nodes, and lines of :data:`EDGES`, each graph has, which the limits allow; both ``(G,)``."""
    found = []
    for what, name in (("node", "nodes"), ("edge", "arcs")):
        file = f"raw/num-{what}-list.csv.gz"
        count = files.column(file, np.int64)
        if (count < 0).any():
            files.fail(file, int((count < 0).argmax()), f"{count.min()} {what}s")
        limits.check(name, float(count.sum(dtype=np.float64)), files.where(file))
        found.append(count)
    return found[0], found[1]


def classes(files: RawFiles, name: str, rows: int, most: int) -> Tensor:
    """The class of each graph or node, ``(rows,)`` int64: a number from 0 to below ``most``."""
    values = files.column(name, np.float64)
    check_lines(files, name, len(values), rows)
    wrong = ~np.isin(values, np.arange(most))
    if wrong.any():
        row = int(wrong.argmax())
        files.fail(name, row, f"label {values[row]:g}, expected a class from 0 to {most - 1}")
    return torch.from_numpy(values.astype(np.int64))


def check_lines(files: RawFiles, name: str, lines: int, expected: int) -> None:
    """Raise unless a file has as many lines as the counts of nodes and edges make it."""
    if lines != expected:
        raise ValueError(f"{files.where(name)} has {lines} lines, but the graphs' counts make it {expected}")


def features(files: RawFiles, name: str, rows: int, sizes: tuple[int, ...] | None = None) -> Tensor:
    """Features of nodes or edges, one row a line: with ``sizes`` categorical (int64), else finite float32."""
    values = files.table(name, np.float32 if sizes is None else np.int64, None if sizes is None else len(sizes))
    check_lines(files, name, len(values), rows)
    wrong = ~np.isfinite(values) if sizes is None else (values < 0) | (values >= np.array(sizes))
    if wrong.any():
        files.fail(name, int(wrong.any(1).argmax()), "a feature is NaN, infinite or outside its categories")
    return torch.from_numpy(values)


def one_graph(files: RawFiles) -> tuple[int, NDArray[Any]]:
    """Number of nodes and arcs ``(E, 2)`` of a set that is a single graph."""
    nodes, pairs = counts(files)
    for what, count in (("node", nodes), ("edge", pairs)):
        check_lines(files, f"raw/num-{what}-list.csv.gz", len(count), 1)
    arcs = files.table(EDGES, np.int64, 2)
    check_lines(files, EDGES, len(arcs), int(pairs[0]))
    wrong = ((arcs < 0) | (arcs >= nodes[0])).any(1)
    if wrong.any():
        row = int(wrong.argmax())
        files.fail(EDGES, row, f"edge {arcs[row].tolist()} points outside the {nodes[0]} nodes")
    return int(nodes[0]), arcs


def split(files: RawFiles, recipe: str, count: int, what: str) -> dict[Split, Tensor]:
    """Numbers of the graphs or nodes of each split; none may be in two of them.

    Args:
        files: of the set.
        recipe: OGB's name of the split.
        count: how many graphs or nodes there are.
        what: "graph" or "node", in errors.
    """
    parts: dict[Split, Tensor] = {}
    owner = np.full(count, "", dtype="U5")
    for part, file in PARTS.items():
        name = f"split/{recipe}/{file}.csv.gz"
        index = files.column(name, np.int64)
        wrong = (index < 0) | (index >= count)
        if wrong.any():
            files.fail(name, int(wrong.argmax()), f"{what} {index[wrong][0]} of {count}")
        repeated = np.ones(len(index), dtype=bool)
        repeated[np.unique(index, return_index=True)[1]] = False
        taken = (owner[index] != "") | repeated
        if taken.any():
            row = int(taken.argmax())
            files.fail(name, row, f"{what} {index[row]} is in the {owner[index[row]] or part} split already")
        owner[index] = part
        parts[part] = torch.from_numpy(index)
    return parts


def metric(about: Mapping[str, str]) -> str:
    """What a set is measured by."""
    return next(name for name, metric in METRICS.working().items() if metric.ogb == about["eval metric"])


def provenance(about: Mapping[str, str], kind: Kind) -> dict[str, str]:
    """Source, licence and split of a set."""
    return {
        "source": about["url"],
        "licence": f"see https://ogb.stanford.edu/docs/{kind}prop/",
        "split": f"OGB's {about['split']} split",
    }
