"""A user's own graphs as a data set, checked graph by graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data

from graphprune.data.base import METRICS, SPLITS, GraphData, Task
from graphprune.data.metrics import Metric
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES, Features
from graphprune.graphs.packed import PackedGraphs

Graphs = Sequence[Data] | Dataset[Data]


def from_graphs(
    train: Graphs,
    val: Graphs,
    test: Graphs,
    *,
    name: str,
    task: Task,
    metric: Metric | None = None,
    num_classes: int | None = None,
    features: Literal["ogb-mol"] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> GraphData:
    """A data set from lists (or map-style data sets) of :class:`torch_geometric.data.Data`.

    Every graph needs ``x`` (float ``(N, D)``), ``edge_index`` (int64 ``(2, E)``, ``(2, 0)`` without edges)
    and ``y``: one class number for multiclass, else one number a task, with NaN where a label is missing (0
    and 1 for binary). ``edge_attr`` (float ``(E, D)``) is used where all graphs have it. Graphs without edges
    or nodes are kept and counted in :attr:`GraphData.empty`. The graphs themselves are not changed.

    Args:
        train: graphs to train on.
        val: graphs that select epochs.
        test: graphs that are only reported.
        name: of the data set, in results and errors.
        task: multiclass, binary or regression.
        metric: None: accuracy for multiclass, rocauc for binary, rmse for regression.
        num_classes: of a multiclass task; None: the largest label plus one.
        features: ``"ogb-mol"`` if ``x`` and ``edge_attr`` are OGB's categorical atom and bond features
            (int64).
        provenance: anything worth keeping about where the graphs come from.

    Raises:
        ValueError: a graph that does not fit; names split, graph number and what is wrong.
        TypeError: something that is no ``Data``, or a tensor of the wrong dtype.
    """
    if task not in METRICS:
        raise ValueError(f"task must be one of {', '.join(METRICS)}, got {task!r}")
    parts = {split: list(_items(graphs)) for split, graphs in zip(SPLITS, (train, val, test), strict=True)}
    for split, graphs in parts.items():
        if not graphs:
            raise ValueError(f"{name}: the {split} split has no graphs")
    like = parts["train"][0]
    check = _Check(task, features is not None, _width(like, "x"), _width(like, "edge_attr"), num_classes)
    splits = {}
    for split, graphs in parts.items():
        checked = [check(graph, f"{name}, {split} graph {number}") for number, graph in enumerate(graphs)]
        try:
            splits[split] = PackedGraphs.of(checked)
        except ValueError as error:
            raise ValueError(f"{name}, {split} split: {error}") from error
    labels = [graphs.graph["y"] for graphs in splits.values()]
    if len({label.shape[1:] for label in labels}) > 1:
        raise ValueError(f"{name}: the splits have different numbers of labels a graph")
    edges = check.edge_width
    edge_features: Features | None = "ogb-mol" if features and edges is not None else edges
    return GraphData(
        name=name,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        task=task,
        metric=metric or METRICS[task][0],
        features=features or check.width or 0,
        num_classes=_classes(task, num_classes, labels),
        num_tasks=1 if task == "multiclass" else labels[0].size(1),
        edge_features=edge_features,
        provenance=provenance or {"source": "the user's own graphs"},
    )


def _items(graphs: Graphs) -> Iterator[Data]:
    return (graphs[number] for number in range(len(graphs)))  # type: ignore[arg-type]


def _width(graph: Data, attribute: str) -> int | None:
    values = graph.get(attribute) if isinstance(graph, Data) else None
    return values.size(1) if isinstance(values, Tensor) and values.dim() == 2 else None


def _classes(task: Task, given: int | None, labels: list[Tensor]) -> int:
    if task == "multiclass":
        return given or int(torch.cat(labels).max()) + 1
    return 2 if task == "binary" else 0


@dataclass(frozen=True)
class _Check:
    """Checks one graph against the first training graph and gives a copy with ``y`` in its standard shape."""

    task: Task
    categorical: bool
    width: int | None
    edge_width: int | None
    num_classes: int | None

    def __call__(self, graph: Data, where: str) -> Data:
        if not isinstance(graph, Data):
            raise TypeError(f"{where} is a {type(graph).__name__}, expected a torch_geometric.data.Data")
        if graph.get("x") is None:
            raise ValueError(f"{where} has no node features x; give bare graphs x = torch.ones(num_nodes, 1)")
        self._features(graph.x, f"{where}: x", self.width, ATOM_FEATURES)
        if graph.num_nodes != graph.x.size(0):
            raise ValueError(f"{where}: x has {graph.x.size(0)} rows for {graph.num_nodes} nodes")
        self._edges(graph, where)
        checked = copy.copy(graph)
        checked.y = self._label(graph.get("y"), where)
        return checked

    def _features(self, values: Tensor, where: str, width: int | None, sizes: tuple[int, ...]) -> None:
        if self.categorical and values.dtype != torch.int64:
            raise TypeError(f"{where} must be int64 for features='ogb-mol', got {values.dtype}")
        if not self.categorical and not values.is_floating_point():
            raise TypeError(f"{where} must be float, got {values.dtype}; convert it (.float()) or one-hot encode it")
        width = len(sizes) if self.categorical else width
        if values.dim() != 2 or values.size(1) != width:
            expected = f"(rows, {'columns' if width is None else width})"
            like = "as OGB has it" if self.categorical else "as in train graph 0"
            raise ValueError(f"{where} has shape {tuple(values.shape)}, expected {expected} {like}")
        bad = (values < 0) | (values >= torch.tensor(sizes)) if self.categorical else ~values.isfinite()
        if bool(bad.any()):
            row = int(bad.any(1).nonzero()[0])
            problem = "outside its categories" if self.categorical else "NaN or infinite"
            raise ValueError(f"{where} has a value in row {row} that is {problem}")

    def _edges(self, graph: Data, where: str) -> None:
        index = graph.get("edge_index")
        if not isinstance(index, Tensor):
            raise ValueError(f"{where} has no edge_index; without edges it is torch.empty(2, 0, dtype=torch.long)")
        if index.dtype != torch.int64:
            raise TypeError(f"{where}: edge_index must be int64, got {index.dtype}")
        if index.dim() != 2 or index.size(0) != 2:
            raise ValueError(f"{where}: edge_index has shape {tuple(index.shape)}, expected (2, E)")
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
            self._features(values, f"{where}: edge_attr", self.edge_width, BOND_FEATURES)
            if values.size(0) != index.size(1):
                raise ValueError(f"{where}: edge_attr has {values.size(0)} rows for {index.size(1)} edges")

    def _label(self, y: object, where: str) -> Tensor:
        if y is None:
            raise ValueError(f"{where} has no label y")
        values = torch.as_tensor(y)
        if self.task == "multiclass":
            if values.dtype != torch.int64:
                raise TypeError(f"{where}: y of a multiclass task must be int64, got {values.dtype}")
            if values.numel() != 1 or not 0 <= int(values) < (self.num_classes or int(values) + 1):
                limit = f" to {self.num_classes - 1}" if self.num_classes else ""
                raise ValueError(f"{where}: y is {values.tolist()}, expected one class number from 0{limit}")
            return values.reshape(1)
        values = values.reshape(1, -1).float()
        if self.task == "binary" and not bool(((values == 0) | (values == 1) | values.isnan()).all()):
            raise ValueError(f"{where}: y is {values.tolist()}, a binary label must be 0, 1 or NaN (missing)")
        if bool(values.isinf().any()) or values.numel() == 0:
            raise ValueError(f"{where}: y is {values.tolist()}, expected finite numbers or NaN (missing)")
        return values
