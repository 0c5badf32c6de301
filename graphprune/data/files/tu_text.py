"""The text files of a TU set (Morris et al., "TUDataset", 2020): graphs, arcs, labels and attributes, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune import limits
from graphprune.data.files.raw import RawFiles


def _target_file(files: RawFiles, name: str) -> str:
    labels, values = f"{name}_graph_labels.txt", f"{name}_graph_attributes.txt"
    return values if files.has(values) and not files.has(labels) else labels


def graph_of_nodes(files: RawFiles, name: str) -> tuple[NDArray[np.int64], int]:
    """The graph of each node, counted from 0, and the number of graphs.

    Raises:
        ValueError: no graphs, or numbers that are none of theirs or fall; names file and line.
    """
    file, targets = f"{name}_graph_indicator.txt", _target_file(files, name)
    graph_of = files.column(file, np.int64) - 1
    limits.check("nodes", len(graph_of), files.where(file))
    num_graphs = len(files.table(targets, np.float64))
    if num_graphs == 0:
        raise ValueError(f"{files.where(targets)} is empty")
    wrong = np.flatnonzero((graph_of < 0) | (graph_of >= num_graphs))
    if len(wrong):
        number = graph_of[wrong[0]] + 1
        files.fail(file, wrong[0], f"graph {number}, but {files.where(targets)} has {num_graphs} graphs")
    falls = np.flatnonzero(np.diff(graph_of) < 0)
    if len(falls):
        files.fail(file, falls[0] + 1, "graph numbers must not fall from one node to the next")
    return graph_of, num_graphs


def check_arcs(files: RawFiles, file: str, arcs: NDArray[np.int64], graph_of: NDArray[np.int64]) -> None:
    """Raise ValueError, which names the line, for an arc ``(E, 2)`` outside the nodes or between two graphs."""
    wrong = np.flatnonzero(((arcs < 0) | (arcs >= len(graph_of))).any(1))
    if len(wrong):
        ends = (arcs[wrong[0]] + 1).tolist()
        files.fail(file, wrong[0], f"arc {ends} outside the {len(graph_of)} nodes of the graph indicator")
    wrong = np.flatnonzero(graph_of[arcs[:, 0]] != graph_of[arcs[:, 1]])
    if len(wrong):
        ends, graphs = (arcs[wrong[0]] + 1).tolist(), (graph_of[arcs[wrong[0]]] + 1).tolist()
        files.fail(file, wrong[0], f"arc {ends} joins the graphs {graphs[0]} and {graphs[1]}")


def graph_labels(files: RawFiles, name: str) -> Tensor:
    """Classes ``(G,)`` int64, or the graph attributes ``(G, T)`` float32 of a set without."""
    file = _target_file(files, name)
    if file.endswith("_graph_attributes.txt"):
        return torch.from_numpy(_finite(files, file))
    _, classes = np.unique(files.column(file, np.int64), return_inverse=True)
    return torch.from_numpy(classes.astype(np.int64))


def features(files: RawFiles, name: str, level: str, rows: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Attributes and one-hot labels of the nodes or edges, float32 ``(rows, D)``, and numbers of the labels."""
    attributes: NDArray[np.float32] = np.empty((rows, 0), dtype=np.float32)
    labels: NDArray[np.int64] = np.empty((rows, 0), dtype=np.int64)
    if files.has(file := f"{name}_{level}_attributes.txt"):
        attributes = _finite(files, file)
        _check_rows(files, file, len(attributes), rows, level)
    if files.has(file := f"{name}_{level}_labels.txt"):
        labels = numbered(files.table(file, np.int64))
        _check_rows(files, file, len(labels), rows, level)
    return torch.from_numpy(np.concatenate([attributes, one_hot(labels, files.where(file))], axis=1)), labels


def _check_rows(files: RawFiles, file: str, found: int, rows: int, level: str) -> None:
    if found != rows:
        raise ValueError(f"{files.where(file)} has {found} lines, but there are {rows} {level}s")


def numbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels ``(rows, L)`` numbered from 0 on, by size, in each column."""
    columns = [np.unique(column, return_inverse=True)[1] for column in labels.T]
    return np.stack(columns, axis=1) if columns else labels


def one_hot(numbers: NDArray[np.int64], where: str) -> NDArray[np.float32]:
    """Numbered labels ``(rows, L)``, each in as many columns as it has numbers; errors say where they are from."""
    kinds = [int(column.max(initial=-1)) + 1 for column in numbers.T]
    limits.check("categories", max(kinds, default=0), where)
    limits.check("numbers", len(numbers) * sum(kinds), f"{where}, one-hot,")
    columns = np.zeros((len(numbers), sum(kinds)), dtype=np.float32)
    for column, first in zip(numbers.T, np.cumsum(kinds) - kinds, strict=True):
        columns[np.arange(len(numbers)), first + column] = 1
    return columns


def _finite(files: RawFiles, file: str) -> NDArray[np.float32]:
    values: NDArray[Any] = files.table(file, np.float32)
    wrong = np.flatnonzero(~np.isfinite(values).all(1))
    if len(wrong):
        files.fail(file, wrong[0], "a value is NaN or infinite")
    return values
