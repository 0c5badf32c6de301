"""Degrees and return probabilities, against walks taken one matrix product at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from graphprune.graphs import walks
from graphprune.graphs.walks import walk_features
from tests.graphs.samples import arcs, braid, random_graph, to_index


def by_hand(nodes, found, steps):
    """Walks over undirected edges, several of the same counted once."""
    neighbours = [set() for _ in range(nodes)]
    for u, v in found:
        if u != v:
            neighbours[u].add(v)
            neighbours[v].add(u)
    rows = []
    for start in range(nodes):
        here = {start: 1.0}
        row = [torch.tensor(float(len(neighbours[start]))).double().log1p().item()]
        for _ in range(steps):
            after = {}
            for node, chance in here.items():
                for other in neighbours[node]:
                    after[other] = after.get(other, 0.0) + chance / len(neighbours[node])
            here = after
            row.append(here.get(start, 0.0))
        rows.append([row[0], *row[2:]])
    return torch.tensor(rows, dtype=torch.float64).reshape(nodes, steps)


@settings(max_examples=60)
@given(graphs=st.lists(arcs(), min_size=1, max_size=5), steps=st.integers(2, 9))
def test_each_node_of_a_batch_has_the_walks_of_its_own_graph(graphs, steps):
    batch = Batch.from_data_list([Data(edge_index=to_index(found), num_nodes=nodes) for nodes, found in graphs])
    expected = torch.cat([by_hand(nodes, found, steps) for nodes, found in graphs])
    torch.testing.assert_close(walk_features(batch, steps).double(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("way", ["_FEW", "_AT_ONCE"])
def test_many_graphs_are_taken_in_parts_of_bounded_size(monkeypatch, way):
    if way == "_AT_ONCE":
        monkeypatch.setattr(walks, "_FEW", -1)
    graphs = [random_graph(seed, nodes=3 + seed % 11) for seed in range(40)]
    batch = Batch.from_data_list(graphs)
    whole = walk_features(batch, 8)
    monkeypatch.setattr(walks, way, 200)
    torch.testing.assert_close(walk_features(batch, 8), whole, rtol=0, atol=0)
    alone = torch.cat([walk_features(graph, 8) for graph in graphs])
    torch.testing.assert_close(alone, whole, rtol=0, atol=0)


def test_rings_are_told_apart_by_their_size():
    def ring(size):
        return Data(edge_index=to_index([(i, (i + 1) % size) for i in range(size)]), num_nodes=size)

    five, six = (walk_features(ring(size), 6)[0] for size in (5, 6))
    assert five[4] > 0 == six[4]  # five steps lead around a ring of five
    assert float(walk_features(ring(7), 2)[0, 1]) == pytest.approx(0.5)


def test_half_precision_does_not_reach_them():
    batch = Batch.from_data_list([random_graph(seed) for seed in range(5)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = walk_features(batch, 8)
    assert torch.equal(inside, walk_features(batch, 8))


def test_what_cannot_be_walked_is_refused(monkeypatch):
    for steps in (1, 129):
        with pytest.raises(ValueError, match=f"after 2 steps at the earliest, and 128 are the limit, got {steps}"):
            walk_features(random_graph(0), steps)
    with pytest.raises(
        ValueError,
        match=r"a graph has 100,000 nodes with neighbours and 600,000 arcs; .* 16 steps .*: take fewer steps$",
    ):
        walk_features(braid(100_000), 16)
    monkeypatch.setattr(walks, "_FEW", -1)
    monkeypatch.setattr(walks, "LARGEST", 9)
    monkeypatch.setattr(walks, "_SMALL", 9)
    monkeypatch.setattr(walks, "MOST_PRODUCTS", 20)
    batch = Batch.from_data_list([random_graph(0, nodes=9), random_graph(1, nodes=12)])
    with pytest.raises(ValueError, match=r"a graph has 1\d nodes with neighbours.*take fewer steps"):
        walk_features(batch, 4)


def powers(data, steps):
    """The same by matrices of all pairs of nodes, of whatever size."""
    adjacency = np.zeros((data.num_nodes, data.num_nodes))
    source, target = data.edge_index.numpy()
    adjacency[source, target] = adjacency[target, source] = 1
    np.fill_diagonal(adjacency, 0)
    degree = adjacency.sum(1)
    once = adjacency / np.maximum(degree, 1)[:, None]
    diagonals = [np.diag(np.linalg.matrix_power(once, step)) for step in range(2, steps + 1)]
    return torch.from_numpy(np.stack([np.log1p(degree), *diagonals], 1))


@settings(max_examples=40)
@given(graphs=st.lists(arcs(), min_size=1, max_size=4), steps=st.integers(2, 9))
def test_all_ways_are_the_same(graphs, steps):
    batch = Batch.from_data_list([Data(edge_index=to_index(found), num_nodes=nodes) for nodes, found in graphs])
    found = walk_features(batch, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walks, "_FEW", -1)
        torch.testing.assert_close(walk_features(batch, steps), found, rtol=0, atol=1e-7)
        patch.setattr(walks, "_SMALL", 0)
        patch.setattr(walks, "_FASTER", 0)
        patch.setattr(walks, "_COLUMNS", 2)
        torch.testing.assert_close(walk_features(batch, steps), found, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("nodes", "share"), [(150, 0.02), (150, 0.5), (300, 0.01)])
def test_graphs_of_some_size_have_the_diagonals_of_powers(nodes, share):
    arcs = (torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(nodes)) < share).nonzero().t()
    graph = Data(edge_index=arcs, num_nodes=nodes)
    first, last = (
        Data(edge_index=random_graph(seed).edge_index, num_nodes=random_graph(seed).num_nodes) for seed in (0, 1)
    )
    among = Batch.from_data_list([first, graph, last])
    found = walk_features(graph, 9)
    torch.testing.assert_close(found.double(), powers(graph, 9), rtol=1e-7, atol=1e-7)
    assert torch.equal(walk_features(among, 9)[first.num_nodes :][:nodes], found)


def test_many_nodes_are_no_matter_without_many_arcs():
    graph = Data(edge_index=torch.tensor([[0, 7, 99_999], [7, 99_998, 99_998]]), num_nodes=100_000)
    found = walk_features(graph, 8)
    assert found.shape == (100_000, 8) and torch.equal(
        found.any(1).nonzero().flatten().sort().values, torch.tensor([0, 7, 99_998, 99_999])
    )
    path = Data(edge_index=to_index([(0, 1), (1, 2), (2, 3)]), num_nodes=4)
    assert torch.equal(found[[0, 7, 99_998, 99_999]], walk_features(path, 8))
    assert not walk_features(Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=100_000), 16).any()
