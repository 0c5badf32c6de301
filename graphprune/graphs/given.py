"""Graphs as users have them: arrays and lists of numbers become tensors, or an error names them."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs.pairs import EDGE_PROTECTED

D = TypeVar("D", bound=Data)

_TENSORS = ("x", "edge_index", "edge_attr", "edge_weight", EDGE_PROTECTED)


def with_tensors(graph: D, where: str = "") -> D:
    """The graph itself, or a copy in which arrays and lists of numbers of nodes and edges are tensors.

    Real numbers become float32, whole ones int64. What is no ``Data`` is returned as it is.

    Args:
        graph: is not changed.
        where: what errors begin with, such as ``"graph 3: "``.

    Raises:
        TypeError: an attribute that is no array of numbers.
        ValueError: one that is a sparse tensor.
    """
    if not isinstance(graph, Data):
        return graph
    made = graph
    for name in _TENSORS:
        value = graph.get(name)
        if value is None or (isinstance(value, Tensor) and value.layout is torch.strided):
            continue
        if isinstance(value, Tensor):
            raise ValueError(f"{where}attribute {name!r} is sparse ({value.layout}): give it to_dense()")
        if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
            continue  # such as the two of a bipartite graph, of which others say so
        if made is graph:
            made = copy.copy(graph)
        made[name] = as_tensor(value, f"{where}{name}", torch.long if name == "edge_index" else None)
    return made


def as_tensor(value: Any, where: str, empty: torch.dtype | None = None) -> Tensor:
    """A tensor as it is, or an array or list of numbers as one.

    Args:
        value: of a graph's attribute.
        where: begins the error, with the attribute's name.
        empty: dtype of an array without entries, which has none of its own to tell.

    Raises:
        TypeError: no array of numbers.
    """
    if isinstance(value, Tensor):
        return value
    problem = ""
    try:
        if isinstance(value, np.ndarray | list | tuple):
            made = torch.tensor(value)
            if made.numel() == 0 and empty is not None:
                return made.to(empty)
            return made if made.dtype == torch.bool else made.float() if made.is_floating_point() else made.long()
    except (TypeError, ValueError, RuntimeError) as error:
        problem = f", which is no array of numbers: {error}"
    raise TypeError(f"{where} must be one tensor, got a {type(value).__name__}{problem}")
