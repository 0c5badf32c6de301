"""Effective resistances: exact ones in any portions, sketched ones within their stated error."""

import math

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch

from graphprune.graphs.sparsifiers import EffectiveResistance, resistance
from tests.graphs.test_sparsifiers import both_ways
from tests.graphs.test_sparsifiers_weights import simple_weights, weighted, weighted_arcs


@st.composite
def graphs(draw):
    """Random graphs of one or many components, trees hanging off some."""
    nodes, seed = draw(st.integers(1, 25)), draw(st.integers(0, 1000))
    graph = nx.gnm_random_graph(nodes, draw(st.integers(0, 40)), seed=seed)
    for _ in range(draw(st.integers(0, 6))):
        graph.add_edge(draw(st.integers(0, graph.number_of_nodes() - 1)), graph.number_of_nodes())
    return graph


@given(graph=graphs())
def test_exact_scores_are_resistance_distances(graph):
    data = both_ways(graph)
    expected = []
    for u, v in data.edge_index.t().tolist():
        piece = graph.subgraph(nx.node_connected_component(graph, u))
        expected.append(nx.resistance_distance(piece, u, v))
    assert EffectiveResistance()(data).tolist() == pytest.approx(expected, rel=1e-9)


@given(graph=graphs())
def test_they_add_up_to_the_edges_of_a_spanning_forest(graph):
    """Foster's theorem."""
    total = float(EffectiveResistance()(both_ways(graph)).sum()) / 2
    assert total == pytest.approx(graph.number_of_nodes() - nx.number_connected_components(graph), abs=1e-9)


def test_bridges_score_one_and_nothing_scores_more():
    graph = nx.barbell_graph(6, 3)
    scores = EffectiveResistance()(both_ways(graph))
    bridges = {frozenset(edge) for edge in nx.bridges(graph)}
    for (u, v), score in zip(both_ways(graph).edge_index.t().tolist(), scores.float().tolist(), strict=True):
        assert (score == 1) == (frozenset((u, v)) in bridges)
        assert 0 < score <= 1


@pytest.mark.parametrize("most", [1, 300, 1 << 22])
def test_portions_do_not_change_scores(most, monkeypatch):
    graphs = [nx.gnm_random_graph(4 + seed, 5 + 2 * seed, seed=seed) for seed in range(30)]
    alone = torch.cat([EffectiveResistance()(both_ways(graph)) for graph in graphs])
    monkeypatch.setattr(resistance, "_ENTRIES", most)
    together = EffectiveResistance()(Batch.from_data_list([both_ways(graph) for graph in graphs]))
    assert torch.equal(together.float(), alone.float())


SAMPLES = {
    "mesh": lambda: nx.random_geometric_graph(2000, 0.045, seed=1),
    "hubs": lambda: nx.barabasi_albert_graph(2000, 4, seed=1),
    "ring with chords": lambda: nx.watts_strogatz_graph(2000, 6, 0.05, seed=1),
}


@pytest.mark.parametrize("projections", [64, 250])
@pytest.mark.parametrize("kind", SAMPLES)
def test_sketched_scores_keep_their_stated_error(kind, projections):
    data = both_ways(SAMPLES[kind]())
    exact = EffectiveResistance(exact_nodes=2000)(data)
    error = EffectiveResistance(seed=1, exact_nodes=100, projections=projections)(data) / exact - 1
    stated = math.sqrt(2 / projections)
    assert float(error.square().mean().sqrt()) <= 1.05 * stated
    assert float(error.abs().max()) <= 6 * stated


def test_sketches_follow_their_seed_alone():
    data = both_ways(nx.gnm_random_graph(60, 200, seed=0))
    scores = EffectiveResistance(seed=7, exact_nodes=10, projections=20)(data)
    assert torch.equal(scores, EffectiveResistance(seed=7, exact_nodes=10, projections=20)(data))
    assert not torch.equal(scores, EffectiveResistance(seed=8, exact_nodes=10, projections=20)(data))


def test_large_and_small_components_share_a_graph():
    small, large = nx.complete_graph(5), nx.gnm_random_graph(40, 150, seed=0)
    scorer = EffectiveResistance(exact_nodes=20)
    scores = scorer(both_ways(nx.disjoint_union(small, large)))
    assert scores[:20].tolist() == pytest.approx([0.4] * 20)
    exact = EffectiveResistance()(both_ways(large))
    assert scores[20:].tolist() == pytest.approx(exact.tolist(), rel=0.5)
    assert not torch.equal(scores[20:], exact)


def test_a_long_path_needs_no_solver():
    scores = EffectiveResistance(exact_nodes=10)(both_ways(nx.path_graph(3000)))
    assert bool((scores == 1).all())


def test_a_sketch_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(resistance, "_TOLERANCE", 1e-300)
    with pytest.raises(RuntimeError, match="raise exact_nodes"):
        EffectiveResistance(exact_nodes=10)(both_ways(nx.gnm_random_graph(60, 200, seed=0)))


@pytest.mark.parametrize("bad", [{"projections": 0}, {"exact_nodes": -1}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        EffectiveResistance(**bad)


# ---------------------------------------------------------------------- with weights


@given(drawn=weighted_arcs(max_arcs=30))
def test_weighted_resistances_add_up_and_bridges_score_one(drawn):
    graph = simple_weights(*drawn)
    data = weighted(graph.number_of_nodes(), list(graph.edges), [w for *_, w in graph.edges(data="weight")])
    scores = EffectiveResistance()(data)
    pieces = nx.number_connected_components(graph) if len(graph) else 0
    assert float(scores.sum()) == pytest.approx(len(graph) - pieces, abs=1e-7)
    bridges = {frozenset(edge) for edge in nx.bridges(graph)}
    for edge, score in zip(graph.edges, scores.tolist(), strict=True):
        assert 0 < score <= 1
        assert frozenset(edge) not in bridges or score == pytest.approx(1)


@pytest.mark.parametrize("projections", [64, 250])
def test_sketched_weighted_scores_keep_their_stated_error(projections):
    data = both_ways(nx.random_geometric_graph(1000, 0.06, seed=1))
    half = torch.rand(data.num_edges // 2, generator=torch.Generator().manual_seed(0)).double()
    data.edge_weight = (10 ** (3 * half)).repeat_interleave(2)
    exact = EffectiveResistance(exact_nodes=2000)(data)
    error = EffectiveResistance(seed=1, exact_nodes=100, projections=projections)(data) / exact - 1
    stated = math.sqrt(2 / projections)
    assert float(error.square().mean().sqrt()) <= 1.05 * stated
    assert float(error.abs().max()) <= 6 * stated


def test_weights_of_all_sizes_are_held_together_or_refused():
    data = both_ways(nx.cycle_graph(3))
    light = torch.tensor([1.0, 1.0, 1e-6, 1e-6, 1e-3, 1e-3], dtype=torch.float64)
    data.edge_weight = light
    a, b, c = light[::2].tolist()
    expected = [a / (a + b * c / (b + c)), b / (b + a * c / (a + c)), c / (c + a * b / (a + b))]
    assert EffectiveResistance()(data)[::2].tolist() == pytest.approx(expected, rel=1e-9)
    data.edge_weight = light * torch.tensor([4e6, 4e6, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"EffectiveResistance: edge_weight differs by a factor of 4e\+12"):
        EffectiveResistance()(data)
