"""Arcs marked as protected stay, and count as little as self-loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import VirtualNode

from graphprune import ICPG, UGS, EdgePredictor, NoEdges, RandomPruning, Sparsifier
from graphprune.data import from_graphs, from_nodes
from graphprune.graphs import EdgeRound, EdgeRule, PackedGraphs, PruneEdges, RandomEdges, edge_units, score_arcs
from graphprune.graphs.rule import number_units, original_units, prunable_arcs
from graphprune.methods import Protocol
from graphprune.models import GCN
from tests.graphs.samples import arcs, random_graph, to_index, units_by_hand
from tests.methods.graphs import plain_fit


def protected_by_hand(found, protected, unit):
    """Units without those in which an arc is protected."""
    return [each for each in units_by_hand(found, unit) if not any(protected[place] for place in each)]


@given(arcs(), st.data(), st.sampled_from(["pair", "arc"]))
def test_units_without_protected_arcs(graph, data, unit):
    nodes, found = graph
    protected = data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    units = edge_units(to_index(found), nodes, unit, torch.tensor(protected, dtype=torch.bool))
    expected = protected_by_hand(found, protected, unit)
    assert units.first.tolist() == [min(each) for each in expected]
    assert (1 + (units.first != units.second)).tolist() == [len(each) for each in expected]
    for number, each in enumerate(expected):
        assert units.unit[each].tolist() == [number] * len(each)
    assert int((units.unit >= 0).sum()) == sum(map(len, expected))


def star(number, one_way=False):
    """A random graph with PyG's virtual node, whose arcs are protected."""
    graph = random_graph(number, nodes=5 + number, edges=8 + number)
    graph.y = torch.tensor([number % 2])
    before = graph.num_edges
    graph = VirtualNode()(graph)
    graph.edge_protected = torch.arange(graph.num_edges) >= before
    if one_way:  # the way back is left to its partner
        graph.edge_protected[-graph.num_nodes + 1 :] = False
    del graph.edge_type
    return graph


RULES = {
    "pair": EdgeRule(),
    "arc": EdgeRule(unit="arc"),
    "paper": EdgeRule(unit="arc", count="floor", scoring="batch"),
    "floor": EdgeRule(count="floor"),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("one_way", [False, True])
def test_the_arcs_of_a_virtual_node_stay(rule, one_way):
    if one_way and rule not in ("pair", "floor"):
        pytest.skip("arcs fall one by one")
    whole, bare = star(17, one_way), random_graph(17, nodes=22, edges=25)
    assert whole.num_edges - bare.num_edges == 44
    prune = PruneEdges([EdgeRound(RandomEdges(), 0.3, 0.7), EdgeRound(RandomEdges(1), 0.3, 0.49)], RULES[rule])
    less = prune(whole)
    hub = (less.edge_index == 22).any(0)
    assert int(hub.sum()) == 44
    assert int((~hub).sum()) < bare.num_edges
    assert less.edge_protected.shape == (less.num_edges,)
    packed = PackedGraphs.of([whole])
    assert torch.equal(packed.keep_edges(prune.mask(packed).keep).edge_index, less.edge_index)


@pytest.mark.parametrize("unit", ["pair", "arc"])
def test_what_is_left_of_the_others_is_as_without_the_protected(unit):
    index = random_graph(3, nodes=9, edges=20).edge_index
    loops = torch.arange(9).expand(2, 9)
    hub = torch.stack([torch.arange(9), torch.full((9,), 9)])
    plain = Data(edge_index=torch.cat([index, loops], 1), num_nodes=10)
    marked = torch.arange(index.size(1) + 9 + 18) >= index.size(1) + 9
    whole = Data(edge_index=torch.cat([plain.edge_index, hub, hub.flip(0)], 1), num_nodes=10, edge_protected=marked)
    rule = EdgeRule(unit=unit)
    graphs = [PackedGraphs.of([graph]) for graph in (plain, whole)]
    assert original_units(graphs[0], rule).tolist() == original_units(graphs[1], rule).tolist()
    assert int(prunable_arcs(graphs[1], unit).sum()) == index.size(1)
    assert number_units(graphs[1], unit).edge["edge_unit"][-18:].eq(-1).all()
    scorer = _ByEnds()
    stages = [EdgeRound(scorer, 0.25, 0.75), EdgeRound(scorer, 0.25, 0.5625)]
    less = [PruneEdges(stages, rule)(graph) for graph in (plain, whole)]
    assert torch.equal(less[0].edge_index, less[1].edge_index[:, : less[0].num_edges])
    assert less[1].num_edges == less[0].num_edges + 18


class _ByEnds(torch.nn.Module):
    def forward(self, data):
        source, target = data.edge_index
        return ((source + 1) * (target + 1)).double().sin()


def a_set(count=8):
    splits = [[star(number) for number in range(start, start + count)] for start in (0, 3, 5)]
    return from_graphs(*splits, name="stars", task="multiclass")


def tenfold(**options):
    return {"rounds": 2, "edge_rate": 0.3, "weight_rate": 0.2} | options


METHODS = {
    "icpg": lambda data: ICPG(predictor=EdgePredictor.for_data(data, hidden=8, layers=2), **tenfold()),
    "paper": lambda data: ICPG(
        predictor=EdgePredictor.for_data(data, hidden=8, layers=2), protocol="paper", **tenfold()
    ),
    "global": lambda data: ICPG(
        predictor=EdgePredictor.for_data(data, hidden=8, layers=2),
        protocol=Protocol(rule=EdgeRule(budget="global")),
        **tenfold(),
    ),
    "ugs": lambda data: UGS(unseen="random", **tenfold()),
    "ugs paper": lambda data: UGS(unseen="random", protocol="paper", **tenfold()),
    "random": lambda data: RandomPruning(**tenfold()),
    "forest": lambda data: Sparsifier(edges="spanning-forest", **tenfold()),
    "no-edges": lambda data: NoEdges(),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_them_and_counts_without_them(name):
    data = a_set()
    torch.manual_seed(0)
    *_, ticket = METHODS[name](data).rounds(GCN.for_data(data, hidden=8, layers=2), data, fit=plain_fit(2))
    for split, graphs in data.splits.items():
        keep = ticket.edge_mask(graphs).keep
        marked = graphs.edge["edge_protected"]
        assert keep[marked].all()
        gone, there = int((~keep).sum()), int((~marked).sum())
        assert gone > 0
        assert ticket.row[f"edge_sparsity_{split}"] == pytest.approx(gone / there)
    if name == "no-edges":
        assert ticket.row["edge_sparsity_test"] == 1
    else:
        graph = data.test[0]
        assert ticket.prune_graph(graph).edge_protected.sum() == graph.edge_protected.sum()
        assert ticket.score_edges(graph)[graph.edge_protected].eq(1).all()


def test_one_graph_whose_nodes_are_split():
    graph = star(4)
    graph.y = torch.arange(graph.num_nodes) % 2
    for place, split in enumerate(("train", "val", "test")):
        graph[f"{split}_mask"] = torch.arange(graph.num_nodes) // 2 % 3 == place
    data = from_nodes(graph, name="star")
    assert torch.equal(data.train.edge["edge_protected"], graph.edge_protected)


def test_marks_that_are_none():
    whole = star(2)
    for mark in (whole.edge_protected.long(), whole.edge_protected[:-1], whole.edge_protected[:, None], [True]):
        graph = whole.clone()
        graph.edge_protected = mark
        with pytest.raises(ValueError, match=r"edge_protected must be bool of shape"):
            PruneEdges([EdgeRound(RandomEdges(), 0.3, 0.7)])(graph)
        with pytest.raises(ValueError, match=r"edge_protected must be bool of shape"):
            score_arcs(RandomEdges(), graph)
        with pytest.raises(ValueError, match=r"stars, train graph 0: edge_protected must be bool"):
            from_graphs([graph], [graph], [graph], name="stars", task="multiclass", num_classes=2)
    bare = whole.clone()
    del bare.edge_protected
    with pytest.raises(ValueError, match="val graph 0 lacks edge_protected, unlike train graph 0"):
        from_graphs([whole], [bare], [whole], name="stars", task="multiclass", num_classes=2)
