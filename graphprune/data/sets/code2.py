"""ogbg-code2 (Hu et al., 2020): syntax trees of Python functions, whose names are to be said, from OGB's raw files.

Features, arcs and labels are those of OGB's baseline (examples/graphproppred/code2 in snap-stanford/ogb).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphprune.data.base import GraphData
from graphprune.data.files import ogb_files
from graphprune.data.files.raw import RawFiles
from graphprune.data.labelled import SPLITS
from graphprune.data.sequences import POSITIONS, VOCABULARY, encoded
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.segments import counts_in, pointers, ranges

TYPES, ATTRIBUTES = 98, 10030  # lines of OGB's mapping/typeidx2type.csv.gz and attridx2attr.csv.gz
DEEPEST = 20  # deeper nodes count as such

ARCS = "tree and next-token arcs, both ways; columns of edge_attr: next-token, inverse"


def read(files: RawFiles, name: str, about: dict[str, str]) -> GraphData:
    """Categories are in ``x`` (type, attribute, depth) and ``edge_attr`` (next-token or not, inverse or not).

    Nodes stand in the order of a depth-first walk, as in OGB's files; next-token arcs lead from each one with an
    attribute to the next such one. ``edge_attr`` is uint8, for there are more than 10^8 arcs. The vocabulary is the
    5,000 most frequent words of the training graphs; five positions are learnt.
    """
    nodes, pairs = ogb_files.counts(files)
    total = int(nodes.sum())
    tree = files.table(ogb_files.EDGES, np.int64, 2)
    ogb_files.check_lines(files, ogb_files.EDGES, len(tree), int(pairs.sum()))
    x = torch.empty(total, 3, dtype=torch.int64)
    x[:, :2] = ogb_files.features(files, "raw/node-feat.csv.gz", total, (TYPES, ATTRIBUTES))
    x[:, 2] = _column(files, "node_depth", total).clamp_(max=DEEPEST)
    attributed = _column(files, "node_is_attributed", total) == 1
    node_count, tree_count = torch.from_numpy(nodes), torch.from_numpy(pairs)
    arcs, edge_attr, edge_count = _both(torch.from_numpy(tree.T), tree_count, attributed, node_count)
    try:
        graphs = PackedGraphs(node_count, edge_count, arcs, node={"x": x}, edge={"edge_attr": edge_attr})
    except ValueError as error:
        raise ValueError(f"{files.place}: {error}") from error
    index = ogb_files.split(files, about["split"], len(graphs), "graph")
    words = _words(files, len(graphs))
    labels, known = encoded({part: [words[n] for n in index[part].tolist()] for part in SPLITS}, VOCABULARY, POSITIONS)
    train, val, test = (graphs.select(index[part]).with_graph(**labels[part]) for part in SPLITS)
    return GraphData(
        name=name,
        train=train,
        val=val,
        test=test,
        task="sequence",
        metric=ogb_files.metric(about),
        features=[TYPES, ATTRIBUTES, DEEPEST + 1],
        num_classes=len(known) + 2,
        num_tasks=POSITIONS,
        edge_features=[2, 2],
        ogb_name=name,
        vocabulary=known,
        provenance={
            **ogb_files.provenance(about, "graph"),
            "edges": ARCS,
            "vocabulary": f"the {len(known):,} most frequent words of the training graphs",
        },
    )


def _column(files: RawFiles, what: str, rows: int) -> Tensor:
    """One number a node, 0 or more."""
    name = f"raw/{what}.csv.gz"
    values = files.column(name, np.int64)
    ogb_files.check_lines(files, name, len(values), rows)
    if (values < 0).any():
        files.fail(name, int((values < 0).argmax()), f"{what} is negative")
    return torch.from_numpy(values)


def _words(files: RawFiles, rows: int) -> list[list[str]]:
    """The words of every graph, which its line has between blanks."""
    name = "raw/graph-label.csv.gz"
    lines = files.read(name, parsed=True).decode().splitlines()
    ogb_files.check_lines(files, name, len(lines), rows)
    words = [line.split() for line in lines]
    if not all(words):
        files.fail(name, words.index([]), "the label is missing")
    return words


def _both(tree: Tensor, tree_count: Tensor, attributed: Tensor, node_count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Arcs of all graphs, their two columns, and how many arcs each graph has.

    Within a graph: the tree's arcs, the same the other way, next-token arcs, the same the other way.

    Args:
        tree: arcs in the files, node numbers within each graph, ``(2, P)``.
        tree_count: how many each graph has.
        attributed: which nodes are tokens, ``(N,)``.
        node_count: how many nodes each graph has.
    """
    tokens = counts_in(attributed, node_count)
    place = attributed.nonzero().flatten()
    place -= torch.repeat_interleave(pointers(node_count)[:-1], tokens)
    follows = torch.ones_like(place, dtype=torch.bool)  # all tokens but the first of each graph
    follows[pointers(tokens)[:-1][tokens > 0]] = False
    second = follows.nonzero().flatten()
    following = torch.stack([place[second - 1], place[second]])
    following_count = (tokens - 1).clamp_(min=0)

    edge_count = 2 * (tree_count + following_count)
    arcs = torch.empty(2, int(edge_count.sum()), dtype=torch.int64)
    edge_attr = torch.empty(arcs.size(1), 2, dtype=torch.uint8)
    start = pointers(edge_count)[:-1].clone()
    for kind, (block, count) in enumerate(((tree, tree_count), (following, following_count))):
        for inverse in range(2):
            there = ranges(start, count)
            arcs[:, there] = block.flip(0) if inverse else block
            edge_attr[there] = torch.tensor([kind, inverse], dtype=torch.uint8)
            start += count
    return arcs, edge_attr, edge_count
