"""What the node-level loaders share, against sets and dictionaries."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.data.labelled import IGNORE_INDEX
from graphprune.data.sets.shared import one_graph, simple_pairs, split_views

NODES = 9


@given(st.lists(st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1)), max_size=30))
def test_each_edge_once_whatever_its_direction(pairs):
    found = simple_pairs(np.array(pairs, dtype=np.int64).reshape(-1, 2), NODES)
    assert [tuple(pair) for pair in found.tolist()] == sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    graph = one_graph(found, {"x": torch.ones(NODES, 1)})
    arcs = {tuple(arc) for arc in graph.edge_index.T.tolist()}
    assert len(arcs) == graph.num_edges == 2 * len(found)
    assert arcs == {pair for u, v in found.tolist() for pair in ((u, v), (v, u))}


def test_each_split_sees_its_own_labels():
    graph = one_graph(np.array([[0, 1], [1, 3]]), {"x": torch.ones(4, 2)})
    index = [torch.tensor([2, 0]), torch.tensor([1]), torch.tensor([], dtype=torch.int64)]
    splits = split_views(graph, torch.tensor([5, 6, 7, 8]), index)
    assert [part.node["y"].tolist() for part in splits] == [
        [5, IGNORE_INDEX, 7, IGNORE_INDEX],
        [IGNORE_INDEX, 6, *[IGNORE_INDEX] * 2],
        [IGNORE_INDEX] * 4,
    ]
    assert all(part.edge_index is graph.edge_index and part.node["x"] is graph.node["x"] for part in splits)
    rows = split_views(graph, torch.arange(8.0).reshape(4, 2), index)[1].node["y"]
    assert rows[1].tolist() == [2, 3] and rows.isnan().sum() == 6
