"""OGB's link prediction set ogbl-collab (Hu et al., 2020): loader, official split and official Evaluator.

The methods of graphprune do not train on links yet; this is data for a loop of the user's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.data.base import SPLITS
from graphprune.data.files import ogb_files, pickles
from graphprune.data.files.raw import RawFiles
from graphprune.data.metrics import ogb_evaluator
from graphprune.data.sets.shared import one_graph, simple_pairs
from graphprune.graphs.packed import PackedGraphs

NAMES = ("ogbl-collab",)


@dataclass(frozen=True, eq=False)
class Links:
    """The links of one split.

    Args:
        edges: pairs of nodes that are joined, int64 ``(P, 2)``; in training a pair may be there several times.
        negatives: pairs that are not, ``(Q, 2)``; none in training, where a loop draws its own.
        weight: of each edge, float32 ``(P,)``: in ogbl-collab the number of joint papers in that year.
        year: of each edge, int64 ``(P,)``.
    """

    edges: Tensor
    negatives: Tensor
    weight: Tensor
    year: Tensor


@dataclass(frozen=True, eq=False)
class LinkData:
    """One graph whose missing links are to be predicted.

    Args:
        name: the data set's name, by which OGB's ``Evaluator`` knows it too.
        graph: a single graph of the training links, undirected, without repeats and self-loops; ``x`` float32
            ``(N, D)``, ``edge_weight`` float32 ``(E,)`` the sum over repeated links.
        train: links to train on.
        val: links that select epochs.
        test: links that are only reported.
        metric: what :meth:`evaluate` computes, in OGB's spelling.
        provenance: source, licence and split, as text.
    """

    name: str
    graph: PackedGraphs
    train: Links
    val: Links
    test: Links
    metric: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    def evaluate(self, positive: Tensor, negative: Tensor) -> float:
        """OGB's metric (Hits@50): the share of true links that score higher than the 50th best of the others.

        Args:
            positive: scores of a split's edges, ``(P,)``.
            negative: scores of its negatives, ``(Q,)``.

        Returns:
            The metric; NaN if a score is not finite.

        Raises:
            ValueError: scores of another shape, or none.
            ImportError: without the ``ogb`` extra.
        """
        for scores, what in ((positive, "positive"), (negative, "negative")):
            if scores.dim() != 1 or not len(scores):
                raise ValueError(f"{self.name}: {what} scores have shape {tuple(scores.shape)}, expected one a link")
        positive, negative = (scores.detach().cpu().float() for scores in (positive, negative))
        if not bool(torch.isfinite(positive).all() and torch.isfinite(negative).all()):
            return float("nan")
        pair = {"y_pred_pos": positive, "y_pred_neg": negative}
        return float(ogb_evaluator(self.name).eval(pair)[self.metric])


def load_links(name: str, *, root: str | Path | None = None) -> LinkData:
    """A link prediction set by name. The methods of graphprune do not train on links yet.

    Args:
        name: ``"ogbl-collab"``.
        root: folder or archive of OGB's raw files, see :func:`.ogb_files.raw_files`; None: downloaded once into
            ``$GRAPHPRUNE_DATA``, else ``~/.cache/graphprune``.

    Raises:
        ValueError: another name; damaged or contradicting files, or split files that hold more than arrays.
        FileNotFoundError: ``root`` does not hold the files.
        ConnectionError: the download failed.
        ImportError: ogb is not installed.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(NAMES)}"
        raise ValueError(f"unknown link prediction set {name!r}: {hint}")
    about = ogb_files.catalogue("link")[name]
    files = ogb_files.raw_files(name, about, root)
    nodes, arcs = ogb_files.one_graph(files)
    weight = ogb_files.features(files, "raw/edge_weight.csv.gz", len(arcs))
    train, val, test = (
        _links(files, f"split/{about['split']}/{ogb_files.PARTS[part]}.pt", nodes, part == "train") for part in SPLITS
    )
    graph = _graph(arcs, weight[:, 0], ogb_files.features(files, "raw/node-feat.csv.gz", nodes))
    return LinkData(
        name=name,
        graph=graph,
        train=train,
        val=val,
        test=test,
        metric=about["eval metric"],
        provenance={
            **ogb_files.provenance(about, "link"),
            "edges": f"{len(arcs)} links of training, {graph.num_edges // 2} without repeats and self-loops",
        },
    )


def _graph(arcs: NDArray[Any], weight: Tensor, x: Tensor) -> PackedGraphs:
    pairs = simple_pairs(arcs, len(x))
    keys = pairs[:, 0] * len(x) + pairs[:, 1]  # sorted, as the pairs are
    low, high = arcs.min(1), arcs.max(1)
    proper = low != high
    place = torch.from_numpy(np.searchsorted(keys, (low * len(x) + high)[proper]))
    total = torch.zeros(len(pairs)).index_add_(0, place, weight[torch.from_numpy(proper)])
    return one_graph(pairs, {"x": x}).with_edge(edge_weight=total.repeat_interleave(2))


def _links(files: RawFiles, name: str, nodes: int, training: bool) -> Links:
    content = pickles.read_torch(files.read(name), files.where(name))

    def array(key: str, *shape: int) -> NDArray[Any]:
        """An array of the file; -1 in ``shape`` is any size."""
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, np.ndarray) or not np.isfinite(values).all():
            raise ValueError(f"{files.where(name)}: expected a dictionary with an array of finite numbers {key!r}")
        if values.ndim != len(shape) or any(
            size not in (-1, has) for size, has in zip(shape, values.shape, strict=True)
        ):
            raise ValueError(f"{files.where(name)}: {key} has shape {values.shape}, expected {shape}")
        return values

    def pairs(key: str) -> Tensor:
        values = array(key, -1, 2)
        if values.dtype.kind != "i" or bool(((values < 0) | (values >= nodes)).any()):
            raise ValueError(f"{files.where(name)}: {key} has something else than the nodes 0 to {nodes - 1}")
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64).copy())

    edges = pairs("edge")
    return Links(
        edges,
        torch.empty(0, 2, dtype=torch.int64) if training else pairs("edge_neg"),
        torch.from_numpy(array("weight", len(edges)).astype(np.float32)),
        torch.from_numpy(array("year", len(edges)).astype(np.int64)),
    )
