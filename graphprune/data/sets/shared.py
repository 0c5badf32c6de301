"""What loaders share: what is known of a set, undirected edges and their arcs, one graph seen by three splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.data.labelled import IGNORE_INDEX
from graphprune.graphs.packed import PackedGraphs


@dataclass(frozen=True)
class Card:
    """What is known of a data set.

    Args:
        name: to :func:`graphprune.data.load` it by.
        about: one line on what it is.
        source: where the file comes from.
        licence: of the source.
        split: recipe of the splits.
    """

    name: str
    about: str
    source: str
    licence: str
    split: str

    @property
    def provenance(self) -> dict[str, str]:
        """Source, licence and split recipe."""
        return {"source": self.source, "licence": self.licence, "split": self.split}


def both_ways(pairs: NDArray[Any]) -> Tensor:
    """Undirected edges ``(P, 2)`` as arcs ``(2, 2 P)`` int64, (u, v) and (v, u) side by side as in OGB."""
    arcs = np.stack([pairs, pairs[:, ::-1]], axis=1).reshape(-1, 2)
    return torch.from_numpy(np.ascontiguousarray(arcs.T.astype(np.int64)))


def simple_pairs(pairs: NDArray[Any], nodes: int) -> NDArray[np.int64]:
    """Each undirected edge once: (u, v) with u < v, sorted, without self-loops and repeats.

    Args:
        pairs: node numbers, shape ``(P, 2)``, in any direction.
        nodes: how many there are; all numbers lie below.

    Returns:
        Shape ``(Q, 2)``.
    """
    low, high = pairs.min(1).astype(np.int64), pairs.max(1).astype(np.int64)
    keys = np.unique((low * nodes + high)[low != high])
    return np.stack([keys // max(nodes, 1), keys % max(nodes, 1)], axis=1)


def one_graph(pairs: NDArray[Any], node: Mapping[str, Tensor]) -> PackedGraphs:
    """A single undirected graph, edges as :func:`simple_pairs` gives them and both arcs of one side by side.

    Args:
        pairs: edges, shape ``(Q, 2)``.
        node: node attributes, at least ``x``.
    """
    arcs = both_ways(pairs)
    return PackedGraphs(torch.tensor([len(node["x"])]), torch.tensor([arcs.size(1)]), arcs, node=node)


def split_views(graph: PackedGraphs, y: Tensor, index: Sequence[Tensor]) -> list[PackedGraphs]:
    """The same graph for each split, which sees the labels of its own nodes only.

    Args:
        graph: all splits share its tensors.
        y: labels of all nodes, ``(N,)`` int64 or ``(N, T)`` float32.
        index: numbers of the nodes of each split.
    """
    splits = []
    for nodes in index:
        seen = torch.full_like(y, float("nan") if y.is_floating_point() else IGNORE_INDEX)
        seen[nodes] = y[nodes]
        splits.append(graph.with_node(y=seen))
    return splits
