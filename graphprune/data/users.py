"""A user's own graphs as a data set, checked graph by graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data

from graphprune.data.base import GraphData, Level
from graphprune.data.check import Check
from graphprune.data.labelled import IGNORE_INDEX, SPLITS, Split
from graphprune.data.metrics import Task, default_metric
from graphprune.data.sequences import POSITIONS, VOCABULARY, encoded
from graphprune.graphs.given import as_tensor, with_tensors
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import EDGE_PROTECTED

Graphs = Sequence[Data] | Dataset[Data]


def from_graphs(
    train: Graphs,
    val: Graphs,
    test: Graphs,
    *,
    name: str,
    task: Task,
    metric: str | None = None,
    num_classes: int | None = None,
    features: Literal["ogb-mol"] | Sequence[int] | None = None,
    provenance: Mapping[str, str] | None = None,
    level: Level = "graph",
    edge_features: Sequence[int] | None = None,
    vocabulary: int = VOCABULARY,
    positions: int = POSITIONS,
) -> GraphData:
    """A data set from lists (or map-style data sets) of :class:`torch_geometric.data.Data`.

    Every graph needs ``x`` (``(N, D)``, float, or int64 of ``features`` categories), ``edge_index`` (int64 ``(2, E)``,
    ``(2, 0)`` without edges) and ``y``: one class number for multiclass, a list of words for sequence, else one number
    a task, with NaN where a label is missing (0 and 1 for binary); with ``level="node"`` as many numbers for each node,
    shape ``(N,)`` for multiclass (-100 hides a label from a split), else ``(N, T)``. All graphs or none have
    ``edge_attr`` (``(E, D)``, or one column as ``(E,)``; float, or int64 of ``edge_features`` categories),
    ``edge_weight`` (float ``(E,)``, 0 or more) and ``edge_protected`` (bool ``(E,)``, True at arcs that are never
    pruned and count as little as self-loops). Graphs without edges or nodes are kept and counted in
    :attr:`GraphData.empty`. Arrays and lists of numbers will do for tensors: real ones become float32, whole ones
    int64. The graphs themselves are not changed.

    Args:
        train: graphs to train on.
        val: graphs that select epochs.
        test: graphs that are only reported.
        name: of the data set, in results and errors.
        task: multiclass, binary, regression, or sequence.
        metric: None: accuracy for multiclass, rocauc for binary, rmse for regression, subtoken-f1 for sequence.
        num_classes: of a multiclass task; None: the largest label plus one, and every class has to be in training.
        features: how many categories each column of ``x`` has, if it holds their numbers (from 0), or ``"ogb-mol"`` if
            ``x`` and ``edge_attr`` are OGB's categorical atom and bond features; None: ``x`` has real columns.
        provenance: anything worth keeping about where the graphs come from.
        level: what carries a label; for one graph whose nodes are split see :func:`from_nodes`.
        edge_features: how many categories each column of ``edge_attr`` has, if it holds their numbers (from 0); None:
            it has real columns, or OGB's bonds.
        vocabulary: of a sequence task, how many of the training graphs' most frequent words a network can say.
        positions: of a sequence task, how many words it says; see :mod:`graphprune.data.sequences`.

    Raises:
        ValueError: a graph that does not fit; names split, graph number and what is wrong. A split without any label, a
            task that no training graph has a label of, a class (where ``num_classes`` is not given) without any.
        TypeError: something that is no ``Data``, or no list of it; features of the wrong dtype, or that are no array of
            numbers.
    """
    metric = metric or default_metric(task)
    parts = {split: _items(graphs, split, name) for split, graphs in zip(SPLITS, (train, val, test), strict=True)}
    for split, graphs in parts.items():
        if not graphs:
            raise ValueError(f"{name}: the {split} split has no graphs")
    like = parts["train"][0]
    check = Check.like(like, task, features, num_classes, level, edge_features)
    splits: dict[Split, PackedGraphs] = {}
    words: dict[str, list[list[str]]] = {}
    if task == "sequence" and (level != "graph" or min(vocabulary, positions) < 1):
        raise ValueError(f"{name}: a sequence is said of a graph, got {level=}, {vocabulary=}, {positions=}")
    for split, graphs in parts.items():
        checked = [check(graph, f"{name}, {split} graph {number}") for number, graph in enumerate(graphs)]
        if task == "sequence":
            words[split] = [graph.y for graph in checked]
            for graph in checked:
                del graph.y
        try:
            splits[split] = PackedGraphs.of(checked)
        except ValueError as error:
            raise ValueError(f"{name}, {split} split: {error}") from error
    known: Sequence[str] = ()
    if task == "sequence":
        labels, known = encoded(words, vocabulary, positions)
        splits = {split: graphs.with_graph(**labels[split]) for split, graphs in splits.items()}
    return described(splits, check, name, metric, provenance, known)


def described(
    splits: Mapping[Split, PackedGraphs],
    check: Check,
    name: str,
    metric: str,
    provenance: Mapping[str, str] | None,
    vocabulary: Sequence[str] = (),
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
        if not bool(((label != IGNORE_INDEX) if task == "multiclass" else ~label.isnan()).any()):
            raise ValueError(f"{name}, {split} split: no {level} has a label, so nothing could be trained or measured")
    if task in ("binary", "regression"):
        _check_tasks(name, labels[0])
    elif task == "multiclass" and check.num_classes is None:
        _check_classes(name, level, dict(zip(SPLITS, labels, strict=True)))
    return GraphData(
        name=name,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        task=task,
        metric=metric,
        features=check.features,
        num_classes=len(vocabulary) + 2 if task == "sequence" else _classes(task, check.num_classes, labels),
        num_tasks=1 if task == "multiclass" else labels[0].size(1),
        edge_features=check.edge_features,
        provenance=provenance or {"source": "the user's own graphs"},
        level=level,
        vocabulary=vocabulary,
    )


def from_nodes(
    graph: Data,
    *,
    name: str,
    task: Task = "multiclass",
    metric: str | None = None,
    num_classes: int | None = None,
    features: Literal["ogb-mol"] | Sequence[int] | None = None,
    provenance: Mapping[str, str] | None = None,
    edge_features: Sequence[int] | None = None,
) -> GraphData:
    """A transductive data set from one graph whose nodes are split.

    Args:
        graph: needs ``x``, ``edge_index``, ``y`` (see :func:`from_graphs` with ``level="node"``) and the bool masks
            ``train_mask``, ``val_mask`` and ``test_mask``, shape ``(N,)``; nodes in none of them have no label that is
            read. ``edge_attr``, ``edge_weight`` and ``edge_protected`` are kept, other
            attributes are not.
        name: of the data set.
        task: multiclass, binary or regression.
        metric: None: accuracy for multiclass, rocauc for binary, rmse for regression.
        num_classes: of a multiclass task; None: the largest label plus one, and every class has to be in training.
        features: how many categories each column of ``x`` has, as in :func:`from_graphs`.
        provenance: anything worth keeping about where the graph comes from.
        edge_features: how many categories each column of ``edge_attr`` has, as in :func:`from_graphs`.

    Raises:
        ValueError: a mask that is missing, empty or of another shape, masks that overlap, or what does not fit as in
            :func:`from_graphs`.
        TypeError: something that is no ``Data``, or a tensor of the wrong dtype.
    """
    if not isinstance(graph, Data):
        raise TypeError(f"{name} is a {type(graph).__name__}, expected a torch_geometric.data.Data")
    if graph.get("y") is None:
        raise ValueError(f"{name} has no labels y")
    graph = with_tensors(graph, f"{name}: ")
    masks = {split: graph.get(f"{split}_mask") for split in SPLITS}
    masks = {split: mask if mask is None else as_tensor(mask, f"{name}: {split}_mask") for split, mask in masks.items()}
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
        hidden = float("nan") if task != "multiclass" else IGNORE_INDEX
        view = Data(x=graph.x, edge_index=graph.edge_index)
        for attribute in ("edge_attr", "edge_weight", EDGE_PROTECTED):
            if graph.get(attribute) is not None:
                view[attribute] = graph[attribute]
        y = y.float() if task != "multiclass" else y
        view.y = y.masked_fill(~(mask if y.dim() == 1 else mask[:, None]), hidden)
        views.append([view])
    data = from_graphs(
        *views,
        name=name,
        task=task,
        metric=metric,
        num_classes=num_classes,
        features=features,
        provenance=provenance,
        level="node",
        edge_features=edge_features,
    )
    return replace(data, transductive=True)


def _items(graphs: Graphs, split: Split, name: str) -> list[Data]:
    if isinstance(graphs, Data) or not hasattr(graphs, "__len__"):
        raise TypeError(
            f"{name}: the {split} split is a {type(graphs).__name__}, expected a list of graphs: list(graphs)"
        )
    return [graphs[number] for number in range(len(graphs))]


def _check_tasks(name: str, train: Tensor) -> None:
    """Raise ValueError for a task without a label to train on."""
    never = train.isnan().all(0).nonzero().flatten().tolist()
    if never:
        raise ValueError(
            f"{name}, train split: column {', '.join(map(str, never[:5]))} of y (from 0) has no label at all, and an "
            "output that is never trained would be measured; leave the column out"
        )


def _check_classes(name: str, level: Level, labels: Mapping[Split, Tensor]) -> None:
    """Raise ValueError for a class between 0 and the largest label that training does not have."""
    seen = {split: set(label[label != IGNORE_INDEX].unique().tolist()) for split, label in labels.items()}
    classes = max(max(found) for found in seen.values()) + 1
    if len(seen["train"]) < classes:
        missing = next(label for label in range(classes) if label not in seen["train"])
        there = " and ".join(split for split, found in seen.items() if missing in found)
        other = f"{there} has" if there else "nor has any other split"
        raise ValueError(
            f"{name}: no {level} of the train split has the class {missing}, {other} "
            f"({classes - len(seen['train'])} of {classes} classes are not trained); number "
            f"classes from 0 on without gaps, or say num_classes={classes} if this is meant"
        )


def _classes(task: Task, given: int | None, labels: list[Tensor]) -> int:
    if task == "multiclass":
        return given or int(torch.cat(labels).max()) + 1
    return 2 if task == "binary" else 0
