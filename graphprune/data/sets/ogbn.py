"""OGB's node property sets on one graph (Hu et al., 2020), ogbn-arxiv before all, from their raw files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from graphprune.data.base import GraphData
from graphprune.data.files import ogb_files
from graphprune.data.labelled import SPLITS
from graphprune.data.sets.shared import one_graph, simple_pairs, split_views


def load(name: str, *, root: str | Path | None) -> GraphData:
    """An OGB set from its raw files: those in ``root``, else downloaded; see :func:`.ogb_files.raw_files`.

    One graph, transductive: the splits share arcs and features. Edges are made undirected, without repeats and
    self-loops, as is usual for GCN on ogbn-arxiv, whose citations are directed. What OGB knows of the nodes beside
    their features is kept: ``node_year`` of ogbn-arxiv.

    Args:
        name: in OGB's catalogue of node property sets.
        root: folder or archive of the files.

    Raises:
        ValueError: a set that is not a graph with node features and a class a node in text files (ogbn-proteins,
            ogbn-mag, ogbn-papers100M).
    """
    about = ogb_files.catalogue("node")[name]
    task = ogb_files.TASKS[about["task type"]]
    flags = tuple(about[flag] for flag in ("is hetero", "binary", "has_node_attr"))
    if flags != ("False", "False", "True") or task != "multiclass":
        raise ValueError(
            f"{name} is not supported: only sets that are one graph of one kind of nodes, with node features and a "
            f"class a node, in text files: ogbn-arxiv and ogbn-products"
        )
    files = ogb_files.raw_files(name, about, root)
    nodes, arcs = ogb_files.one_graph(files)
    node = {"x": ogb_files.features(files, "raw/node-feat.csv.gz", nodes)}
    for extra in about["additional node files"].split(","):
        if extra != "None":
            file = f"raw/{extra}.csv.gz"
            values = files.column(file, np.int64)
            ogb_files.check_lines(files, file, len(values), nodes)
            node[extra] = torch.from_numpy(values)
    classes = int(about["num classes"])
    y = ogb_files.classes(files, "raw/node-label.csv.gz", nodes, classes)
    split = ogb_files.split(files, about["split"], nodes, "node")
    pairs = simple_pairs(arcs, nodes)
    train, val, test = split_views(one_graph(pairs, node), y, [split[part] for part in SPLITS])
    return GraphData(
        name=name,
        train=train,
        val=val,
        test=test,
        task=task,
        metric=ogb_files.metric(about),
        features=node["x"].size(1),
        num_classes=classes,
        ogb_name=name,
        level="node",
        transductive=True,
        provenance={
            **ogb_files.provenance(about, "node"),
            "edges": f"{len(arcs)} arcs made {len(pairs)} undirected edges, without repeats and self-loops",
        },
    )
