"""OGB's graph property sets (Hu et al., 2020) from their raw files; nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.data.base import GraphData
from graphprune.data.files import ogb_files
from graphprune.data.files.raw import RawFiles
from graphprune.data.metrics import Task
from graphprune.data.sets import code2
from graphprune.data.sets.shared import both_ways
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES, Features
from graphprune.graphs.packed import PackedGraphs


def load(name: str, *, root: str | Path | None) -> GraphData:
    """An OGB set from its raw files: those in ``root``, else downloaded; see :func:`.ogb_files.raw_files`.

    Args:
        name: in OGB's catalogue of graph property sets.
        root: folder or archive of the files.
    """
    about = ogb_files.catalogue("graph")[name]
    read = code2.read if ogb_files.TASKS[about["task type"]] == "sequence" else _read
    return read(ogb_files.raw_files(name, about, root), name, about)


def _read(files: RawFiles, name: str, about: dict[str, str]) -> GraphData:
    task, tasks = ogb_files.TASKS[about["task type"]], int(about["num tasks"])
    molecules = about["data type"] == "mol"
    nodes, pairs = ogb_files.counts(files)
    edges = files.table(ogb_files.EDGES, np.int64, 2)
    ogb_files.check_lines(files, ogb_files.EDGES, len(edges), int(pairs.sum()))
    x = _rows(files, "raw/node-feat.csv.gz", int(nodes.sum()), ATOM_FEATURES if molecules else None)
    edge_attr = _rows(files, "raw/edge-feat.csv.gz", int(pairs.sum()), BOND_FEATURES if molecules else None)
    y = _labels(files, task, tasks, int(about["num classes"]), len(nodes))
    both = about["add_inverse_edge"] == "True"
    try:
        graphs = PackedGraphs(
            torch.from_numpy(nodes),
            torch.from_numpy(pairs) * (2 if both else 1),
            both_ways(edges) if both else torch.from_numpy(np.ascontiguousarray(edges.T)),
            node={"x": torch.ones(int(nodes.sum()), 1) if x is None else x},
            edge={} if edge_attr is None else {"edge_attr": edge_attr.repeat_interleave(2 if both else 1, dim=0)},
            graph={"y": y},
        )
    except ValueError as error:
        raise ValueError(f"{files.place}: {error}") from error
    split = ogb_files.split(files, about["split"], len(graphs), "graph")
    edge_width = None if edge_attr is None else edge_attr.size(1)
    features: Features = "ogb-mol" if molecules else graphs.node["x"].size(1)
    edge_features: Features | None = "ogb-mol" if molecules else edge_width
    return GraphData(
        name=name,
        train=graphs.select(split["train"]),
        val=graphs.select(split["val"]),
        test=graphs.select(split["test"]),
        task=task,
        metric=ogb_files.metric(about),
        features=features,
        num_classes=max(int(about["num classes"]), 0),
        num_tasks=tasks,
        edge_features=edge_features,
        ogb_name=name,
        provenance=ogb_files.provenance(about, "graph"),
    )


def _rows(files: RawFiles, name: str, rows: int, sizes: tuple[int, ...] | None) -> Tensor | None:
    """Features of nodes or edges; those that are not categorical may be missing."""
    return None if sizes is None and not files.has(name) else ogb_files.features(files, name, rows, sizes)


def _labels(files: RawFiles, task: Task, tasks: int, classes: int, rows: int) -> Tensor:
    """Classes ``(rows,)`` int64, else float32 ``(rows, tasks)``: 0 and 1, or finite numbers, NaN where unknown."""
    name = "raw/graph-label.csv.gz"
    if task == "multiclass":
        return ogb_files.classes(files, name, rows, classes)
    values: NDArray[Any] = files.table(name, np.float32, tasks, blank_is_nan=True)
    ogb_files.check_lines(files, name, len(values), rows)
    known = np.isin(values, (0, 1)) if task == "binary" else np.isfinite(values)
    wrong = ~(known | np.isnan(values))
    if wrong.any():
        row = int(wrong.any(1).argmax())
        expected = "0, 1 or nothing" if task == "binary" else "a finite number or nothing"
        files.fail(name, row, f"label {values[row][wrong[row]][0]:g}, expected {expected}")
    return torch.from_numpy(values)
