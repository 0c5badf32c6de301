"""PPI: protein interactions in 24 tissues, several labels a node (Zitnik & Leskovec, 2017; Hamilton et al., 2017)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.data.base import GraphData
from graphprune.data.files.download import cache_folder, fetch
from graphprune.data.files.raw import RawFiles, archive_files, find
from graphprune.data.files.unpack import array
from graphprune.data.labelled import SPLITS, Split
from graphprune.data.sets.shared import both_ways, simple_pairs
from graphprune.graphs.packed import PackedGraphs

NAMES = ("PPI",)

_MARKER = "train_graph.json"
_PARTS: dict[Split, str] = {"train": "train", "val": "valid", "test": "test"}


def load(name: str, *, root: str | Path | None) -> GraphData:
    """PPI from the raw files in ``root``, else from where PyG's ``PPI`` downloads them.

    Inductive: 20 graphs train, 2 validate, 2 test, all of their nodes labelled; 50 features and 121 binary labels a
    node in the published files, scored by micro-F1. Edges are undirected, without repeats and self-loops.

    Args:
        name: ``"PPI"``.
        root: folder or zip archive of the files as GraphSAGE, DGL and PyG have them: for train, valid and test
            ``train_graph.json`` (node-link data of networkx), ``train_feats.npy`` (N, D), ``train_labels.npy`` (N, T)
            and ``train_graph_id.npy`` (N,); or a folder that holds them as ``PPI/raw/``, ``PPI/``, ``ppi/`` or
            ``ppi.zip``.
    """
    if root is None:
        from torch_geometric.datasets import PPI

        source = PPI.url
        expected = f"{_MARKER}, train_feats.npy, train_labels.npy, train_graph_id.npy, ..."
        files = archive_files(fetch(name, source, cache_folder() / "ppi" / "ppi.zip", expected), _MARKER)
    else:
        source = str(root)
        files = find(root, _MARKER, ("PPI/raw", "PPI", "ppi", "raw", ".", "ppi.zip"))
    splits = {split: _graphs(files, _PARTS[split]) for split in SPLITS}
    columns = {split: (graphs.node["x"].size(1), graphs.node["y"].size(1)) for split, graphs in splits.items()}
    if len(set(columns.values())) > 1:
        raise ValueError(f"{files.place}: the splits have different numbers of features and labels: {columns}")
    width, tasks = columns["train"]
    return GraphData(
        name=name,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        task="binary",
        metric="f1",
        features=width,
        num_classes=2,
        num_tasks=tasks,
        level="node",
        provenance={
            "source": source,
            "licence": "not stated by the source",
            "split": f"GraphSAGE's, {'/'.join(str(len(graphs)) for graphs in splits.values())} graphs",
            "edges": "undirected, without repeats and self-loops",
        },
    )


def _graphs(files: RawFiles, part: str) -> PackedGraphs:
    """The graphs of one split, in the order of their numbers."""
    x = _array(files, f"{part}_feats.npy", 2).astype(np.float32)
    y = _array(files, f"{part}_labels.npy", 2)
    graph_of = _array(files, f"{part}_graph_id.npy", 1)
    if not len(x):
        _fail(files, f"{part}_feats.npy", "it has no nodes")
    for name, values in ((f"{part}_labels.npy", y), (f"{part}_graph_id.npy", graph_of)):
        if len(values) != len(x):
            _fail(files, name, f"{len(values)} rows, but {part}_feats.npy has {len(x)}")
    if not np.isin(y, (0, 1)).all():
        _fail(files, f"{part}_labels.npy", f"the labels of node {_row(~np.isin(y, (0, 1)))} are not all 0 or 1")
    if not np.isfinite(x).all():
        _fail(files, f"{part}_feats.npy", f"a feature of node {_row(~np.isfinite(x))} is NaN or infinite")
    pairs = _pairs(files, f"{part}_graph.json", len(x))
    joined = graph_of[pairs[:, 0]] != graph_of[pairs[:, 1]]
    if joined.any():
        _fail(files, f"{part}_graph.json", f"link {pairs[joined][0].tolist()} joins two graphs of {part}_graph_id.npy")
    # Nodes of one graph side by side, and edges in the order of their graphs.
    _, graph_of = np.unique(graph_of, return_inverse=True)
    order = np.argsort(graph_of, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    count = np.bincount(graph_of)
    pairs = simple_pairs(place[pairs], len(x))
    graph_of_pair = graph_of[order[pairs[:, 0]]]
    first = np.cumsum(count) - count
    return PackedGraphs(
        torch.from_numpy(count),
        torch.from_numpy(2 * np.bincount(graph_of_pair, minlength=len(count))),
        both_ways(pairs - first[graph_of_pair][:, None]),
        node={"x": torch.from_numpy(x[order]), "y": torch.from_numpy(y[order].astype(np.float32))},
    )


def _pairs(files: RawFiles, name: str, nodes: int) -> NDArray[np.int64]:
    """The links of a file of node-link data, ``(P, 2)``."""
    try:
        graph = json.loads(files.read(name, parsed=True))
        count = len(graph["nodes"])
        links = [(link["source"], link["target"]) for link in graph["links"]]
        pairs = np.array(links).reshape(len(links), 2)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        _fail(files, name, f"no node-link data, or damaged ({type(error).__name__}: {error})")
    if count != nodes:
        _fail(files, name, f"{count} nodes, but {name.replace('_graph.json', '_feats.npy')} has {nodes} rows")
    if len(pairs) and (pairs.dtype.kind != "i" or pairs.min() < 0 or pairs.max() >= nodes):
        _fail(files, name, f"a link joins something else than two of the nodes 0 to {nodes - 1}")
    return pairs.astype(np.int64)


def _array(files: RawFiles, name: str, dimensions: int) -> NDArray[Any]:
    values = array(files.read(name), files.where(name))
    if values.ndim != dimensions or values.dtype.kind not in "buif":
        _fail(files, name, f"expected an array of numbers with {dimensions} dimension{'s' * (dimensions > 1)}")
    return values


def _row(wrong: NDArray[Any]) -> int:
    return int(wrong.any(1).argmax())


def _fail(files: RawFiles, name: str, problem: str) -> NoReturn:
    raise ValueError(f"{files.where(name)}: {problem}")
