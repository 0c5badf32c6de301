"""What every graph of a user's data set has to be like."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.checks import is_whole
from graphprune.data.base import Level
from graphprune.data.labelled import IGNORE_INDEX
from graphprune.data.metrics import Task
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES, EdgeFeatures, Features
from graphprune.graphs.flatten import check_edge_weight
from graphprune.graphs.given import as_tensor, with_tensors
from graphprune.graphs.pairs import EDGE_PROTECTED, check_protected


@dataclass(frozen=True)
class Check:
    """Checks one graph against the first training graph and gives a copy with ``y`` in its standard shape."""

    task: Task
    width: int | None
    edge_width: int | None
    sizes: Sequence[int] | None  # of categories, by column of x
    edge_sizes: Sequence[int] | None  # the same of edge_attr
    num_classes: int | None
    level: Level
    weighted: bool = False
    protected: bool = False

    @classmethod
    def like(
        cls,
        first: Data,
        task: Task,
        features: Literal["ogb-mol"] | Sequence[int] | None,
        num_classes: int | None,
        level: Level,
        edge_features: Sequence[int] | None = None,
    ) -> Check:
        """The check by which all graphs are as the first training graph is.

        Raises:
            ValueError: ``features`` or ``edge_features`` that are no numbers of categories, or without ``edge_attr``.
        """
        first = _given(first, "train graph 0")
        widths = _width(first, "x"), _width(first, "edge_attr")
        molecules = features == "ogb-mol"
        sizes = (
            ATOM_FEATURES if molecules else _categories("features", "x", "N", features, widths[0]),
            BOND_FEATURES
            if molecules and edge_features is None
            else _categories("edge_features", "edge_attr", "E", edge_features, widths[1]),
        )
        has = (isinstance(first, Data) and first.get(name) is not None for name in ("edge_weight", EDGE_PROTECTED))
        return cls(task, *widths, *sizes, num_classes, level, *has)

    @property
    def features(self) -> Features:
        """What ``x`` holds."""
        if self.sizes is None:
            return self.width or 0
        return "ogb-mol" if self.sizes is ATOM_FEATURES else list(self.sizes)

    @property
    def edge_features(self) -> EdgeFeatures | None:
        """What ``edge_attr`` holds."""
        if self.edge_width is None or self.edge_sizes is None:
            return self.edge_width
        return "ogb-mol" if self.edge_sizes is BOND_FEATURES else list(self.edge_sizes)

    def __call__(self, graph: Data, where: str) -> Data:
        """The graph as it is packed."""
        if not isinstance(graph, Data):
            raise TypeError(f"{where} is a {type(graph).__name__}, expected a torch_geometric.data.Data")
        graph = _given(graph, where)
        if graph.get("x") is None:
            raise ValueError(f"{where} has no node features x; give bare graphs x = torch.ones(num_nodes, 1)")
        self._features(graph.x, f"{where}: x", self.width, self.sizes)
        if graph.num_nodes != graph.x.size(0):
            raise ValueError(f"{where}: x has {graph.x.size(0)} rows for {graph.num_nodes} nodes")
        self._edges(graph, where)
        checked = copy.copy(graph)
        checked.y = self._label(graph.get("y"), where) if self.level == "graph" else self._labels(graph, where)
        return checked

    def _features(self, values: Any, where: str, width: int | None, sizes: Sequence[int] | None) -> None:
        """Check features of nodes or edges: ``width`` real columns, or categories, so many in each column."""
        if not isinstance(values, Tensor):  # such as the two of a bipartite graph
            raise TypeError(f"{where} must be one tensor, got a {type(values).__name__}")
        option = "edge_features" if where.endswith("edge_attr") else "features"
        ogb = sizes is ATOM_FEATURES or sizes is BOND_FEATURES
        if sizes is not None and values.dtype != torch.int64:
            told = "features='ogb-mol'" if ogb else f"{option}={list(sizes)}"
            raise TypeError(f"{where} must be int64 for {told}, got {values.dtype}")
        if sizes is None and not values.is_floating_point():
            raise TypeError(
                f"{where} must be float, got {values.dtype}; convert it (.float()) or one-hot encode it, or say how "
                f"many categories its columns have: {option}=[...]"
            )
        width = width if sizes is None else len(sizes)
        if values.dim() != 2 or values.size(1) != width:
            expected = f"(rows, {'columns' if width is None else width})"
            like = "as in train graph 0" * (width is not None)
            if sizes is not None:
                like = "as OGB has it" if ogb else f"of {list(sizes)} categories"
            raise ValueError(f"{where} has shape {tuple(values.shape)}, expected {expected} {like}")
        bad = ~values.isfinite() if sizes is None else (values < 0) | (values >= torch.tensor(sizes))
        if bool(bad.any()):
            row, column = bad.nonzero()[0].tolist()
            problem = "NaN or infinite"
            if sizes is not None:
                problem = f"outside its categories: {values[row, column]} in column {column}, of {sizes[column]} from 0"
            raise ValueError(f"{where} has a value in row {row} that is {problem}")

    def _edges(self, graph: Data, where: str) -> None:
        index = graph.get("edge_index")
        if not isinstance(index, Tensor):
            raise ValueError(f"{where} has no edge_index; without edges it is torch.empty(2, 0, dtype=torch.long)")
        if index.dtype != torch.int64:
            raise TypeError(f"{where}: edge_index must be int64, got {index.dtype}")
        if index.dim() != 2 or index.size(0) != 2:
            way = ": give its transpose" if index.dim() == 2 and index.size(1) == 2 else ""
            raise ValueError(f"{where}: edge_index has shape {tuple(index.shape)}, expected (2, E){way}")
        bad = ((index < 0) | (index >= graph.x.size(0))).any(0)
        if bool(bad.any()):
            arc = int(bad.nonzero()[0])
            ends = index[:, arc].tolist()
            raise ValueError(f"{where}: edge_index[:, {arc}] = {ends} is out of range for {graph.x.size(0)} nodes")
        values = graph.get("edge_attr")
        if (values is None) != (self.edge_width is None):
            has = "lacks" if values is None else "has"
            raise ValueError(f"{where} {has} edge_attr of shape (E, D), unlike train graph 0")
        if values is not None:
            self._features(values, f"{where}: edge_attr", self.edge_width, self.edge_sizes)
            if values.size(0) != index.size(1):
                raise ValueError(f"{where}: edge_attr has {values.size(0)} rows for {index.size(1)} edges")
        for name, wanted in (("edge_weight", self.weighted), (EDGE_PROTECTED, self.protected)):
            if (graph.get(name) is not None) != wanted:
                raise ValueError(f"{where} {'lacks' if wanted else 'has'} {name}, unlike train graph 0")
        if self.weighted:
            check_edge_weight(graph.edge_weight, index.size(1), lambda arc: f"{where}{f', arc {arc}' * (arc >= 0)}: ")
        if self.protected:
            check_protected(graph[EDGE_PROTECTED], index.size(1), f"{where}: ")

    def _label(self, y: Any, where: str) -> Tensor | list[str]:
        if y is None:
            raise ValueError(f"{where} has no label y")
        words = isinstance(y, str) or (isinstance(y, list | tuple) and any(isinstance(word, str) for word in y))
        if words != (self.task == "sequence") or (words and (isinstance(y, str) or not all(map(_is_word, y)))):
            found = f"{y!r:.80}" if words else f"a {type(y).__name__}"
            wanted = "a list of words" if self.task == "sequence" else "a label; words are of task='sequence'"
            raise ValueError(f"{where}: y of a {self.task} task must be {wanted}, got {found}")
        if words:
            return list(y)
        values = torch.as_tensor(y)
        if self.task == "multiclass":
            if values.dtype != torch.int64:
                raise TypeError(f"{where}: y of a multiclass task must be int64, got {values.dtype}")
            if values.numel() != 1 or not 0 <= int(values) < (self.num_classes or int(values) + 1):
                limit = f" to {self.num_classes - 1}" if self.num_classes else ""
                raise ValueError(f"{where}: y is {values.tolist()}, expected one class number from 0{limit}")
            return values.reshape(1)
        return self._numbers(values.reshape(1, -1), where)

    def _labels(self, graph: Data, where: str) -> Tensor:
        """The labels of the nodes, ``(N,)`` or ``(N, T)``."""
        y, nodes = graph.get("y"), graph.x.size(0)
        y = y if y is None else as_tensor(y, f"{where}: y")
        if not isinstance(y, Tensor) or y.dim() not in (1, 2) or y.size(0) != nodes:
            shape = tuple(y.shape) if isinstance(y, Tensor) else None
            raise ValueError(f"{where}: y must have a row for each of {nodes} nodes, got shape {shape}")
        if self.task != "multiclass":
            return self._numbers(y if y.dim() == 2 else y[:, None], where)
        if y.dtype != torch.int64 or y.dim() != 1:
            raise TypeError(f"{where}: y of a multiclass task must be int64 of shape (N,), got {y.dtype} {y.dim()}-D")
        seen = y[y != IGNORE_INDEX]
        if seen.numel() and not 0 <= int(seen.min()) <= int(seen.max()) < (self.num_classes or int(seen.max()) + 1):
            raise ValueError(f"{where}: y has class numbers from {int(seen.min())} to {int(seen.max())}")
        return y

    def _numbers(self, y: Tensor, where: str) -> Tensor:
        """Labels ``(rows, T)`` of a task that is not multiclass, float32."""
        y = y.float()
        wrong = ~((y == 0) | (y == 1) | y.isnan()) if self.task == "binary" else y.isinf()
        if bool(wrong.any()) or y.size(1) == 0:
            has = float(y[wrong][0]) if y.size(1) else "no number"
            kind = "a binary label must be 0, 1 or NaN" if self.task == "binary" else "expected finite numbers or NaN"
            raise ValueError(f"{where}: y has {has}, {kind} (missing)")
        return y


def _is_word(word: object) -> bool:
    return isinstance(word, str) and word != ""


def _categories(
    option: str, attribute: str, rows: str, given: str | Sequence[int] | None, width: int | None
) -> list[int] | None:
    """How many categories each column has, None if nothing is said of it.

    Raises:
        ValueError: no such numbers, or no columns.
    """
    if given is None:
        return None
    sizes = [] if isinstance(given, str) else list(given)
    if not sizes or not all(is_whole(size) and size >= 1 for size in sizes) or width is None:
        raise ValueError(
            f"{option} are how many categories each column of {attribute} has, 1 or more, and {attribute} of shape "
            f"({rows}, D) must be there; got {given!r}"
        )
    return list(map(int, sizes))


def _given(graph: Data, where: str) -> Data:
    """The graph, or a copy whose features are tensors, and one number an edge a column, as torch_geometric takes it."""
    graph = with_tensors(graph, f"{where}: ")
    values = graph.get("edge_attr") if isinstance(graph, Data) else None
    if isinstance(values, Tensor) and values.dim() == 1:
        graph = copy.copy(graph)
        graph.edge_attr = values[:, None]
    return graph


def _width(graph: Data, attribute: str) -> int | None:
    values = graph.get(attribute) if isinstance(graph, Data) else None
    return values.size(1) if isinstance(values, Tensor) and values.dim() == 2 else None
