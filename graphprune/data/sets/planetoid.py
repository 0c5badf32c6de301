"""Cora, CiteSeer and PubMed with the public split of Yang et al. ("Revisiting semi-supervised learning", ICML 2016).

The files are pickles of Python 2; :mod:`graphprune.data.files.pickles` reads them without running them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from graphprune import limits
from graphprune.data.base import GraphData
from graphprune.data.files import pickles
from graphprune.data.files.download import cache_folder, fetch
from graphprune.data.files.raw import RawFiles, find
from graphprune.data.sets.shared import one_graph, simple_pairs, split_views

NAMES = ("Cora", "CiteSeer", "PubMed")

# The first is the default: Kipf & Welling's networks were trained on it.
FEATURES = ("row-normalised", "raw")

# How many nodes after the training nodes validate.
VALIDATION = 500


def load(name: str, *, root: str | Path | None, features: str | None = None) -> GraphData:
    """A Planetoid set from the raw files in ``root``, else from where PyG's ``Planetoid`` downloads them.

    One graph, transductive: the splits share arcs and features. Edges are undirected, without repeats and self-loops.
    Fifteen nodes of CiteSeer are described by no file but the graph: as in Kipf & Welling's code they stay, with
    features of zero, and belong to no split.

    Args:
        name: one of :data:`NAMES`.
        root: folder (or zip archive) of the files ind.NAME.x and the others, or one that holds them as ``NAME/raw/``
            (PyG's layout), ``NAME/`` or ``NAME.zip``, NAME as above or in lower case.
        features: ``"row-normalised"`` (and None): the features of a node divided by their sum, as is usual for these
            sets; ``"raw"``: as the files have them.
    """
    features = FEATURES[0] if features is None else features
    if features not in FEATURES:
        raise ValueError(f"features of {name} must be one of {', '.join(FEATURES)}, got {features!r}")
    prefix = f"ind.{name.lower()}."
    if root is None:
        from torch_geometric.datasets import Planetoid

        source = Planetoid.url
        files = _download(name, prefix, source)
    else:
        source = str(root)
        places = [f"{folder}{below}" for folder in (name, name.lower()) for below in ("/raw", "", ".zip")]
        files = find(root, f"{prefix}x", (*places, "raw", "."))
    content = _Files(files, prefix).read()
    x = content.x if features == "raw" else _row_normalised(content.x)
    graph = one_graph(content.pairs, {"x": torch.from_numpy(x)})
    train, val, test = split_views(
        graph, torch.from_numpy(content.y), [torch.from_numpy(part) for part in content.split]
    )
    return GraphData(
        name=name,
        train=train,
        val=val,
        test=test,
        task="multiclass",
        metric="accuracy",
        features=x.shape[1],
        num_classes=content.classes,
        level="node",
        transductive=True,
        provenance={
            "source": source,
            "licence": "MIT (kimiyoung/planetoid)",
            "split": f"public split of Yang et al. (2016), {'/'.join(str(len(part)) for part in content.split)} nodes",
            "features": features,
            "edges": "undirected, without repeats and self-loops",
        },
    )


def _download(name: str, prefix: str, source: str) -> RawFiles:
    files = RawFiles(cache_folder() / "planetoid" / name)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        target = files.place / f"{prefix}{part}"
        check = _check_index if part == "test.index" else _check_pickle
        fetch(name, f"{source}/{target.name}", target, f"{prefix}x, {prefix}graph, ...", check=check)
    return files


def _check_index(path: Path) -> None:
    RawFiles(path.parent).column(path.name, np.int64)


def _check_pickle(path: Path) -> None:
    pickles.read(path.read_bytes(), "the answer")


def _row_normalised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    total = x.sum(1, keepdims=True)
    scaled: NDArray[np.float32] = np.divide(x, total, out=np.zeros_like(x), where=total != 0)
    return scaled


@dataclass(frozen=True)
class _Content:
    """A set's files, checked.

    Args:
        pairs: undirected edges, ``(Q, 2)``.
        x: features, zero for a node that only the graph has.
        y: class of each node, 0 for such a one.
        classes: how many.
        split: numbers of the training, validation and test nodes.
    """

    pairs: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int
    split: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class _Files:
    """The files of a set: training nodes (x, y), all but the test nodes (allx, ally), test nodes (tx, ty), edges."""

    files: RawFiles
    prefix: str

    def read(self) -> _Content:
        """Everything, put together.

        A row of tx and ty belongs to the node that the same line of test.index names. The other nodes have the number
        of their row in allx and ally, the training nodes first.
        """
        (x, y), (tx, ty), (allx, ally) = (
            self.described(*parts) for parts in (("x", "y"), ("tx", "ty"), ("allx", "ally"))
        )
        for part, one, other in (("x", x, allx), ("tx", tx, allx), ("y", y, ally), ("ty", ty, ally)):
            if one.shape[1] != other.shape[1]:
                self.fail(part, f"{one.shape[1]} columns, but {self.prefix}all{part[-1]} has {other.shape[1]}")
        train, known = len(y), len(ally)
        if known < train + VALIDATION:
            self.fail("ally", f"{known} rows, too few for {train} training and {VALIDATION} validation nodes")
        if (x != allx[:train]).nnz or not np.array_equal(y, ally[:train]):
            self.fail("x", f"it and {self.prefix}y are not the first rows of {self.prefix}allx and {self.prefix}ally")
        lists = self.lists()
        nodes = max(known + len(ty), len(lists))
        test = self.test_nodes(known, nodes, len(ty))
        limits.check("numbers", nodes * allx.shape[1], f"{self.where('graph')}: {nodes:,} nodes with their features")
        features, labels = np.zeros((nodes, allx.shape[1]), np.float32), np.zeros(nodes, np.int64)
        features[:known], features[test] = allx.toarray(), tx.toarray()
        labels[:known], labels[test] = ally.argmax(1), ty.argmax(1)
        split = (np.arange(train), np.arange(train, train + VALIDATION), test)
        return _Content(simple_pairs(self.pairs(lists, nodes), nodes), features, labels, ally.shape[1], split)

    def where(self, part: str) -> str:
        """How errors call a file."""
        return self.files.where(f"{self.prefix}{part}")

    def fail(self, part: str, problem: str) -> NoReturn:
        """Raise the ValueError that names a file and what is wrong with it."""
        raise ValueError(f"{self.where(part)}: {problem}")

    def pickled(self, part: str) -> Any:
        """What a file describes."""
        return pickles.read(self.files.read(f"{self.prefix}{part}"), self.where(part))

    def described(self, features: str, labels: str) -> tuple[sp.csr_matrix, NDArray[Any]]:
        """Features ``(n, D)`` and one-hot classes ``(n, C)`` of the same nodes."""
        x, y = self.pickled(features), self.pickled(labels)
        if not isinstance(x, sp.csr_matrix) or not np.isfinite(x.data).all():
            self.fail(features, "expected a sparse matrix of features, none of them NaN or infinite")
        if not isinstance(y, np.ndarray) or y.ndim != 2 or not np.isin(y, (0, 1)).all() or (y.sum(1) != 1).any():
            self.fail(labels, "expected an array with a row a node and a single 1 in each, at its class")
        if x.shape[0] != len(y):
            self.fail(labels, f"{len(y)} rows, but {self.prefix}{features} has {x.shape[0]}")
        return x, y

    def lists(self) -> dict[int, list[int]]:
        """The neighbours of each node."""
        lists = self.pickled("graph")
        fits = isinstance(lists, dict) and all(type(node) is int and type(near) is list for node, near in lists.items())
        # One list may stand at many nodes without taking any room in the file.
        if not fits or sum(map(len, lists.values())) > limits.limit("steps"):
            self.fail("graph", "expected a list of neighbours for each node")
        if not all(type(node) is int for node in chain.from_iterable(lists.values())):
            self.fail("graph", "expected node numbers as neighbours")
        return lists  # type: ignore[no-any-return]

    def pairs(self, lists: dict[int, list[int]], nodes: int) -> NDArray[np.int64]:
        """Each node with each of its neighbours, ``(P, 2)``."""
        for node, near in lists.items():
            for number in (node, *near):
                if not 0 <= number < nodes:
                    self.fail("graph", f"node {number} of {nodes}, at the neighbours of node {node}")
        source = np.repeat(np.array(list(lists), np.int64), [len(near) for near in lists.values()])
        return np.stack([source, np.array([*chain.from_iterable(lists.values())], np.int64)], axis=1)

    def test_nodes(self, known: int, nodes: int, expected: int) -> NDArray[np.int64]:
        """The numbers of the test nodes, in the order of tx and ty."""
        name = f"{self.prefix}test.index"
        numbers: NDArray[np.int64] = self.files.column(name, np.int64)
        if len(numbers) != expected:
            self.fail("test.index", f"{len(numbers)} lines, but {self.prefix}ty has {expected} rows")
        wrong = np.flatnonzero((numbers < known) | (numbers >= nodes))
        if len(wrong):
            number = numbers[wrong[0]]
            self.files.fail(name, wrong[0], f"node {number}, expected one from {known} (after allx) to {nodes - 1}")
        _, first = np.unique(numbers, return_index=True)
        if len(first) != len(numbers):
            again = np.setdiff1d(np.arange(len(numbers)), first)[0]
            self.files.fail(name, again, f"node {numbers[again]} is there already")
        return numbers
