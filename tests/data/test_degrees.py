"""Degree features: counted by hand, and counted again after pruning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune import data
from graphprune.data import DegreeColumns


def by_hand(graph, cap):
    rows = []
    for node in range(graph.num_nodes):
        degree = graph.edge_index[0].tolist().count(node)
        rows.append([degree, *(float(min(degree, cap) == k) for k in range(cap + 1))])
    return torch.tensor(rows, dtype=torch.float32)


@pytest.mark.parametrize(("features", "cap"), [("deg+odeg100", 100), ("deg+odeg10", 10)])
def test_columns_follow_the_node_labels(features, cap):
    mutag = data.load("MUTAG", features=features)
    assert mutag.num_features == 7 + 1 + cap + 1
    for graph in list(mutag.test):
        assert torch.equal(graph.x[:, :7].sum(1), torch.ones(graph.num_nodes))
        assert torch.equal(graph.x[:, 7:], by_hand(graph, cap))


@settings(max_examples=20)
@given(st.integers(0, 2**20))
def test_recomputing_counts_the_edges_that_are_left(seed):
    mutag = data.load("MUTAG")
    keep = torch.rand(mutag.val.num_edges, generator=torch.Generator().manual_seed(seed)) > 0.5
    pruned = mutag.val.keep_edges(keep)
    assert torch.equal(pruned.node["x"], mutag.val.node["x"])
    again = mutag.recompute_degrees(pruned)
    for graph, old in zip(again, pruned, strict=True):
        assert torch.equal(graph.x[:, :7], old.x[:, :7])
        assert torch.equal(graph.x[:, 7:], by_hand(old, 100))
        assert torch.equal(graph.edge_index, old.edge_index)
    assert torch.equal(mutag.recompute_degrees(mutag.val).node["x"], mutag.val.node["x"])


def test_large_degrees_share_the_last_column():
    star = data.load("MUTAG", features="deg+odeg10").val.select([0])
    loops = star.edge_index.new_zeros(2, 30)
    wide = type(star)(star.node_count, torch.tensor([30]), loops, node={"x": star.node["x"][:, :7]})
    columns = DegreeColumns(first=7, cap=10).columns(wide)
    assert columns[0, 0] == 30 and columns[0, 11] == 1 and columns[0, 1:].sum() == 1


@pytest.mark.parametrize("name", ["ogbg-molesol", "ogbg-molbbbp"])
def test_sets_without_degree_features_say_so(name):
    loaded = data.load(name)
    with pytest.raises(ValueError, match=f"{name} has no degree features"):
        loaded.recompute_degrees(loaded.test)
