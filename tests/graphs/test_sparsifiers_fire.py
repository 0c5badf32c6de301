"""Forest fires against one fire after the other in plain Python, with the same draws and with others."""

import math
import random
from collections import Counter

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.graphs.scorers import mix, uniform
from graphprune.graphs.sparsifiers import ForestFire, SimpleGraph, fire
from tests.graphs.samples import arcs
from tests.graphs.test_sparsifiers import both_ways, data_of, graph_of


class Chance:
    """The draws of a fire, from Python's generator."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def start(self, number, places):
        return self.random.choice(places)

    def most(self, number, node, burn):
        most = 0
        while self.random.random() < burn:
            most += 1
        return most

    def order(self, number, node, neighbours):
        return self.random.sample(neighbours, len(neighbours))


class Hashed:
    """The draws of a fire, as the scorer makes them of a graph and a seed."""

    def __init__(self, data, seed):
        graph = SimpleGraph.of(data)
        pairs, bits = graph.incidences.t().tolist(), graph.bits(graph.incidences, seed)
        self.bits = {tuple(pair): bits[number] for number, pair in enumerate(pairs)}
        nodes = torch.zeros(data.num_nodes, dtype=torch.int64)
        self.node = mix(nodes.index_add(0, graph.incidences[0], bits))

    def start(self, number, places):
        return places[int(float(uniform(mix(self.node.sum() + number))) * len(places))]

    def most(self, number, node, burn):
        draw, most = float(uniform(mix(self.node[node] + number))), 0
        while draw <= burn ** (most + 1) and most < 100:
            most += 1
        return most

    def order(self, number, node, neighbours):
        return sorted(neighbours, key=lambda other: int(mix(self.bits[node, other] + number)))


def simulate(graph, draws, burn, ratio):
    """How often each edge burns."""
    places, burnt, number = [node for node in sorted(graph) if graph.degree[node]], Counter(), 0
    while burnt.total() < ratio * graph.number_of_edges():
        burning = [draws.start(number, places)]
        seen = set(burning)
        for node in burning:  # grows
            free = [other for other in draws.order(number, node, sorted(graph[node])) if other not in seen]
            caught = free[: draws.most(number, node, burn)]
            burnt.update(frozenset((node, other)) for other in caught)
            seen.update(caught)
            burning.extend(caught)
        number += 1
    return burnt


def times(scorer, data):
    """How often each edge burnt."""
    scores = scorer(data).floor().long().tolist()
    return Counter({frozenset(arc): n for arc, n in zip(data.edge_index.t().tolist(), scores, strict=True) if n})


@given(
    drawn=arcs(max_nodes=9, max_arcs=30),
    seed=st.integers(-(2**63), 2**63 - 1),
    burn=st.sampled_from([0.2, 0.6, 0.9]),
    ratio=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_all_fires_at_once_are_one_after_the_other(drawn, seed, burn, ratio):
    nodes, found = drawn
    data = data_of(nodes, found)
    assert times(ForestFire(seed, burn, ratio), data) == simulate(
        graph_of(nodes, found), Hashed(data, seed), burn, ratio
    )


@pytest.mark.parametrize("most", [1, 1000, 1 << 22])
def test_fires_of_larger_graphs_in_any_portions(most, monkeypatch):
    graph = nx.barabasi_albert_graph(60, 3, seed=0)
    data = both_ways(graph)
    monkeypatch.setattr(fire, "_AT_ONCE", most)
    assert times(ForestFire(7, 0.7, 5.0), data) == simulate(graph, Hashed(data, 7), 0.7, 5.0)


def test_edges_burn_as_often_as_in_a_simulation_with_other_draws():
    graph = nx.karate_club_graph()
    data, rounds, burn = both_ways(graph), 400, 0.6
    edges = [frozenset(edge) for edge in graph.edges]
    ours = torch.stack([ForestFire(seed, burn)(data)[::2].floor() for seed in range(rounds)])
    drawn = [simulate(graph, Chance(seed), burn, 5.0) for seed in range(rounds)]
    theirs = torch.tensor([[float(each[edge]) for edge in edges] for each in drawn])
    error = ((ours.var(0) + theirs.var(0)) / rounds).sqrt()
    assert float(((ours.mean(0) - theirs.mean(0)) / error).abs().max()) < 4.5  # of 78 standard deviations
    assert ours.sum(1).mean() == pytest.approx(float(theirs.sum(1).mean()), rel=0.01)
    assert torch.corrcoef(torch.stack([ours.mean(0), theirs.mean(0)]))[0, 1] > 0.98


def test_fires_stop_when_enough_has_burnt():
    data = both_ways(nx.gnm_random_graph(50, 120, seed=0))
    for ratio in (0.5, 1.0, 3.0, 10.0):
        burnt = float(ForestFire(1, ratio=ratio)(data)[::2].floor().sum())
        assert ratio * 120 <= burnt < ratio * 120 + 49
    alone = float(ForestFire(1)(both_ways(nx.path_graph(2)))[0])
    assert math.floor(alone) == 5


def test_chance_decides_among_edges_that_burnt_as_often():
    data = both_ways(nx.complete_graph(10))
    rest = ForestFire(3)(data)[::2].remainder(1)
    assert rest.unique().numel() == 45 and abs(float(rest.mean()) - 0.5) < 0.2


def test_a_seed_makes_fires():
    data = both_ways(nx.karate_club_graph())
    assert not torch.equal(ForestFire(1)(data), ForestFire(2)(data))
    scorer = ForestFire(4, 0.3, 2.0)
    assert torch.equal(scorer(data), ForestFire(**scorer.config())(data))


@pytest.mark.parametrize("bad", [{"burn": 0.0}, {"burn": 1.0}, {"ratio": 0.0}, {"ratio": math.inf}, {"burn": math.nan}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        ForestFire(**bad)
