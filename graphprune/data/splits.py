"""Stratified folds and stretches of samples, so that sets are split the same way everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphprune.checks import is_whole, whole
from graphprune.graphs.packed import PackedGraphs

FOLDS = 10
PARTS = ("train", "val", "test")
_CALLED = {"train": "train", "val": "val", "valid": "val", "test": "test"}

# The seed of the ICPG authors' folds (and of most published 10-fold numbers on TU sets).
SEED = 12345


def check_seed(seed: Any, name: str) -> None:
    """Raises ValueError, with the data set's name, for what is no seed of NumPy's generators."""
    if whole(f"{name}: split_seed", seed, 0) >= 2**32:
        raise ValueError(f"{name}: split_seed must be a whole number below 2**32, got {seed}")


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


def held_out(parts: Mapping[str, NDArray[np.int64]]) -> list[int]:
    """Where the validation samples of a fold stood among those that would train without them."""
    together = np.sort(np.append(parts["train"], parts["val"]))
    return np.searchsorted(together, parts["val"]).tolist()  # type: ignore[no-any-return]


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


def by_name(found: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What is given by the splits' names (``valid`` will do), in their order; ValueError unless it is three."""
    named = {_CALLED.get(key, key): value for key, value in found.items()}
    if named.keys() != set(PARTS) or len(named) != len(found):
        raise ValueError(
            f"{what} are needed for train, val (or valid) and test, got {', '.join(map(str, found)) or 'none'}"
        )
    return {part: named[part] for part in PARTS}


def given_split(
    split: Any, count: int, labels: NDArray[np.int64] | None, seed: int, name: str
) -> tuple[dict[str, NDArray[np.int64]], str]:
    """Numbers of the graphs of each split, none of them in two, and the recipe in words.

    Args:
        split: numbers of graphs, or a bool mask, for each split, in their order or by name; a fold; three shares.
        count: how many graphs there are.
        labels: class of each graph; None: there are none.
        seed: of folds and shares, not below 0.
        name: of the data set, in errors.

    Raises:
        ValueError: none of these, a seed below 0, numbers that are out of range or overlap, or a split without graphs.
    """
    if split is None:
        raise ValueError(
            f"{name} is one data set without splits: hand in three, as from_pyg([ZINC(root, split=part) for part in "
            "('train', 'val', 'test')]), or say split=: numbers of graphs as {'train': [...], 'val': [...], 'test': "
            "[...]}, which of ten folds tests as split=0, or shares as split=(0.8, 0.1, 0.1)"
        )
    check_seed(seed, name)
    labels = np.zeros(count, dtype=np.int64) if labels is None else labels
    if is_whole(split):
        return fold_split(labels, int(split), seed), f"fold {split} of 10, seed {seed}, a tenth of the others validates"
    if type(split) in (list, tuple) and len(split) == 3 and all(isinstance(share, Real) for share in split):
        if min(split) <= 0 or abs(sum(split) - 1) > 1e-6:
            raise ValueError(f"{name}: the three shares of a split must all be above 0 and sum to 1, got {split}")
        ends = [0, *(round(count * sum(split[: n + 1])) for n in range(2)), count]
        order = by_class(labels, np.random.default_rng(seed))
        index = {part: np.sort(order[ends[n] : ends[n + 1]]) for n, part in enumerate(PARTS)}
        return _apart(index, count, name), f"shares {', '.join(map(str, split))} at random, seed {seed}"
    if not isinstance(split, Mapping):
        if not isinstance(split, list | tuple) or len(split) != 3:
            raise ValueError(
                f"{name}: split must be numbers of train, val and test graphs, a fold or shares, got {split!r}"
            )
        split = dict(zip(PARTS, split, strict=True))
    named = by_name(split, f"{name}: numbers of graphs")
    return _apart({part: _numbers(named[part], count, f"{name}, {part} split") for part in PARTS}, count, name), "given"


def _numbers(values: Any, count: int, where: str) -> NDArray[np.int64]:
    """Numbers of graphs from a list, an array, a tensor or a bool mask over all."""
    found = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if found.dtype == bool and found.shape == (count,):
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ValueError(
            f"{where}: expected numbers of graphs, or a bool mask of {count}, got {found.dtype} {found.shape}"
        )
    wrong = (found < 0) | (found >= count)
    if wrong.any():
        raise ValueError(f"{where}: there is no graph {found[wrong][0]}, of {count} from 0 on")
    return found.astype(np.int64)


def _apart(index: Mapping[str, NDArray[np.int64]], count: int, name: str) -> dict[str, NDArray[np.int64]]:
    """The numbers; raises ValueError for a split without graphs, and for graphs that are in two or twice in one."""
    uses = {part: np.bincount(numbers, minlength=count) for part, numbers in index.items()}
    for part, used in uses.items():
        if not used.any():
            raise ValueError(f"{name}: the {part} split has no graphs")
    several = np.flatnonzero(np.stack(list(uses.values())).sum(0) > 1)
    if len(several):
        shown = ", ".join(map(str, several[:5])) + ", ..." * (len(several) > 5)
        there = " and ".join(part for part, used in uses.items() if used[several[0]])
        raise ValueError(
            f"{name}: the splits overlap, {len(several)} graphs are in more than one or twice in one: {shown} "
            f"(graph {several[0]} in {there})"
        )
    return dict(index)
