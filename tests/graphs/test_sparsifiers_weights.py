"""Edge weights: read by the rules that are defined for them, with the same meaning, and by no other."""

import math
from pathlib import Path

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch_geometric.data import Batch, Data

from graphprune.graphs import EdgeRound, PruneEdges, edge_units
from graphprune.graphs.sparsifiers import (
    SCORERS,
    EffectiveResistance,
    KNeighbour,
    SimpleGraph,
    SpanningForest,
    StructureScorer,
)
from tests.graphs.samples import RULES, arcs, to_index
from tests.graphs.test_sparsifiers import TOLERANCE, both_ways, data_of, least_exponent

READ = [name for name, kind in RULES.items() if kind.reads_weights]
REST = [name for name in RULES if name not in READ]


@st.composite
def weighted_arcs(draw, max_arcs=20):
    """(nodes, arcs, a positive weight an arc): loops, copies and arcs without partner, equal weights and others."""
    nodes, found = draw(arcs(max_nodes=7, max_arcs=max_arcs))
    weight = st.sampled_from([0.25, 1.0, 3.0]) | st.floats(1e-3, 1e3)
    return nodes, found, draw(st.lists(weight, min_size=len(found), max_size=len(found)))


def weighted(nodes, found, weights):
    data = data_of(nodes, found)
    data.edge_weight = torch.tensor(weights, dtype=torch.float64)
    return data


def simple_weights(nodes, found, weights):
    """The weighted graph beneath: copies of an arc add up, an edge weighs the mean of its directions."""
    ways = {}
    for (u, v), weight in zip(found, weights, strict=True):
        if u != v:
            ways[u, v] = ways.get((u, v), 0.0) + weight
    graph = nx.Graph()
    graph.add_nodes_from(range(nodes))
    for u, v in ways:
        both = [ways[way] for way in ((u, v), (v, u)) if way in ways]
        graph.add_edge(u, v, weight=sum(both) / len(both))
    return graph


def weight(graph, u, v):
    return graph.edges[u, v]["weight"] if graph.has_edge(u, v) else 0.0


def jaccard(graph, u, v):
    least = sum(min(weight(graph, u, w), weight(graph, v, w)) for w in graph)
    return least / sum(max(weight(graph, u, w), weight(graph, v, w)) for w in graph)


def local_similarity(graph, u, v):
    def strength(a, b):
        return round(jaccard(graph, a, b) * 2**40)  # what rounding alone tells apart is equal

    return 1 - min(least_exponent(graph, u, v, strength), least_exponent(graph, v, u, strength))


def significance(graph, u, v):
    """The paper's integral, from the side of u."""
    degree, share = graph.degree[u], weight(graph, u, v) / graph.degree(u, weight="weight")
    return 1 - (degree - 1) * quad(lambda x: (1 - x) ** (degree - 2), 0, share)[0] if degree > 1 else 1.0


def disparity(graph, u, v):
    return min(significance(graph, u, v), significance(graph, v, u))


def resistance(graph, u, v):
    piece = graph.subgraph(nx.node_connected_component(graph, u))
    return weight(graph, u, v) * nx.resistance_distance(piece, u, v, weight="weight", invert_weight=False)


REFERENCES = {"jaccard": jaccard, "local-similarity": local_similarity, "effective-resistance": resistance}


@pytest.mark.parametrize("name", REFERENCES)
@given(drawn=weighted_arcs())
def test_scores_are_those_of_the_definition(name, drawn):
    graph = simple_weights(*drawn)
    expected = [REFERENCES[name](graph, u, v) if u != v else 0.0 for u, v in drawn[1]]
    assert SCORERS[name]()(weighted(*drawn)).tolist() == pytest.approx(expected, rel=1e-7, abs=1e-9)


@given(drawn=weighted_arcs())
def test_the_disparity_filter_is_the_papers_integral(drawn):
    graph = simple_weights(*drawn)
    expected = [disparity(graph, u, v) if u != v else 1.0 for u, v in drawn[1]]
    alpha = SCORERS["disparity"]()(weighted(*drawn)).neg().exp().tolist()
    assert alpha == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_backbone_at_a_level_and_what_is_beyond_doubt():
    """A hub of nine weak edges and a strong one: only that is no matter of chance, at the hub's end."""
    star = nx.star_graph(10)
    data = both_ways(star)
    data.edge_weight = torch.where((data.edge_index == 10).any(0), 91.0, 1.0).double()
    score = SCORERS["disparity"]()(data)
    assert ((score > -math.log(0.05)) == (data.edge_index == 10).any(0)).all()
    assert score.max() == pytest.approx(-9 * math.log(1 - 0.91))
    data.edge_weight = torch.where((data.edge_index == 10).any(0), 1e18, 1.0).double()
    assert bool(SCORERS["disparity"]()(data).isfinite().all())


def test_copies_add_up_and_directions_are_averaged():
    found = [(0, 1), (1, 0), (0, 1), (2, 1), (1, 1), (2, 3), (3, 2)]
    data = weighted(4, found, [1.0, 5.0, 2.0, 7.0, 9.0, 4.0, 4.0])
    graph = SimpleGraph.of(data, data.edge_weight)
    assert graph.ends.t().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert graph.weight.tolist() == [4.0, 7.0, 4.0]
    assert graph.strength.tolist() == [4.0, 11.0, 11.0, 4.0]
    assert SimpleGraph.of(data).weight.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", RULES)
@given(drawn=arcs(max_nodes=8, max_arcs=24))
def test_weights_of_one_are_no_weights(name, drawn):
    nodes, found = drawn
    found = list(dict.fromkeys(found))  # with weights copies add up
    plain = SCORERS[name]()(data_of(nodes, found))
    assert torch.equal(SCORERS[name]()(weighted(nodes, found, [1.0] * len(found))), plain)


@pytest.mark.parametrize("name", READ)
@given(drawn=weighted_arcs(), factor=st.sampled_from([2.0**-8, 4.0, 2.0**20]))
def test_the_unit_of_the_weights_does_not_matter(name, drawn, factor):
    nodes, found, weights = drawn
    scores = SCORERS[name]()(weighted(nodes, found, weights))
    again = SCORERS[name]()(weighted(nodes, found, [factor * weight for weight in weights]))
    assert again.tolist() == pytest.approx(scores.tolist(), **TOLERANCE)


@pytest.mark.parametrize("name", [*REFERENCES, "disparity"])
@given(drawn=weighted_arcs(), random=st.randoms(use_true_random=False))
def test_neither_names_nor_order_matter(name, drawn, random):
    nodes, found, weights = drawn
    label, order = random.sample(range(nodes), nodes), random.sample(range(len(found)), len(found))
    scores = SCORERS[name]()(weighted(nodes, found, weights))
    turned = [(label[found[i][0]], label[found[i][1]]) for i in order]
    again = SCORERS[name]()(weighted(nodes, turned, [weights[i] for i in order]))
    assert again.tolist() == pytest.approx(scores[order].tolist(), **TOLERANCE)


@pytest.mark.parametrize("name", READ)
def test_batch_mates_do_not_matter(name):
    rng, graphs = torch.Generator().manual_seed(0), []
    for seed in range(6):
        data = both_ways(nx.gnm_random_graph(4 + 2 * seed, 5 * seed, seed=seed))
        data.edge_weight = torch.rand(data.num_edges, generator=rng).double() + 0.1
        graphs.append(data)
    alone = [SCORERS[name]()(graph) for graph in graphs]
    for order in ([0, 1, 2, 3, 4, 5], [5, 2, 4], [3, 3, 0]):
        scores = SCORERS[name]()(Batch.from_data_list([graphs[i] for i in order]))
        assert torch.equal(scores.float(), torch.cat([alone[i] for i in order]).float())


BAD = {
    "negative": (torch.tensor([1.0, 1.0, -0.5, 1.0]), ValueError, r"arc 2 \(1 -> 2\) has -0.5"),
    "zero": (torch.tensor([1.0, 0.0, 1.0, 1.0]), ValueError, r"arc 1 \(1 -> 0\) has 0"),
    "nan": (torch.tensor([1.0, 1.0, 1.0, float("nan")]), ValueError, r"arc 3 \(2 -> 1\) has nan"),
    "infinite": (torch.tensor([float("inf"), 1.0, 1.0, 1.0]), ValueError, r"arc 0 \(0 -> 1\) has inf"),
    "column": (torch.ones(4, 1), ValueError, r"edge_weight has shape \(4, 1\), expected \(4,\)"),
    "integers": (torch.ones(4, dtype=torch.int64), TypeError, "edge_weight must be a float tensor, got torch.int64"),
    "list": ([1.0] * 4, TypeError, "edge_weight must be a float tensor, got list"),
}
PATH = to_index([(0, 1), (1, 0), (1, 2), (2, 1)])


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", READ)
def test_weights_that_a_rule_cannot_use_are_named(name, bad):
    given_weight, error, text = BAD[bad]
    data = Data(edge_index=PATH, num_nodes=3, edge_weight=given_weight)
    with pytest.raises(error, match=rf"^{SCORERS[name].__name__}.*{text}"):
        SCORERS[name]()(data)


def test_a_refused_weight_says_what_to_do():
    data = Data(edge_index=PATH, num_nodes=3, edge_weight=BAD["zero"][0])
    with pytest.raises(ValueError, match=r"remove such arcs, or the weights \(del data.edge_weight\)"):
        EffectiveResistance()(data)
    good = Data(edge_index=PATH, num_nodes=3, edge_weight=torch.ones(4))
    with pytest.raises(ValueError, match=r"arc 5 of the batch \(4 -> 3\) has 0"):
        EffectiveResistance()(Batch.from_data_list([good, data]))
    with pytest.raises(ValueError, match=r"EffectiveResistance reads edge_weight .*arc 1 \(1 -> 0\) has 0"):
        PruneEdges([EdgeRound(EffectiveResistance(), 0.5, 0.5)])(data)


@pytest.mark.parametrize("name", REST)
def test_other_rules_do_not_look_at_weights(name):
    data = both_ways(nx.karate_club_graph())
    plain = SCORERS[name]()(data)
    data.edge_weight = torch.full((data.num_edges,), float("nan"))
    assert torch.equal(SCORERS[name]()(data), plain)


@pytest.mark.parametrize("name", RULES)
def test_what_stays_keeps_its_weight(name):
    data = both_ways(nx.karate_club_graph())
    data.edge_weight = torch.arange(data.num_edges).float() + 1
    left = PruneEdges([EdgeRound(SCORERS[name](), 0.5, 0.5)])(data)
    assert left.num_edges == 78
    assert torch.equal(data.edge_index[:, left.edge_weight.long() - 1], left.edge_index)


# ---------------------------------------------------------------------- k-neighbour and the spanning forest


def test_neighbours_are_drawn_in_proportion_to_their_weights():
    """A hub whose neighbours have two far heavier edges: its edges are their last choices, not its own."""
    spokes, far = [(0, 1), (0, 2), (0, 3)], [(1 + leaf // 2, 4 + leaf) for leaf in range(6)]
    data = weighted(10, spokes + far, [1.0, 2.0, 5.0] + [1e12] * 6)
    many = torch.stack([KNeighbour(seed)(data)[:3] for seed in range(3000)])
    first = (many > 0.5).double().mean(0)
    assert first.tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.04)  # standard error: below 0.0092
    second = many[many[:, 2] > 0.5][:, :2] > 1 / 3  # after the third neighbour: in proportion to what is left
    assert second.double().mean(0).tolist() == pytest.approx([1 / 3, 2 / 3], abs=0.05)


@pytest.mark.parametrize("unit", ["pair", "arc"])
@given(drawn=weighted_arcs(max_arcs=24), seed=st.integers(0, 20))
def test_the_spanning_forest_is_the_heaviest(unit, drawn, seed):
    nodes, found, weights = drawn
    data = weighted(nodes, found, weights)
    units = edge_units(data.edge_index, nodes, unit)
    heavy = units.mean(data.edge_weight)
    graph = nx.MultiGraph()
    graph.add_nodes_from(range(nodes))
    for position, weight in zip(units.first.tolist(), heavy.tolist(), strict=True):
        graph.add_edge(*found[position], weight=weight)
    expected = nx.maximum_spanning_tree(graph).size(weight="weight")
    inside = SpanningForest(seed, unit)(data)[units.first] >= 2
    assert float(heavy[inside].sum()) == pytest.approx(expected)


def test_the_documentation_says_which_rules_read_weights():
    page = (Path(__file__).parents[2] / "docs/sparsifiers.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("| `") and "edges=" not in line
    ]
    told = {name.strip("`"): (kind.split()[0].strip("`"), reads) for name, kind, _, reads, *_ in rows}
    known = {name: (kind.__name__, "yes" if kind.reads_weights else "no") for name, kind in RULES.items()}
    assert told == known


def test_a_rule_of_ones_own_reads_weights_if_it_says_so():
    class Strength(StructureScorer):
        reads_weights = True

        def score(self, graph):
            return graph.strength[graph.ends].sum(0)

    class Blind(Strength):
        reads_weights = False

    data = Data(edge_index=PATH, num_nodes=3, edge_weight=torch.tensor([1.0, 3.0, 4.0, 4.0]))
    assert Strength()(data).tolist() == [8.0, 8.0, 10.0, 10.0]
    assert Blind()(data).tolist() == [3.0, 3.0, 3.0, 3.0]
    data.edge_weight[0] = 0.0
    with pytest.raises(ValueError, match="Strength reads edge_weight"):
        Strength()(data)
    assert Blind()(data).tolist() == [3.0, 3.0, 3.0, 3.0]
