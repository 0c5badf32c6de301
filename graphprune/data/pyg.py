"""Data sets of torch_geometric, handed in as objects: their splits, task and features made those of a `GraphData`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Subset
from torch_geometric.data import Data, HeteroData

from graphprune.checks import is_whole
from graphprune.data.base import GraphData, Level
from graphprune.data.degrees import DEGREE_CAPS, DegreeColumns
from graphprune.data.labelled import SPLITS
from graphprune.data.metrics import Task
from graphprune.data.repeats import check_apart, duplicates, keys_of
from graphprune.data.splits import SEED, by_name, given_split, held_out
from graphprune.data.users import from_graphs
from graphprune.graphs.given import with_tensors

CONSTANT = "constant"  # one column of ones in place of x
DEGREES = tuple(name for name, cap in DEGREE_CAPS.items() if cap is not None)


@dataclass(frozen=True)
class Known:
    """What a set of torch_geometric is known to be; the fields are arguments of :func:`from_pyg`."""

    task: Task
    metric: str | None = None
    level: Level = "graph"
    features: Literal["ogb-mol"] | Sequence[int] | None = None
    edge_features: Sequence[int] | None = None
    num_classes: int | None = None
    x: Sequence[str] | None = None


_SUPERPIXELS = Known("multiclass", "accuracy", num_classes=10, x=("x", "pos"))
_MOLECULE: Literal["ogb-mol"] = "ogb-mol"

# By class, and name where a class has several sets: ZINC and GNNBenchmarkDataset (Dwivedi et al., JMLR 2023, whose
# accuracy of PATTERN and CLUSTER is the mean over classes), peptides (Dwivedi et al., LRGB, NeurIPS 2022), MalNet-Tiny
# (Freitas et al., NeurIPS 2021).
KNOWN: dict[str, Known] = {
    "ZINC": Known("regression", "mae", features=[28], edge_features=[4]),
    "GNNBenchmarkDataset MNIST": _SUPERPIXELS,
    "GNNBenchmarkDataset CIFAR10": _SUPERPIXELS,
    "GNNBenchmarkDataset PATTERN": Known("multiclass", "balanced-accuracy", "node", num_classes=2),
    "GNNBenchmarkDataset CLUSTER": Known("multiclass", "balanced-accuracy", "node", num_classes=6),
    "GNNBenchmarkDataset CSL": Known("multiclass", "accuracy", num_classes=10),
    "LRGBDataset peptides-func": Known("binary", "ap", features=_MOLECULE),
    "LRGBDataset peptides-struct": Known("regression", "mae", features=_MOLECULE),
    "MalNetTiny": Known("multiclass", "accuracy", num_classes=5),
    "TUDataset": Known("multiclass", "accuracy"),
}


def from_pyg(
    dataset: Any,
    split: Any = None,
    *,
    name: str | None = None,
    task: Task | None = None,
    metric: str | None = None,
    num_classes: int | None = None,
    features: Literal["ogb-mol"] | Sequence[int] | None = None,
    edge_features: Sequence[int] | None = None,
    x: str | Sequence[str] | None = None,
    level: Level | None = None,
    split_seed: int = SEED,
    provenance: Mapping[str, str] | None = None,
) -> GraphData:
    """A data set of torch_geometric, or any sequence of its graphs, as a data set for pruning.

    Every graph is checked as :func:`from_graphs` does. A transform of the data set is applied once, now. Real numbers
    become float32, whole ones int64, one-dimensional ``x`` and ``edge_attr`` one column. What is None is taken from
    :data:`KNOWN`, if the set is in it; categories only where ``x`` or ``edge_attr`` are integers.

    Args:
        dataset: train, validation and test set, in this order or by name; or one data set, which ``split`` splits.
        split: of one data set: the numbers of its graphs (or a bool mask) for ``train``, ``val`` and ``test``, in this
            order or by name (``valid`` will do); or an int, which of ten folds tests (stratified, a tenth of the others
            validates); or three shares, as ``(0.8, 0.1, 0.1)``, drawn at random, classes in proportion. None: the set's
            own, ``get_idx_split()``, as data sets of OGB have it.
        name: of the data set, in results and errors; None: the set's own.
        task: multiclass, binary or regression.
        metric: see :func:`from_graphs`.
        num_classes: of a multiclass task.
        features: how many categories each column of an integer ``x`` has, or ``"ogb-mol"``.
        edge_features: how many categories each column of an integer ``edge_attr`` has.
        x: what the input of the nodes is: None their ``x``; names of attributes whose columns stand side by side, as
            ``("x", "pos")`` for superpixels; ``"constant"`` a one; ``"deg+odeg10"`` or ``"deg+odeg100"`` their ``x``
            (or a one), the degree, and it one-hot (larger ones share the last column).
        level: what carries a label, ``"graph"`` or ``"node"``.
        split_seed: of folds and shares.
        provenance: joins what is said of source and split, and of how many graphs of validation and test are in
            training, arc by arc.

    Raises:
        ValueError: no split, splits that overlap (the graphs are named), of three sets one whose graphs are all in
            training, labels too, no task, bare graphs without ``x=``, or what does not fit as in :func:`from_graphs`.
        TypeError: graphs with several kinds of nodes, or something that is no data set.
    """
    if isinstance(dataset, str):
        raise TypeError(f"dataset must be a data set, got the text {dataset!r}: gp.data.load takes names")
    three = _three(dataset)
    first = dataset if three is None else three["train"]
    name = name or _name(first)
    if three is not None and split is not None:
        raise ValueError(f"{name}: three data sets are their own split, leave out split=")
    known = _known(first) or (Known(task) if task is not None else None)
    if known is None:
        raise ValueError(
            f"{name}: nothing is known of this data set, say task='multiclass', 'binary' or 'regression' (and metric=, "
            f"level= if they are not the usual ones); known are {', '.join(KNOWN)}"
        )
    task, level, x = task or known.task, level or known.level, known.x if x is None else x
    graphs = {part: _graphs(each, x, name, part) for part, each in (three or {"whole": dataset}).items()}
    like = next(iter(graphs.values()))[0]
    recipe, places = "the data set's own", list[int]()
    if three is None:
        labels = _classes(graphs["whole"]) if task == "multiclass" and level == "graph" else None
        if split is None and hasattr(dataset, "get_idx_split"):
            split = dataset.get_idx_split()
        index, recipe = given_split(split, len(graphs["whole"]), labels, split_seed, name)
        places = held_out(index) if is_whole(split) else []
        graphs = {part: [graphs["whole"][number] for number in index[part]] for part in SPLITS}
    data = from_graphs(
        *(graphs[part] for part in SPLITS),
        name=name,
        task=task,
        metric=metric or (known.metric if task == known.task else None),
        num_classes=num_classes or (known.num_classes if task == known.task else None),
        features=known.features if features is None and _whole(like.get("x")) else features,
        edge_features=known.edge_features if edge_features is None and _whole(like.get("edge_attr")) else edge_features,
        level=level,
    )
    keys = keys_of(data)
    if three is not None:
        check_apart(three, data, keys)
    if x in DEGREES:
        if not isinstance(data.features, int):
            raise ValueError(
                f"{name}: x={x!r} puts degrees beside real columns, and x holds categories: {data.features}"
            )
        columns = DegreeColumns(data.num_features, DEGREE_CAPS[str(x)] or 0)
        data = data.with_splits(**{part: columns.append(each) for part, each in data.splits.items()})
        data = replace(data, features=data.train.node["x"].size(1), degrees=columns)
    about = {
        "source": _title(first),
        "licence": "see the source",
        "split": recipe,
        "x": x if isinstance(x, str) else " and ".join(x or ("x",)),
        "duplicates": duplicates(keys),
    }
    return replace(data, held_out=places, provenance=about | dict(provenance or {}))


# ---------------------------------------------------------------------------- what was handed in


def _three(dataset: Any) -> dict[str, Any] | None:
    """Three data sets by name, None for one."""
    if isinstance(dataset, Mapping):
        return by_name(dataset, "data sets")
    sets = isinstance(dataset, list | tuple) and len(dataset) == 3
    if not sets or any(isinstance(each, Data | HeteroData) or not hasattr(each, "__len__") for each in dataset):
        return None
    return dict(zip(SPLITS, dataset, strict=True))


def _inner(dataset: Any) -> Any:
    """The data set within torch's ``Subset``."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _name(dataset: Any) -> str:
    inner = _inner(dataset)
    return str(getattr(inner, "name", None) or type(inner).__name__)


def _title(dataset: Any) -> str:
    inner = _inner(dataset)
    kind = type(inner)
    return f"{kind.__module__}.{kind.__qualname__} {getattr(inner, 'name', None) or ''}".rstrip()


def _known(dataset: Any) -> Known | None:
    inner = _inner(dataset)
    kind = type(inner).__name__
    return KNOWN.get(f"{kind} {getattr(inner, 'name', '')}", KNOWN.get(kind))


def _graphs(dataset: Any, x: str | Sequence[str] | None, name: str, part: str) -> list[Data]:
    if isinstance(dataset, Data | HeteroData) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"{name}: expected a data set of graphs, or three, got a {type(dataset).__name__}")
    graphs = [dataset[number] for number in range(len(dataset))]
    if not graphs:
        raise ValueError(f"{name}: the {part} data set has no graphs")
    for number, graph in enumerate(graphs):
        if isinstance(graph, HeteroData):
            raise TypeError(
                f"{name}, {part} graph {number} is a HeteroData: graphs with several kinds of nodes or edges are not "
                "pruned; to_homogeneous() makes one kind of them"
            )
        if not isinstance(graph, Data):
            raise TypeError(
                f"{name}, {part} graph {number} is a {type(graph).__name__}, expected a torch_geometric Data"
            )
        graphs[number] = with_tensors(graph, f"{name}, {part} graph {number}: ")
    if part == "whole" and len(graphs) == 1:
        raise ValueError(f"{name} is one graph: gp.data.from_nodes(dataset[0]) takes a graph whose nodes are split")
    return [_plain(graph, x, f"{name}, {part} graph {number}") for number, graph in enumerate(graphs)]


def _whole(values: Any) -> bool:
    return isinstance(values, Tensor) and not values.is_floating_point()


def _plain(graph: Data, x: str | Sequence[str] | None, where: str) -> Data:
    """A copy with its input in ``x``, real numbers in float32, and columns in ``x`` and ``edge_attr``."""
    made = copy.copy(graph)
    if x in (CONSTANT, *DEGREES):
        if graph.get("x") is None or x == CONSTANT:
            made.x = torch.ones(int(graph.num_nodes or 0), 1)
    elif isinstance(x, str):
        raise ValueError(f"x must be {CONSTANT}, {', '.join(DEGREES)} or names of attributes, got {x!r}")
    else:
        missing = [attribute for attribute in x or ("x",) if not isinstance(graph.get(attribute), Tensor)]
        if missing:
            raise ValueError(
                f"{where} has no {missing[0]} (it has {', '.join(graph.keys())}): say what the input of its nodes is, "
                f"x={CONSTANT!r}, {' or '.join(f'x={each!r}' for each in DEGREES)} (the degree, and it one-hot)"
            )
        if x is not None:
            made.x = torch.cat([_columns(graph[attribute]) for attribute in x], dim=1)
    for attribute in ("x", "edge_attr", "edge_weight", "y"):
        values = made.get(attribute)
        if isinstance(values, Tensor):
            values = values.float() if values.is_floating_point() else values.long()
            made[attribute] = _columns(values) if attribute in ("x", "edge_attr") else values
    return made


def _columns(values: Tensor) -> Tensor:
    return values[:, None] if values.dim() == 1 else values


def _classes(graphs: Sequence[Data]) -> NDArray[np.int64] | None:
    """The class of every graph, None where one has none; what is wrong there is said later, with its number."""
    labels = [torch.as_tensor(graph.get("y")) if graph.get("y") is not None else torch.empty(0) for graph in graphs]
    if any(label.numel() != 1 or label.is_floating_point() for label in labels):
        return None
    return np.array([int(label) for label in labels])
