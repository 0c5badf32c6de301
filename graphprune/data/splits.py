"""Stratified folds and stretches of samples, so that sets are split the same way everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.graphs.packed import PackedGraphs

FOLDS = 10

# The seed of the ICPG authors' folds (and of most published 10-fold numbers on TU sets).
SEED = 12345


def stratified_folds(labels: NDArray[Any], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold number for every graph, each class spread evenly, as scikit-learn's shuffled StratifiedKFold.

    Args:
        labels: class of each graph, shape ``(G,)``.
        folds: how many folds, at least 2.
        seed: of the shuffling within each class.

    Raises:
        ValueError: fewer graphs than folds.
    """
    if len(labels) < folds:
        raise ValueError(f"{len(labels)} graphs cannot be split into {folds} folds")
    rng = np.random.RandomState(seed)
    _, first, kinds = np.unique(labels, return_index=True, return_inverse=True)
    fold = np.empty(len(labels), dtype=np.int64)
    dealt = 0
    for kind in np.argsort(first):  # classes in the order in which they first appear
        members = np.flatnonzero(kinds == kind)
        hand = np.sort(np.arange(dealt, dealt + len(members)) % folds)
        rng.shuffle(hand)
        fold[members] = hand
        dealt += len(members)
    return fold


def fold_split(
    labels: NDArray[Any], fold: int, seed: int = SEED, folds: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.int64]]:
    """Graph numbers of ``train``, ``val``, ``test``: one of ten folds tests, a tenth of the rest validates.

    Args:
        labels: class of each graph; all equal (a regression) gives plain shuffled folds.
        fold: which fold is the test split, 0 to 9.
        seed: of the shuffling.
        folds: in which fold each graph tests; None: stratified folds.

    Raises:
        ValueError: a fold that does not exist, or fewer than 12 graphs.
    """
    if fold not in range(FOLDS):
        raise ValueError(f"fold must be 0 to {FOLDS - 1}, got {fold!r}")
    if len(labels) < FOLDS + 2:
        raise ValueError(f"{len(labels)} graphs are too few for {FOLDS} folds and a validation split")
    outer = stratified_folds(labels, FOLDS, seed) if folds is None else folds
    rest = np.flatnonzero(outer != fold)
    inner = stratified_folds(labels[rest], FOLDS, seed) == 0
    return {"train": rest[~inner], "val": rest[inner], "test": np.flatnonzero(outer == fold)}


def together(train: PackedGraphs, val: PackedGraphs, places: Sequence[int]) -> PackedGraphs:
    """Training graphs with the validation graphs that were held out of them, in the order of both before.

    Args:
        train: what is left of the training graphs.
        val: the graphs that were held out.
        places: where they stood, one number a graph of ``val``, rising.

    Raises:
        ValueError: an attribute that only one of both has.
    """
    for level in ("node", "edge", "graph", "objects"):
        if odd := sorted(getattr(train, level).keys() ^ getattr(val, level).keys()):
            raise ValueError(f"{odd[0]!r} is not in all of the training and validation graphs, which train together")
    held = torch.zeros(len(train) + len(val), dtype=torch.bool)
    held[list(places)] = True
    order = torch.empty(len(held), dtype=torch.int64)
    order[~held], order[held] = torch.arange(len(train)), torch.arange(len(train), len(held))
    both = PackedGraphs(
        torch.cat([train.node_count, val.node_count]),
        torch.cat([train.edge_count, val.edge_count]),
        torch.cat([train.edge_index, val.edge_index], dim=1),
        node={name: torch.cat([values, val.node[name]]) for name, values in train.node.items()},
        edge={name: torch.cat([values, val.edge[name]]) for name, values in train.edge.items()},
        graph={name: torch.cat([values, val.graph[name]]) for name, values in train.graph.items()},
        objects={name: [*values, *val.objects[name]] for name, values in train.objects.items()},
    )
    return both.select(order)


def by_class(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of samples, random within a class, in which every stretch has the classes in proportion.

    The stretches of two lengths from the same place are nested.

    Args:
        labels: class of each sample, shape ``(n,)``.
        rng: where the order within the classes comes from.
    """
    order = rng.permutation(len(labels))
    shuffled = labels[order]
    place = np.empty(len(labels))
    for kind in np.unique(shuffled):
        members = np.flatnonzero(shuffled == kind)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place, kind="stable")]
