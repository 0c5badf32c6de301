"""Graphs that are in several splits of a data set: counted, or refused where it cannot be meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from torch.utils.data import Subset
from torch_geometric.data import Dataset

from graphprune.data.base import GraphData
from graphprune.data.labelled import SPLITS
from graphprune.graphs.packed import PackedGraphs


def _places(dataset: Any) -> list[tuple[int, int]]:
    """What a data set's graphs are stored as: of which object, and where there; the same for those of its parts."""
    if isinstance(dataset, Subset):
        inner = _places(dataset.dataset)
        return [inner[int(number)] for number in dataset.indices]
    if isinstance(dataset, Dataset):  # its slices are copies of it that share what is stored
        return [(id(getattr(dataset, "_data", None) or dataset), int(number)) for number in dataset.indices()]
    return [(id(dataset), number) for number in range(len(dataset))]


Keys = Mapping[str, Sequence[bytes]]


def keys_of(data: GraphData) -> Keys:
    """Of each graph of each split what is equal for graphs with the same features and arcs, in this order."""
    return {part: _keys(graphs) for part, graphs in data.splits.items()}


def check_apart(three: Mapping[str, Any], data: GraphData, keys: Keys) -> None:
    """Raise ValueError for splits with graphs of one data set in common, and for copies of what trains."""
    places = {part: set(_places(dataset)) for part, dataset in three.items()}
    for one, other in combinations(places, 2):
        if both := sorted(number for _, number in places[one] & places[other]):
            shown = ", ".join(map(str, both[:5])) + ", ..." * (len(both) > 5)
            raise ValueError(
                f"{data.name}: {one} and {other} have {len(both)} graphs of one data set in common: {shown}; hand in "
                "three that are apart, or the one with split="
            )
    copies = [part for part in SPLITS[1:] if {*keys[part]} <= {*keys["train"]}]
    labelled = {part: {*_keys(graphs, labels=True)} for part, graphs in data.splits.items() if copies}
    if copies := [part for part in copies if labelled[part] <= labelled["train"]]:
        raise ValueError(
            f"{data.name}: all graphs of {copies[0]} are in train too, with the same features, arcs and labels: hand "
            "in three that are apart, or one with split="
        )


def duplicates(keys: Keys) -> str:
    """How many graphs of validation and test are among those that train."""
    seen = set(keys["train"])
    counts = [f"{sum(key in seen for key in keys[part])} of {len(keys[part])} {part} graphs" for part in SPLITS[1:]]
    return f"{' and '.join(counts)} are in train too, with the same features and arcs in the same order"


def _keys(graphs: PackedGraphs, *, labels: bool = False) -> list[bytes]:
    """What is equal for graphs with the same features and arcs, in this order, and with the same labels if asked."""
    names = ("x", "y") if labels else ("x",)
    nodes, own = ([held[name].numpy() for name in names if name in held] for held in (graphs.node, graphs.graph))
    edges = [graphs.edge[key].numpy() for key in ("edge_attr", "edge_weight") if key in graphs.edge]
    spans = zip(*(pointer.unfold(0, 2, 1).tolist() for pointer in (graphs.node_ptr, graphs.edge_ptr)), strict=True)
    keys, arcs = [], graphs.edge_index.numpy()
    for number, ((node, last), (arc, end)) in enumerate(spans):
        parts = [values[node:last] for values in nodes] + [values[number] for values in own] + [arcs[:, arc:end]]
        parts += [values[arc:end] for values in edges]
        sizes = f"{last - node} nodes, {end - arc} arcs".encode()
        keys.append(hashlib.sha256(sizes + b"".join(part.tobytes() for part in parts)).digest())
    return keys
