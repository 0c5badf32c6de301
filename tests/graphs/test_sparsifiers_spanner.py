"""The greedy spanner against the textbook's loop, and what a spanner promises."""

import math

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.graphs import EdgeRound, PruneEdges
from graphprune.graphs.sparsifiers import GreedySpanner
from tests.graphs.test_sparsifiers import both_ways, data_of, graph_of
from tests.graphs.test_sparsifiers_weights import simple_weights, weighted, weighted_arcs


def distance(graph, u, v):
    return nx.dijkstra_path_length(graph, u, v, weight="length") if nx.has_path(graph, u, v) else math.inf


def textbook(graph, stretch, draw):
    """The step of each edge, by one search an edge; the draw decides among edges of equal length."""
    spanner, steps = nx.create_empty_copy(graph), {}
    for u, v in sorted(graph.edges, key=lambda edge: (1 / graph.edges[edge].get("weight", 1.0), draw[frozenset(edge)])):
        length = 1 / graph.edges[u, v].get("weight", 1.0)
        found = distance(spanner, u, v)
        if found == math.inf:
            step = stretch + 2
        elif found > stretch * length * (1 + 1e-9):
            step = stretch + 1
        else:
            step = math.ceil(found / length - 1e-9)
        if step > stretch:
            spanner.add_edge(u, v, length=length)
        steps[frozenset((u, v))] = step
    return steps, spanner


def scored(scorer, data):
    """The step and the draw of each edge."""
    scores = scorer(data).tolist()
    of_edge = {
        frozenset(arc): score
        for arc, score in zip(data.edge_index.t().tolist(), scores, strict=True)
        if arc[0] != arc[1]
    }
    return {e: math.floor(s) for e, s in of_edge.items()}, {e: s - math.floor(s) for e, s in of_edge.items()}


@given(drawn=weighted_arcs(max_arcs=30), stretch=st.integers(1, 5), seed=st.integers(0, 50), weigh=st.booleans())
def test_the_steps_are_those_of_the_textbook(drawn, stretch, seed, weigh):
    nodes, found, _ = drawn
    graph = simple_weights(*drawn) if weigh else graph_of(nodes, found)
    data = weighted(*drawn) if weigh else data_of(nodes, found)
    steps, draw = scored(GreedySpanner(seed, stretch), data)
    expected, spanner = textbook(graph, stretch, draw)
    assert steps == expected
    for u, v in graph.edges:  # what a spanner is for
        assert distance(spanner, u, v) <= stretch / graph.edges[u, v].get("weight", 1.0) * (1 + 1e-9)
    assert all(GreedySpanner(seed, stretch)(data)[number] == 0 for number, (u, v) in enumerate(found) if u == v)


@pytest.mark.parametrize("stretch", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_larger_graphs_agree_and_have_no_short_cycles(stretch, seed):
    graph = nx.gnm_random_graph(60, 400, seed=seed)
    steps, draw = scored(GreedySpanner(seed, stretch), both_ways(graph))
    expected, _ = textbook(graph, stretch, draw)
    assert steps == expected
    inside = nx.Graph([tuple(edge) for edge, step in steps.items() if step > stretch])
    assert nx.girth(inside) > stretch + 1
    assert nx.number_connected_components(inside) == nx.number_connected_components(graph)
    if stretch == 3:
        assert inside.number_of_edges() <= 60**1.5 + 60


def test_larger_weighted_graphs_agree():
    graph = nx.random_geometric_graph(120, 0.2, seed=3)
    rng = torch.Generator().manual_seed(0)
    for u, v in graph.edges:
        graph.edges[u, v]["weight"] = float(torch.rand((), generator=rng)) + 0.05
    data = both_ways(graph)
    data.edge_weight = torch.tensor([graph.edges[arc]["weight"] for arc in data.edge_index.t().tolist()]).double()
    graph = simple_weights(len(graph), data.edge_index.t().tolist(), data.edge_weight.tolist())
    for stretch in (1, 3, 4):
        steps, draw = scored(GreedySpanner(2, stretch), data)
        assert steps == textbook(graph, stretch, draw)[0]
        forest = {edge for edge, step in steps.items() if step == stretch + 2}
        assert forest == {frozenset(edge) for edge in nx.maximum_spanning_edges(graph, data=False)}


def test_different_lengths_leave_nothing_to_chance():
    """Then neither the seed nor the names of the nodes decide over the spanner."""
    graph, label = nx.gnm_random_graph(30, 150, seed=1), torch.randperm(30, generator=torch.Generator().manual_seed(0))
    data = both_ways(graph)
    data.edge_weight = torch.rand(150, generator=torch.Generator().manual_seed(1)).double().repeat_interleave(2) + 0.1
    steps = GreedySpanner(1)(data).floor()
    assert torch.equal(GreedySpanner(2)(data).floor(), steps)
    assert not torch.equal(GreedySpanner(2)(data), GreedySpanner(1)(data))
    data.edge_index = label[data.edge_index]
    assert torch.equal(GreedySpanner(1)(data).floor(), steps)


def test_a_budget_of_its_size_keeps_the_spanner():
    data = both_ways(nx.gnm_random_graph(40, 200, seed=0))
    inside = GreedySpanner(5)(data) >= 4
    share = int(inside.sum()) / data.num_edges
    left = PruneEdges([EdgeRound(GreedySpanner(5), 0.1, share)])(data)
    assert torch.equal(left.edge_index, data.edge_index[:, inside])


def test_a_seed_makes_a_spanner():
    data = both_ways(nx.complete_graph(12))
    spanners = [GreedySpanner(seed)(data) >= 4 for seed in range(20)]
    assert len({tuple(spanner.tolist()) for spanner in spanners}) == 20
    assert torch.equal(GreedySpanner(4, 2)(data), GreedySpanner(**GreedySpanner(4, 2).config())(data))


@pytest.mark.parametrize("stretch", [0, -1])
def test_a_stretch_below_one_is_refused(stretch):
    with pytest.raises(ValueError, match=f"stretch must be a whole number of at least 1, got {stretch}"):
        GreedySpanner(stretch=stretch)
