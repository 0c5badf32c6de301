"""The TU data sets (Morris et al., "TUDataset", 2020): their raw text files, features and folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune import limits
from graphprune.data.base import GraphData
from graphprune.data.degrees import DEGREE_CAPS, DegreeColumns
from graphprune.data.files import gin_text, tu_text
from graphprune.data.files.download import cache_folder, fetch
from graphprune.data.files.raw import RawFiles, archive_files, find
from graphprune.data.splits import FOLDS, SEED, fold_split, held_out
from graphprune.graphs.encoders import EdgeFeatures, edges_in_words
from graphprune.graphs.packed import PackedGraphs

EDGES = "+edges"  # behind features' names: with what the files say of the edges

SPLIT_RECIPE = f"stratified {FOLDS}-fold, a tenth of the other folds for validation"


@dataclass(frozen=True)
class TUGraphs:
    """The content of a TU set's files, checked.

    Args:
        graphs: the graphs without node features; ``y`` is the class ``(G,)`` int64, or ``(G, T)`` float32
            where the set has only real-valued graph attributes.
        node: node attributes followed by one-hot node labels, float32 ``(N, D)``; D is 0 if there are
            neither.
        edge: edge attributes followed by one-hot edge labels, float32 ``(E, D)``.
        edge_labels: numbers of edge labels, from 0 on, int64 ``(E, L)``.
        edge_kinds: how many there are of each label in the files.
        removed: how many self-loops and repeated arcs the files had.
        fold: in which of ten folds each graph tests, if the files say so, shape ``(G,)``.
    """

    graphs: PackedGraphs
    node: Tensor
    edge: Tensor
    edge_labels: Tensor
    edge_kinds: list[int]
    removed: Mapping[str, int]
    fold: NDArray[np.int64] | None = None


def load(name: str, *, root: str | Path | None, fold: int, split_seed: int, features: str | None) -> GraphData:
    """A TU set from the raw files in ``root``, else from where PyG's ``TUDataset`` downloads them.

    Args:
        name: of the set, as its files begin.
        root: folder or archive of the raw files, which may also lie in ``NAME/``, ``NAME/raw/`` or
            ``NAME.zip``: TU's (NAME_A.txt and the others), else those of Xu et al. (NAME.txt, see
            :mod:`graphprune.data.files.gin_text`), whose ten folds in ``10fold_idx`` are used where they are there.
        fold: which of the ten folds is the test split.
        split_seed: of the folds.
        features: see :func:`graph_data`.
    """
    marker = f"{name}_A.txt"
    if root is None:
        from torch_geometric.datasets import TUDataset

        url = f"{TUDataset.url}/{name}.zip"
        expected = f"{marker}, {name}_graph_indicator.txt, {name}_graph_labels.txt, ..."
        files = archive_files(fetch(name, url, cache_folder() / "tu" / f"{name}.zip", expected), marker)
    else:
        url = str(root)
        files = _find(root, name)
    provenance = {"source": url, "licence": "not stated by the source", "split": SPLIT_RECIPE}
    return graph_data(name, read(files, name), provenance, fold=fold, split_seed=split_seed, features=features)


def _find(root: str | Path, name: str) -> RawFiles:
    places = (f"{name}/raw", name, "raw", ".", f"{name}.zip")
    try:
        return find(root, f"{name}_A.txt", places)
    except FileNotFoundError as missing:
        try:
            return find(root, f"{name}.txt", places)
        except FileNotFoundError:
            raise FileNotFoundError(f"{missing}; nor is {name}.txt there") from None


def graph_data(
    name: str,
    content: TUGraphs,
    provenance: Mapping[str, str],
    *,
    fold: int = 0,
    split_seed: int = SEED,
    features: str | None = None,
) -> GraphData:
    """The data set of one fold.

    Args:
        name: of the set.
        content: its graphs.
        provenance: source, licence and split recipe.
        fold: which of the ten folds is the test split.
        split_seed: of the folds.
        features: ``"deg+odeg100"`` (the ICPG authors' features: node attributes and one-hot node labels, or a
            constant one without any, then the degree, then it one-hot up to 100), ``"deg+odeg10"``, or
            ``"raw"`` (no degrees, and edge attributes and one-hot edge labels as ``edge_attr``, which the
            authors leave out). None: deg+odeg10 for DD and REDDIT-*, else deg+odeg100, as the authors have it. With
            ``"+edges"`` behind one of them, ``edge_attr`` is the edge labels as categories, or the columns that
            ``"raw"`` has where there are edge attributes.

    Raises:
        ValueError: unknown features, ``+edges`` where the files say nothing of edges, a fold outside 0 to 9 or too few
            graphs.
    """
    if features is None:
        features = "deg+odeg10" if name == "DD" or name.startswith("REDDIT-") else "deg+odeg100"
    base = features.removesuffix(EDGES)
    if base not in DEGREE_CAPS:
        raise ValueError(
            f"features must be one of {', '.join(DEGREE_CAPS)}, with or without {EDGES} behind it, got {features!r}"
        )
    x = content.node if content.node.size(1) else content.node.new_ones(content.node.size(0), 1)
    cap = DEGREE_CAPS[base]
    edge_features: EdgeFeatures | None = content.edge.size(1) or None
    if features != base:
        if edge_features is None:
            raise ValueError(f"{name} has neither edge labels nor edge attributes: leave out {EDGES}")
        if sum(content.edge_kinds) == edge_features:
            edge_features = content.edge_kinds
    elif base != "raw":
        edge_features = None
    edge_attr = content.edge_labels if isinstance(edge_features, list) else content.edge
    degrees = None if cap is None else DegreeColumns(first=x.size(1), cap=cap)
    bare = content.graphs
    if degrees is not None:
        limits.check("numbers", len(x) * (x.size(1) + 2 + degrees.cap), f"{name} with features {features}")
        x = torch.cat([x, degrees.columns(bare)], dim=1)
    graphs = PackedGraphs(
        bare.node_count,
        bare.edge_count,
        bare.edge_index,
        node={"x": x},
        edge={} if edge_features is None else {"edge_attr": edge_attr},
        graph=bare.graph,
    )
    y = graphs.graph["y"]
    classes = int(y.max()) + 1 if y.dim() == 1 else 0
    parts = fold_split(y.numpy() if classes else np.zeros(len(y)), fold, split_seed, content.fold)
    drawn = f"seed {split_seed}" if content.fold is None else f"as 10fold_idx has them, validation by seed {split_seed}"
    train = graphs.select(torch.from_numpy(parts["train"]))
    if edge_features is not None:
        untrained = _untrained(train.edge["edge_attr"], edge_features) if isinstance(edge_features, list) else ""
        provenance = {**provenance, "edge_attr": edges_in_words(edge_features) + untrained}
    removed = ", ".join(f"{count} {what}" for what, count in content.removed.items())
    return GraphData(
        name=name,
        train=train,
        val=graphs.select(torch.from_numpy(parts["val"])),
        test=graphs.select(torch.from_numpy(parts["test"])),
        task="multiclass" if classes else "regression",
        metric="accuracy" if classes else "rmse",
        features=graphs.node["x"].size(1),
        num_classes=classes,
        num_tasks=1 if classes else y.size(1),
        edge_features=edge_features,
        degrees=degrees,
        held_out=held_out(parts),
        provenance={**provenance, "fold": f"{fold} of {FOLDS}, {drawn}", "removed": removed},
    )


def _untrained(labels: Tensor, kinds: list[int]) -> str:
    """Which categories no training graph has."""
    counts = [torch.bincount(column, minlength=size) for column, size in zip(labels.T, kinds, strict=True)]
    never = [f"{kind} in column {i}" for i, count in enumerate(counts) for kind in (count == 0).nonzero().flatten()]
    return f"; no training graph has {', '.join(never)}" if never else ""


def read(files: RawFiles, name: str) -> TUGraphs:
    """Parse and check the files of whichever format is there.

    As in PyG, self-loops and repeated arcs are dropped (of repeated ones the first stays) and arcs sorted.

    Raises:
        FileNotFoundError: a required file is missing.
        ValueError: damaged or contradicting files; names file and line.
    """
    if files.has(f"{name}.txt") and not files.has(f"{name}_A.txt"):
        return _read_gin(files, name)
    graph_of, num_graphs = tu_text.graph_of_nodes(files, name)
    arcs = files.table(f"{name}_A.txt", np.int64, 2) - 1
    limits.check("arcs", len(arcs), files.where(f"{name}_A.txt"))
    tu_text.check_arcs(files, f"{name}_A.txt", arcs, graph_of)
    node, _ = tu_text.features(files, name, "node", len(graph_of))
    edge, edge_labels = tu_text.features(files, name, "edge", len(arcs))
    return _content(graph_of, num_graphs, arcs, tu_text.graph_labels(files, name), node, edge, edge_labels)


def _read_gin(files: RawFiles, name: str) -> TUGraphs:
    text = gin_text.read(files, name)
    _, classes = np.unique(text.labels, return_inverse=True)
    node = tu_text.one_hot(tu_text.numbered(text.tags[:, None]), files.where(f"{name}.txt"))
    nothing = np.empty((len(text.arcs), 0), dtype=np.int64)
    edge = torch.from_numpy(nothing).float()
    return _content(
        text.graph_of,
        len(text.labels),
        text.arcs,
        torch.from_numpy(classes),
        torch.from_numpy(node),
        edge,
        nothing,
        text.fold,
    )


def _content(
    graph_of: NDArray[np.int64],
    num_graphs: int,
    arcs: NDArray[np.int64],
    y: Tensor,
    node: Tensor,
    edge: Tensor,
    edge_labels: NDArray[np.int64],
    fold: NDArray[np.int64] | None = None,
) -> TUGraphs:
    """The graphs of arcs ``(E, 2)`` between nodes of all graphs."""
    kept, removed = _proper(arcs, len(graph_of))
    counts = np.bincount(graph_of, minlength=num_graphs)
    edge_index = arcs.T.take(kept, axis=1)
    owner = graph_of[edge_index[0]]
    edge_index -= (np.cumsum(counts) - counts)[owner]
    graphs = PackedGraphs(
        torch.from_numpy(counts),
        torch.from_numpy(np.bincount(owner, minlength=num_graphs)),
        torch.from_numpy(edge_index),
        graph={"y": y},
    )
    kinds = [int(column.max(initial=-1)) + 1 for column in edge_labels.T]
    edge, labels = edge[torch.from_numpy(kept)], torch.from_numpy(edge_labels[kept])
    return TUGraphs(graphs, node, edge, labels, kinds, removed, fold)


def _proper(arcs: NDArray[np.int64], nodes: int) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Which arcs stay, sorted by source and target, and how many self-loops and repeated arcs do not."""
    source, target = arcs.T
    key = source * nodes + target
    # Files of dense graphs hold tens of millions of arcs, and most files are in order.
    in_order = bool((key[1:] > key[:-1]).all())
    kept = np.arange(len(key)) if in_order else np.unique(key, return_index=True)[1]
    loops = source == target
    return kept[~loops[kept]], {"self-loops": int(loops.sum()), "repeated arcs": len(key) - len(kept)}
