"""Training-free scores against networkx and against their definitions, written out edge by edge."""

import math
import time

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from graphprune.data import load
from graphprune.graphs import EdgeRound, EdgeRule, PruneEdges, RandomEdges
from graphprune.graphs.rule import in_chunks
from graphprune.graphs.sparsifiers import (
    Degree,
    Disparity,
    EffectiveResistance,
    ForestFire,
    GreedySpanner,
    Jaccard,
    KNeighbour,
    LocalDegree,
    LocalSimilarity,
    ScanSimilarity,
    SpanningForest,
    simple,
)
from tests.graphs.samples import arcs, random_graph, to_index, units_by_hand

STRUCTURAL = {
    "degree": Degree(),
    "local degree": LocalDegree(),
    "jaccard": Jaccard(),
    "local similarity": LocalSimilarity(),
    "scan": ScanSimilarity(),
    "disparity": Disparity(),
    "resistance": EffectiveResistance(),
}
SEEDED = {
    "sketched resistance": EffectiveResistance(3, exact_nodes=0),
    "forest": SpanningForest(3),
    "forest of arcs": SpanningForest(3, "arc"),
    "k-neighbour": KNeighbour(3),
    "forest fire": ForestFire(3),
    "t-spanner": GreedySpanner(3),
}
ALL = STRUCTURAL | SEEDED
TOLERANCE = {"rel": 1e-9, "abs": 1e-12}


def graph_of(nodes, found):
    """The simple undirected graph beneath a list of arcs."""
    graph = nx.Graph((u, v) for u, v in found if u != v)
    graph.add_nodes_from(range(nodes))
    return graph


def data_of(nodes, found):
    return Data(edge_index=to_index(found), num_nodes=nodes)


def both_ways(graph):
    """A networkx graph as arcs in both directions."""
    return data_of(graph.number_of_nodes(), [arc for u, v in graph.edges for arc in ((u, v), (v, u))])


def degree_score(graph, u, v):
    def at(node):
        return sum(graph.degree[w] ** -0.5 for w in graph[node]) / graph.degree[node] ** 2

    return at(u) * at(v)


def jaccard(graph, u, v):
    ((_, _, value),) = nx.jaccard_coefficient(graph, [(u, v)])
    return value


def least_exponent(graph, u, v, strength):
    """The smallest a at which u keeps the edge among its ``d**a`` strongest."""
    stronger = sum(strength(u, w) > strength(u, v) for w in graph[u])
    return math.log(stronger + 1) / math.log(graph.degree[u]) if graph.degree[u] > 1 else 0.0


def local_degree(graph, u, v):
    def strength(_, w):
        return graph.degree[w]

    return 1 - min(least_exponent(graph, u, v, strength), least_exponent(graph, v, u, strength))


def local_similarity(graph, u, v):
    def strength(a, b):
        return jaccard(graph, a, b)

    return 1 - min(least_exponent(graph, u, v, strength), least_exponent(graph, v, u, strength))


def scan(graph, u, v):
    of_u, of_v = {u, *graph[u]}, {v, *graph[v]}
    return len(of_u & of_v) / math.sqrt(len(of_u) * len(of_v))


def disparity(graph, u, v):
    """Without weights each of a node's edges has the same share."""
    return -math.log(min((1 - 1 / degree) ** (degree - 1) for degree in (graph.degree[u], graph.degree[v])))


def resistance(graph, u, v):
    return nx.resistance_distance(graph.subgraph(nx.node_connected_component(graph, u)), u, v)


REFERENCES = {
    "degree": degree_score,
    "local degree": local_degree,
    "jaccard": jaccard,
    "local similarity": local_similarity,
    "scan": scan,
    "disparity": disparity,
    "resistance": resistance,
}


@pytest.mark.parametrize("name", REFERENCES)
@given(drawn=arcs(max_nodes=8, max_arcs=24))
def test_scores_are_those_of_the_definition(name, drawn):
    """On graphs with loops, copies of arcs and arcs without partner: the simple undirected graph beneath counts."""
    nodes, found = drawn
    graph = graph_of(nodes, found)
    scores = STRUCTURAL[name](data_of(nodes, found))
    assert scores.dtype == torch.float64 and scores.shape == (len(found),)
    expected = [REFERENCES[name](graph, u, v) if u != v else 0.0 for u, v in found]
    assert scores.tolist() == pytest.approx(expected, **TOLERANCE)


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_of_a_well_known_graph(name):
    graph = nx.karate_club_graph()
    data = both_ways(graph)
    expected = [REFERENCES[name](graph, u, v) for u, v in data.edge_index.t().tolist()]
    assert STRUCTURAL[name](data).tolist() == pytest.approx(expected, **TOLERANCE)


@pytest.mark.parametrize("name", STRUCTURAL)
@given(drawn=arcs(max_nodes=8, max_arcs=24), random=st.randoms(use_true_random=False))
def test_relabelled_nodes_have_the_same_scores(name, drawn, random):
    nodes, found = drawn
    label = random.sample(range(nodes), nodes)
    scores = STRUCTURAL[name](data_of(nodes, found))
    again = STRUCTURAL[name](data_of(nodes, [(label[u], label[v]) for u, v in found]))
    assert again.tolist() == pytest.approx(scores.tolist(), **TOLERANCE)


@pytest.mark.parametrize("name", ALL)
@given(drawn=arcs(max_nodes=8, max_arcs=24), random=st.randoms(use_true_random=False))
def test_the_order_of_the_arcs_does_not_matter(name, drawn, random):
    nodes, found = drawn
    found = list(dict.fromkeys(found))  # which of several equal arcs is the one in the forest is up to their order
    order = random.sample(range(len(found)), len(found))
    scores = ALL[name](data_of(nodes, found))
    again = ALL[name](data_of(nodes, [found[i] for i in order]))
    assert again.tolist() == pytest.approx(scores[order].tolist(), **TOLERANCE)


@pytest.mark.parametrize("name", ALL)
def test_batch_mates_do_not_matter(name):
    graphs = [random_graph(seed, nodes=3 + 2 * seed, edges=4 * seed, loops=seed % 2 == 0) for seed in range(7)]
    graphs = [Data(edge_index=graph.edge_index, num_nodes=graph.num_nodes) for graph in graphs] + [data_of(0, [])]
    alone = [ALL[name](graph) for graph in graphs]
    for order in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 5, 2, 4], [3, 3, 0]):
        scores = ALL[name](Batch.from_data_list([graphs[i] for i in order]))
        expected = torch.cat([alone[i] for i in order])
        # What decides over edges is the score in single precision.
        assert torch.equal(scores.float(), expected.float())


@pytest.mark.parametrize("name", ALL)
def test_graphs_with_nothing_to_score(name):
    for nodes in (0, 1, 4):
        assert ALL[name](data_of(nodes, [])).shape == (0,)
    loops = ALL[name](data_of(4, [(1, 1), (3, 3), (1, 1)]))
    assert loops.shape == (3,)
    lonely = ALL[name](data_of(6, [(1, 3), (3, 1)]))
    assert bool(lonely.isfinite().all()) and lonely.shape == (2,)


@pytest.mark.parametrize("name", ALL)
def test_broken_graphs_are_refused(name):
    with pytest.raises(ValueError, match="no edge_index"):
        ALL[name](Data(num_nodes=2))


@pytest.mark.parametrize("name", [*STRUCTURAL, "k-neighbour", "forest fire", "t-spanner"])
def test_arcs_that_point_outside_are_refused(name):
    with pytest.raises(ValueError, match="outside the graph's 3 nodes"):
        ALL[name](data_of(3, [(0, 1), (1, 7)]))


@pytest.mark.parametrize("name", ALL)
@given(drawn=arcs(max_nodes=8, max_arcs=24))
def test_rounds_keep_nested_sets_of_exact_size(name, drawn):
    nodes, found = drawn
    rule = EdgeRule(unit="arc" if "arcs" in name else "pair")
    units, data = len(units_by_hand(found, rule.unit)), data_of(nodes, found)
    data.edge_number = torch.arange(len(found))
    before = set(range(len(found)))
    loops = {i for i in before if found[i][0] == found[i][1]}
    for rounds in (1, 2, 3):
        stages = [EdgeRound(ALL[name], 0.3, 0.7**number) for number in range(1, rounds + 1)]
        pruned = PruneEdges(stages, rule)(data)
        left = set(pruned.edge_number.tolist())
        assert left <= before and loops <= left
        assert len(units_by_hand(pruned.edge_index.t().tolist(), rule.unit)) == round(units * 0.7**rounds)
        before = left


def test_common_neighbours_beside_hubs_and_in_small_portions(monkeypatch):
    graph = nx.barabasi_albert_graph(300, 5, seed=0)
    graph.add_edges_from((0, node) for node in range(1, 300))
    data = both_ways(graph)
    expected = [len(set(graph[u]) & set(graph[v])) for u, v in graph.edges]
    for most in (1, 97, 1 << 22):
        monkeypatch.setattr(simple, "_WEDGES", most)
        beneath = simple.SimpleGraph.of(data)
        assert beneath.at_arcs(simple.common_neighbours(beneath))[::2].tolist() == expected


# ---------------------------------------------------------------------- k-neighbour


@given(drawn=arcs(max_nodes=8, max_arcs=24), seed=st.integers(-(2**63), 2**63 - 1))
def test_each_node_keeps_its_first_k_neighbours(drawn, seed):
    nodes, found = drawn
    graph = graph_of(nodes, found)
    scores = KNeighbour(seed)(data_of(nodes, found)).tolist()
    for k in range(1, 5):
        chosen = {frozenset(arc) for arc, score in zip(found, scores, strict=True) if score > 1 / (1 + k)}
        for node in graph:
            assert sum(node in edge for edge in chosen) >= min(k, graph.degree[node])
        assert len(chosen) <= sum(min(k, degree) for _, degree in graph.degree)


def test_neighbours_are_ranked_by_chance():
    data = both_ways(nx.complete_graph(7))
    many = torch.stack([KNeighbour(seed)(data)[::2] for seed in range(1500)])
    falls = (many.argsort(1).argsort(1) < 10).double().mean(0)
    assert float((falls - 10 / 21).abs().max()) < 0.06  # standard error of a mean of 1,500: 0.013
    assert torch.equal(many[5], KNeighbour(**KNeighbour(5).config())(data)[::2])


def test_mutual_first_choices_are_no_likelier_than_chance():
    """Both ends of an edge draw for themselves: one that is a first choice of one end is no surer of the other."""
    data, nodes = both_ways(nx.cycle_graph(4)), 4
    first = [int((KNeighbour(seed)(data)[::2] > 0.5).sum()) for seed in range(2000)]
    # Each node chooses one of two edges: an edge is left out by both ends with probability 1/4.
    assert sum(first) / len(first) == pytest.approx(nodes * 3 / 4, abs=0.1)


# ---------------------------------------------------------------------- spanning forest


def components(nodes, found):
    return nx.number_connected_components(graph_of(nodes, found)) if nodes else 0


@pytest.mark.parametrize("unit", ["pair", "arc"])
@given(drawn=arcs(max_nodes=9, max_arcs=30), seed=st.integers(0, 100), rounds=st.integers(1, 3))
def test_no_component_falls_apart_while_the_budget_allows(unit, drawn, seed, rounds):
    nodes, found = drawn
    pieces, units = components(nodes, found), len(units_by_hand(found, unit))
    needed = nodes - pieces
    for keep in range(units + 1):
        # The last round keeps so many; those before have a part of the way behind them.
        goals = [units - (units - keep) * number // rounds for number in range(1, rounds + 1)]
        stages = [EdgeRound(SpanningForest(seed + goal, unit), 0.1, goal / max(units, 1)) for goal in goals]
        left = PruneEdges(stages, EdgeRule(unit=unit))(data_of(nodes, found)).edge_index.t().tolist()
        assert len(units_by_hand(left, unit)) == keep
        if keep >= needed:
            assert components(nodes, left) == pieces
        else:  # nothing but the forest is left, and each of its edges holds two pieces together
            assert components(nodes, left) == pieces + needed - keep


def test_a_seed_makes_a_forest():
    data = both_ways(nx.complete_graph(12))
    forests = [SpanningForest(seed)(data) >= 2 for seed in range(20)]
    assert all(int(forest.sum()) == 2 * 11 for forest in forests)
    assert len({tuple(forest.tolist()) for forest in forests}) == 20
    often = torch.stack([SpanningForest(seed)(data) >= 2 for seed in range(600)]).double().mean(0)
    assert float((often - 11 / 66).abs().max()) < 0.08
    assert torch.equal(SpanningForest(4)(data), SpanningForest(**SpanningForest(4).config())(data))


def test_outside_the_forest_edges_fall_as_random_ones_do():
    data = both_ways(nx.complete_graph(9))
    scores, chance = SpanningForest(5)(data), RandomEdges(5)(data)
    assert torch.equal(torch.where(scores >= 2, scores - 2, scores).float(), chance.float())


# ---------------------------------------------------------------------- speed


def seconds(scorer, batches):
    """Of the processor: other processes do not count."""
    start = time.process_time()
    for batch in batches:
        scorer(batch)
    return time.process_time() - start


DEFAULTS = [name for name in ALL if name != "sketched resistance"]  # as it comes, it sketches large graphs only


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_data_set_of_molecules_is_scored_in_a_moment(name):
    """A tenth of a second on one core; the bound leaves room for a busy machine."""
    chunks = list(in_chunks(load("ogbg-molbace").train, EdgeRule()))
    assert seconds(ALL[name], chunks) < 20


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_large_graph_is_scored_in_a_moment(name):
    thread = nx.barabasi_albert_graph(3000, 1, seed=0)  # nearly a tree, with hubs, as threads of REDDIT are
    thread.add_edges_from(nx.gnm_random_graph(3000, 700, seed=0).edges)
    assert seconds(ALL[name], [both_ways(thread)]) < 20
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(20_000, (2, 100_000), generator=generator)
    large = Data(edge_index=torch.cat([ends, ends.flip(0)], 1), num_nodes=20_000)
    assert seconds(ALL[name], [large]) < 20
