"""OGB's graph property sets (Hu et al., 2020) from their raw files; nothing is ever unpickled.

ogb's own loader fails on torch 2.6 and later, whose ``torch.load`` refuses the pickles it keeps.
"""

from __future__ import annotations

import csv
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.data.arcs import both_ways
from graphprune.data.base import GraphData, Task
from graphprune.data.download import cache_folder, fetch
from graphprune.data.metrics import NEEDS_OGB, Metric
from graphprune.data.raw import RawFiles, archive_files, find
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES, Features
from graphprune.graphs.packed import PackedGraphs

_TASKS: dict[str, Task] = {
    "binary classification": "binary",
    "multiclass classification": "multiclass",
    "regression": "regression",
}
_METRICS: dict[str, Metric] = {"rocauc": "rocauc", "ap": "ap", "acc": "accuracy", "rmse": "rmse"}
_PARTS = {"train": "train", "val": "valid", "test": "test"}
_MARKER = "raw/edge.csv.gz"


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """OGB's table of its sets: name to properties, read without importing ogb.

    Raises:
        ImportError: ogb is not installed.
    """
    spec = importlib.util.find_spec("ogb")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the list of OGB's data sets {NEEDS_OGB}")
    path = Path(spec.submodule_search_locations[0]) / "graphproppred" / "master.csv"
    with path.open(newline="") as file:
        titles, *rows = csv.reader(file)
    return {name: {row[0]: row[number] for row in rows} for number, name in enumerate(titles) if number}


def load(name: str, *, root: str | Path | None) -> GraphData:
    """An OGB set from its raw files: those in ``root``, else downloaded from the address in OGB's own table.

    Args:
        name: a key of :func:`catalogue`.
        root: folder or archive of the files as OGB ships them (``raw/edge.csv.gz``, ``split/...``), or a
            folder that holds them as ``ogbg_NAME/`` (OGB's own layout), ``NAME/`` or ``NAME.zip`` (its
            archive).

    Raises:
        ImportError: ogb is not installed.
        FileNotFoundError: ``root`` does not hold the files.
        ConnectionError: the download failed.
        ValueError: ogbg-code2, whose labels are sequences of words; damaged or contradicting files.
    """
    about = catalogue()[name]
    if about["task type"] not in _TASKS:
        raise ValueError(f"{name} is not supported: its task is {about['task type']}, not a class or number a graph")
    archive = about["download_name"]
    if root is None:
        expected = f"{_MARKER}, raw/num-node-list.csv.gz, split/{about['split']}/train.csv.gz, ..."
        target = cache_folder() / "ogb" / f"{archive}.zip"
        files = archive_files(fetch(name, about["url"], target, expected), _MARKER)
    else:
        files = find(root, _MARKER, (name.replace("-", "_"), archive, ".", f"{archive}.zip"))
    return _read(files, name, about)


def _read(files: RawFiles, name: str, about: dict[str, str]) -> GraphData:
    task, tasks = _TASKS[about["task type"]], int(about["num tasks"])
    molecules = about["data type"] == "mol"
    nodes = files.column("raw/num-node-list.csv.gz", np.int64)
    pairs = files.column("raw/num-edge-list.csv.gz", np.int64)
    edges = files.table(_MARKER, np.int64, 2)
    _check_lines(files, _MARKER, len(edges), int(pairs.sum()))
    x = _rows(files, "raw/node-feat.csv.gz", int(nodes.sum()), ATOM_FEATURES if molecules else None)
    edge_attr = _rows(files, "raw/edge-feat.csv.gz", int(pairs.sum()), BOND_FEATURES if molecules else None)
    both = about["add_inverse_edge"] == "True"
    try:
        graphs = PackedGraphs(
            torch.from_numpy(nodes),
            torch.from_numpy(pairs) * (2 if both else 1),
            both_ways(edges) if both else torch.from_numpy(np.ascontiguousarray(edges.T)),
            node={"x": torch.ones(int(nodes.sum()), 1) if x is None else x},
            edge={} if edge_attr is None else {"edge_attr": edge_attr.repeat_interleave(2 if both else 1, dim=0)},
            graph={"y": _labels(files, task, tasks, len(nodes))},
        )
    except ValueError as error:
        raise ValueError(f"{files.place}: {error}") from error
    split = _split(files, about["split"], len(graphs))
    edge_width = None if edge_attr is None else edge_attr.size(1)
    features: Features = "ogb-mol" if molecules else graphs.node["x"].size(1)
    edge_features: Features | None = "ogb-mol" if molecules else edge_width
    return GraphData(
        name=name,
        train=graphs.select(split["train"]),
        val=graphs.select(split["val"]),
        test=graphs.select(split["test"]),
        task=task,
        metric=_METRICS[about["eval metric"]],
        features=features,
        num_classes=max(int(about["num classes"]), 0),
        num_tasks=tasks,
        edge_features=edge_features,
        ogb_name=name,
        provenance={
            "source": about["url"],
            "licence": "see https://ogb.stanford.edu/docs/graphprop/",
            "split": f"OGB's {about['split']} split",
        },
    )


def _check_lines(files: RawFiles, name: str, lines: int, expected: int) -> None:
    if lines != expected:
        raise ValueError(f"{files.where(name)} has {lines} lines, but the graphs' counts make it {expected}")


def _rows(files: RawFiles, name: str, rows: int, sizes: tuple[int, ...] | None) -> Tensor | None:
    """Features of nodes or edges: with ``sizes`` categorical and required, else float32 or None."""
    if sizes is None and not files.has(name):
        return None
    values = files.table(name, np.float32 if sizes is None else np.int64, None if sizes is None else len(sizes))
    _check_lines(files, name, len(values), rows)
    wrong = ~np.isfinite(values) if sizes is None else (values < 0) | (values >= np.array(sizes))
    if wrong.any():
        files.fail(name, int(wrong.any(1).argmax()), "a feature is NaN, infinite or outside its categories")
    return torch.from_numpy(values)


def _labels(files: RawFiles, task: Task, tasks: int, rows: int) -> Tensor:
    name = "raw/graph-label.csv.gz"
    values: NDArray[Any] = files.table(name, np.float32, tasks, blank_is_nan=True)
    _check_lines(files, name, len(values), rows)
    if task != "multiclass":
        return torch.from_numpy(values)
    if np.isnan(values).any():
        files.fail(name, int(np.isnan(values).any(1).argmax()), "the label is missing")
    return torch.from_numpy(values[:, 0]).long()


def _split(files: RawFiles, recipe: str, graphs: int) -> dict[str, Tensor]:
    """Graph numbers of the three splits; no graph may be in two of them."""
    split, owner = {}, np.full(graphs, "", dtype="U5")
    for part, file in _PARTS.items():
        name = f"split/{recipe}/{file}.csv.gz"
        index = files.column(name, np.int64)
        for row, number in enumerate(index.tolist()):
            if not 0 <= number < graphs:
                files.fail(name, row, f"graph {number} of {graphs}")
            if owner[number]:
                files.fail(name, row, f"graph {number} is in the {owner[number]} split already")
            owner[number] = part
        split[part] = torch.from_numpy(index)
    return split
