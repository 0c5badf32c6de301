"""A user's own graphs as a data set, checked graph by graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data

from graphprune.data.base import HIDDEN, METRICS, SPLITS, GraphData, Level, Split, Task
from graphprune.data.metrics import Metric
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES
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
    level: Level = "graph",
) -> GraphData:
    """A data set from lists (or map-style data sets) of :class:`torch_geometric.data.Data`.

    Every graph needs ``x`` (float ``(N, D)``), ``edge_index`` (int64 ``(2, E)``, ``(2, 0)`` without edges)
    and ``y``: one class number for multiclass, else one number a task, with NaN where a label is missing (0
    and 1 for binary); with ``level="node"`` as many numbers for each node, shape ``(N,)`` for multiclass (-100 hides a
    label from a split), else ``(N, T)``. ``edge_attr`` (float ``(E, D)``) is used where all graphs have it. Graphs
    without edges or nodes are kept and counted in :attr:`GraphData.empty`. The graphs themselves are not changed.

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
        level: what carries a label; for one graph whose nodes are split see :func:`from_nodes`.

    Raises:
        ValueError: a graph that does not fit; names split, graph number and what is wrong. A split without any label.
        TypeError: something that is no ``Data``, or a tensor of the wrong dtype.
    """
    check_task(task)
    parts = {split: list(_items(graphs)) for split, graphs in zip(SPLITS, (train, val, test), strict=True)}
    for split, graphs in parts.items():
        if not graphs:
            raise ValueError(f"{name}: the {split} split has no graphs")
    like = parts["train"][0]
    check = Check.like(like, task, features, num_classes, level)
    splits: dict[Split, PackedGraphs] = {}
    for split, graphs in parts.items():
        checked = [check(graph, f"{name}, {split} graph {number}") for number, graph in enumerate(graphs)]
        try:
            splits[split] = PackedGraphs.of(checked)
        except ValueError as error:
            raise ValueError(f"{name}, {split} split: {error}") from error
    return described(splits, check, name, metric, provenance)


def check_task(task: str) -> None:
    """Raise ValueError unless this is a task."""
    if task not in METRICS:
        raise ValueError(f"task must be one of {', '.join(METRICS)}, got {task!r}")


def described(
    splits: Mapping[Split, PackedGraphs],
    check: Check,
    name: str,
    metric: Metric | None,
    provenance: Mapping[str, str] | None,
) -> GraphData:
    """The data set of splits whose graphs have passed the check one by one; see :func:`from_graphs`.

    Raises:
        ValueError: splits with different numbers of labels, or one without any.
    """
    task, level = check.task, check.level
    labels = [getattr(splits[split], level)["y"] for split in SPLITS]
    if len({label.shape[1:] for label in labels}) > 1:
        raise ValueError(f"{name}: the splits have different numbers of labels a {level}")
    for split, label in zip(SPLITS, labels, strict=True):
        if not bool(((label != HIDDEN) if task == "multiclass" else ~label.isnan()).any()):
            raise ValueError(f"{name}, {split} split: no {level} has a label, so nothing could be trained or measured")
    return GraphData(
        name=name,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        task=task,
        metric=metric or METRICS[task][0],
        features=check.features or check.width or 0,
        num_classes=_classes(task, check.num_classes, labels),
        num_tasks=1 if task == "multiclass" else labels[0].size(1),
        edge_features="ogb-mol" if check.features and check.edge_width is not None else check.edge_width,
        provenance=provenance or {"source": "the user's own graphs"},
        level=level,
    )


def from_nodes(
    graph: Data,
    *,
    name: str,
    task: Task = "multiclass",
    metric: Metric | None = None,
    num_classes: int | None = None,
    provenance: Mapping[str, str] | None = None,
) -> GraphData:
    """A transductive data set from one graph whose nodes are split.

    Args:
        graph: needs ``x``, ``edge_index``, ``y`` (see :func:`from_graphs` with ``level="node"``) and the bool masks
            ``train_mask``, ``val_mask`` and ``test_mask``, shape ``(N,)``; nodes in none of them have no label that is
            read. ``edge_attr`` and ``edge_weight`` are kept, other attributes are not.
        name: of the data set.
        task: multiclass, binary or regression.
        metric: None: accuracy for multiclass, rocauc for binary, rmse for regression.
        num_classes: of a multiclass task; None: the largest label plus one.
        provenance: anything worth keeping about where the graph comes from.

    Raises:
        ValueError: a mask that is missing, empty or of another shape, masks that overlap, or what does not fit as in
            :func:`from_graphs`.
        TypeError: something that is no ``Data``, or a tensor of the wrong dtype.
    """
    if not isinstance(graph, Data):
        raise TypeError(f"{name} is a {type(graph).__name__}, expected a torch_geometric.data.Data")
    if graph.get("y") is None:
        raise ValueError(f"{name} has no labels y")
    masks = {split: graph.get(f"{split}_mask") for split in SPLITS}
    nodes = int(graph.num_nodes or 0)
    for split, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (nodes,) or not bool(mask.any()):
            raise ValueError(f"{name}: {split}_mask must be bool of shape ({nodes},) with a node in it")
    if bool((torch.stack([mask.int() for mask in masks.values()]).sum(0) > 1).any()):
        raise ValueError(f"{name}: train_mask, val_mask and test_mask overlap")
    views = []
    for mask in masks.values():
        y = torch.as_tensor(graph.y)
        if y.shape[:1] != (nodes,):
            raise ValueError(f"{name}: y has shape {tuple(y.shape)}, expected a row for each of {nodes} nodes")
        hidden = float("nan") if task != "multiclass" else HIDDEN
        view = Data(x=graph.x, edge_index=graph.edge_index)
        for attribute in ("edge_attr", "edge_weight"):
            if graph.get(attribute) is not None:
                view[attribute] = graph[attribute]
        y = y.float() if task != "multiclass" else y
        view.y = y.masked_fill(~(mask if y.dim() == 1 else mask[:, None]), hidden)
        views.append([view])
    data = from_graphs(
        *views, name=name, task=task, metric=metric, num_classes=num_classes, provenance=provenance, level="node"
    )
    return replace(data, transductive=True)


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
class Check:
    """Checks one graph against the first training graph and gives a copy with ``y`` in its standard shape."""

    task: Task
    features: Literal["ogb-mol"] | None
    width: int | None
    edge_width: int | None
    num_classes: int | None
    level: Level

    @classmethod
    def like(
        cls,
        first: Data,
        task: Task,
        features: Literal["ogb-mol"] | None,
        num_classes: int | None,
        level: Level,
    ) -> Check:
        """The check by which all graphs are as the first training graph is."""
        return cls(task, features, _width(first, "x"), _width(first, "edge_attr"), num_classes, level)

    @property
    def categorical(self) -> bool:
        """Whether features are numbers of categories."""
        return self.features is not None

    def __call__(self, graph: Data, where: str) -> Data:
        """The graph as it is packed."""
        if not isinstance(graph, Data):
            raise TypeError(f"{where} is a {type(graph).__name__}, expected a torch_geometric.data.Data")
        if graph.get("x") is None:
            raise ValueError(f"{where} has no node features x; give bare graphs x = torch.ones(num_nodes, 1)")
        self._features(graph.x, f"{where}: x", self.width, ATOM_FEATURES)
        if graph.num_nodes != graph.x.size(0):
            raise ValueError(f"{where}: x has {graph.x.size(0)} rows for {graph.num_nodes} nodes")
        self._edges(graph, where)
        checked = copy.copy(graph)
        checked.y = self._label(graph.get("y"), where) if self.level == "graph" else self._labels(graph, where)
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

    def _labels(self, graph: Data, where: str) -> Tensor:
        """The labels of the nodes, ``(N,)`` or ``(N, T)``."""
        y, nodes = graph.get("y"), graph.x.size(0)
        if not isinstance(y, Tensor) or y.dim() not in (1, 2) or y.size(0) != nodes:
            shape = tuple(y.shape) if isinstance(y, Tensor) else None
            raise ValueError(f"{where}: y must have a row for each of {nodes} nodes, got shape {shape}")
        if self.task != "multiclass":
            values = (y if y.dim() == 2 else y[:, None]).float()
            if self.task == "binary" and not bool(((values == 0) | (values == 1) | values.isnan()).all()):
                raise ValueError(f"{where}: y of a binary task must hold 0, 1 or NaN (missing) only")
            if bool(values.isinf().any()):
                raise ValueError(f"{where}: y must hold finite numbers or NaN (missing)")
            return values
        if y.dtype != torch.int64 or y.dim() != 1:
            raise TypeError(f"{where}: y of a multiclass task must be int64 of shape (N,), got {y.dtype} {y.dim()}-D")
        seen = y[y != HIDDEN]
        if seen.numel() and not 0 <= int(seen.min()) <= int(seen.max()) < (self.num_classes or int(seen.max()) + 1):
            raise ValueError(f"{where}: y has class numbers from {int(seen.min())} to {int(seen.max())}")
        return y
