"""Degrees and return probabilities, against walks taken one matrix product at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from graphprune.graphs import walks
from graphprune.graphs.walks import walk_features
from tests.graphs.samples import arcs, random_graph, to_index


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


def test_many_graphs_are_taken_in_parts_of_bounded_size(monkeypatch):
    graphs = [random_graph(seed, nodes=3 + seed % 11) for seed in range(40)]
    batch = Batch.from_data_list(graphs)
    whole = walk_features(batch, 8)
    monkeypatch.setattr(walks, "_AT_ONCE", 200)
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
    monkeypatch.setattr(walks, "LARGEST", 9)
    batch = Batch.from_data_list([random_graph(0, nodes=9), random_graph(1, nodes=12)])
    with pytest.raises(ValueError, match=r"graph 1 has 12 nodes.*walks=0"):
        walk_features(batch, 4)
