"""Constraints on edges: components stay as they are, and nodes keep their neighbours, whatever the scores."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from graphprune.graphs import EdgeRound, EdgeRule, PackedGraphs, PruneEdges, RandomEdges
from graphprune.graphs.pairs import edge_units
from graphprune.graphs.prune import keep_arcs
from graphprune.graphs.required import required_units
from graphprune.graphs.rule import in_chunks
from tests.graphs.samples import Given, arcs, best, random_graph, to_index, units_by_hand


def simple(nodes, found):
    """The simple undirected graph beneath, of networkx."""
    graph = nx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from((u, v) for u, v in found if u != v)
    return graph


def components(nodes, found):
    return {frozenset(each) for each in nx.connected_components(simple(nodes, found))}


def unit_scores(units, score):
    return [float(np.float32(sum(score[i] for i in each) / len(each))) for each in units]


def prunable(found, unit, protected):
    """Units by hand without those that have a protected arc, and all other arcs."""
    free = [each for each in units_by_hand(found, unit) if not any(protected[i] for i in each)]
    inside = {i for each in free for i in each}
    return free, [i for i in range(len(found)) if i not in inside]


def required_by_hand(nodes, found, units, fixed, scores, connected, degree):
    """Kruskal, then node by node, over networkx graphs."""
    there = simple(nodes, [found[i] for i in fixed])
    order = sorted(range(len(units)), key=lambda number: (-scores[number], number))
    ends = [found[each[0]] for each in units]
    needed = set()
    if connected:
        for number in order:
            if not nx.has_path(there, *ends[number]):
                there.add_edge(*ends[number])
                needed.add(number)
    before = {node: set(there[node]) for node in there}
    for node in range(nodes):
        neighbours = set(before[node])
        for number in order:
            if node in ends[number] and len(neighbours) < degree:
                other = sum(ends[number]) - node
                if other not in neighbours:
                    neighbours.add(other)
                    needed.add(number)
    return needed


def left_by_hand(drawn, free, kept):
    """Which arcs of all graphs stay with the units that do."""
    flags = []
    for (_, found, *_), units, stay in zip(drawn, free, kept, strict=True):
        gone = {i for number, unit in enumerate(units) if number not in stay for i in unit}
        flags += [i not in gone for i in range(len(found))]
    return flags


@st.composite
def constrained(draw):
    nodes, found = draw(arcs(max_nodes=7, max_arcs=16))
    score = [float(draw(st.integers(0, 3))) for _ in found]
    protected = [draw(st.integers(0, 5)) == 0 for _ in found]
    rule = EdgeRule(
        unit=draw(st.sampled_from(["pair", "arc"])),
        connected=draw(st.booleans()),
        min_degree=draw(st.integers(0, 3)),
        budget=draw(st.sampled_from(["graph", "global"])),
        count=draw(st.sampled_from(["cumulative", "floor"])),
    )
    return nodes, found, score, protected, rule


def data_of(nodes, found, score, protected):
    return Data(
        edge_index=to_index(found),
        num_nodes=nodes,
        edge_score=torch.tensor(score).reshape(-1),
        edge_protected=torch.tensor(protected, dtype=torch.bool).reshape(-1),
    )


@given(constrained())
def test_what_is_required_is_what_kruskal_and_a_loop_over_nodes_find(drawn):
    nodes, found, score, protected, rule = drawn
    free, fixed = prunable(found, rule.unit, protected)
    units = edge_units(to_index(found), nodes, rule.unit, torch.tensor(protected, dtype=torch.bool))
    values = unit_scores(free, score)
    got = required_units(units, torch.tensor(values).reshape(-1), to_index(found), nodes, rule)
    wanted = required_by_hand(nodes, found, free, fixed, values, rule.connected, rule.min_degree)
    assert set(got.nonzero().flatten().tolist()) == wanted


@given(st.lists(constrained(), min_size=1, max_size=4), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_required_edges_come_first_and_counts_are_exact(drawn, rate):
    rule = drawn[0][4]
    packed = PackedGraphs.of([data_of(*each[:4]) for each in drawn])
    free = [prunable(found, rule.unit, protected)[0] for _, found, _, protected, _ in drawn]
    scores = [unit_scores(units, each[2]) for units, each in zip(free, drawn, strict=True)]
    needed = []
    for (nodes, found, _, protected, _), units, values in zip(drawn, free, scores, strict=True):
        fixed = prunable(found, rule.unit, protected)[1]
        needed.append(required_by_hand(nodes, found, units, fixed, values, rule.connected, rule.min_degree))

    def share(total):
        return total - int(total * rate) if rule.count == "floor" else min(total, round(total * (1 - rate)))

    kept = []
    if rule.budget == "graph":
        for values, must in zip(scores, needed, strict=True):
            rest = [i for i in range(len(values)) if i not in must]
            more = best([values[i] for i in rest], max(0, share(len(values)) - len(must)))
            kept.append(must | {rest[i] for i in more})
    else:
        places = [(g, i) for g, values in enumerate(scores) for i in range(len(values))]
        rest = [(g, i) for g, i in places if i not in needed[g]]
        more = best([scores[g][i] for g, i in rest], max(0, share(len(places)) - sum(map(len, needed))))
        kept = [must | {i for h, i in (rest[j] for j in more) if h == g} for g, must in enumerate(needed)]
    edge_round = EdgeRound(Given(), rate, 1 - rate)
    found = keep_arcs(in_chunks(packed, rule), edge_round, rule)
    assert found.arcs.tolist() == left_by_hand(drawn, free, kept)
    assert found.kept.tolist() == list(map(len, kept))
    assert found.needed.tolist() == list(map(len, needed))
    assert found.units.tolist() == list(map(len, free))
    if rule.budget == "global":  # the same graphs as unseen ones: by the threshold, with the forest of each
        threshold = EdgeRound(Given(), rate, 1 - rate, found.threshold)
        mask = PruneEdges((threshold,), rule).mask(packed).keep
        assert not bool((found.arcs & ~mask).any())
        again = [{i for i, value in enumerate(values) if value >= found.threshold} for values in scores]
        expected = [must | high for must, high in zip(needed, again, strict=True)]
        assert mask.tolist() == left_by_hand(drawn, free, expected)


@pytest.mark.parametrize("unit", ["pair", "arc"])
def test_rounds_never_part_components_nor_take_a_neighbour_too_many(unit):
    for seed in range(20):
        graph = random_graph(seed, nodes=12, edges=25, loops=seed % 2 == 0, one_way=seed % 3 == 0)
        rule = EdgeRule(unit=unit, connected=True, min_degree=2)
        rounds = [EdgeRound(RandomEdges(number, unit), 0.5, 0.5**number) for number in range(1, 6)]
        less = PruneEdges(rounds, rule)(graph)
        before, after = graph.edge_index.t().tolist(), less.edge_index.t().tolist()
        assert components(12, before) == components(12, after)
        full, left = simple(12, before), simple(12, after)
        assert all(left.degree[node] >= min(2, full.degree[node]) for node in full)
        assert less.num_edges < graph.num_edges


def test_a_batch_has_the_forests_of_its_graphs():
    graphs = [random_graph(seed, nodes=5 + seed, edges=6 + 2 * seed) for seed in range(9)]
    rule = EdgeRule(connected=True, min_degree=1)
    prune = PruneEdges([EdgeRound(RandomEdges(), 0.9, 0.1)], rule)
    packed = prune.prune(PackedGraphs.of(graphs))
    for number, graph in enumerate(graphs):
        assert torch.equal(packed[number].edge_index, prune(graph).edge_index)


def test_infinite_scores_are_no_obstacle():
    path = [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]
    for value in (float("inf"), -float("inf")):
        score = [value, 0.0, -float("inf"), float("inf"), value]
        graph = data_of(4, path, score, [False] * 5)
        less = PruneEdges([EdgeRound(Given(), 0.9, 0.1)], EdgeRule(connected=True))(graph)
        assert less.num_edges == 3
        assert components(4, less.edge_index.t().tolist()) == components(4, path)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_connected_is_yes_or_no(value):
    with pytest.raises(ValueError, match="connected must be True or False"):
        EdgeRule(connected=value)


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "2"])
def test_a_degree_is_a_number_of_neighbours(value):
    with pytest.raises(ValueError, match="min_degree must be a whole number of at least 0"):
        EdgeRule(min_degree=value)
