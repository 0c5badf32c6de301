"""`Sparsify` where it is used: data sets, loaders, files, and learnt scores."""

import copy
import functools
import math
import os
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose, ToUndirected

from graphprune import ICPG, UGS, Dense, EdgePredictor, Sparsify, Ticket
from graphprune import data as sets
from graphprune.graphs import PackedGraphs, RandomEdges, score_arcs
from graphprune.graphs.sparsifiers import EffectiveResistance
from graphprune.models import GCN
from tests.graphs.samples import RULES, Given, molecule, random_graph, shake
from tests.methods.graphs import plain_fit


class ByEnds(nn.Module):
    """A scorer of a user's, whose weight and plain attribute decide."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor, self.weight = factor, nn.Parameter(torch.tensor(0.5))

    def forward(self, data):
        source, target = data.edge_index
        return self.weight * ((source + 1) * (target + 1) * self.factor).to(self.weight.dtype).sin()


class Molecules(InMemoryDataset):
    """PyG's own kind of data set, with a cache."""

    made = 0

    @property
    def processed_file_names(self):
        return ["data.pt"]

    def __init__(self, root, **transforms):
        super().__init__(root, **transforms)
        self.load(self.processed_paths[0])

    def process(self):
        type(self).made += 1
        graphs = [molecule(seed) for seed in range(5)]
        self.save(
            [graph if self.pre_transform is None else self.pre_transform(graph) for graph in graphs],
            *self.processed_paths,
        )


def same(graph, other):
    names = sorted(graph.keys())
    return names == sorted(other.keys()) and all(torch.equal(graph[name], other[name]) for name in names)


# ------------------------------------------------------------------ many graphs


@pytest.mark.parametrize("name", RULES)
def test_graph_by_graph_is_the_same_as_a_packed_set(name):
    graphs = [random_graph(seed, nodes=4 + seed, edges=3 * seed, one_way=seed % 2 == 0) for seed in range(12)]
    for options in (
        {"keep": 0.4, "connected": True},
        {"edges": 9, "min_degree": 0},
        {"mean_degree": 1.5},
        {"threshold": 0.5},
    ):
        thin = Sparsify(name, **options)
        packed = thin.prune(graphs)
        assert isinstance(packed, PackedGraphs) and len(packed) == 12
        assert packed.digest() == thin.prune(PackedGraphs.of(graphs)).digest()
        for number, graph in enumerate(graphs):
            less = thin(graph)
            assert torch.equal(packed[number].edge_index, less.edge_index)
            assert torch.equal(packed[number].edge_attr, less.edge_attr)
            assert torch.equal(thin.mask(graphs).graph(number), thin.mask([graph]).keep)
        assert thin.counts(graphs).kept.tolist() == [int(thin.counts(graph).kept) for graph in graphs]


def test_all_graphs_together():
    graphs = []
    for seed in range(6):
        graph = random_graph(seed, nodes=6, edges=10 + seed)
        graph.edge_score = torch.full((graph.num_edges,), float(seed))
        graphs.append(graph)
    share = Sparsify(Given(), keep=0.5, scope="all")
    pairs = sum(graph.num_edges for graph in graphs) // 2
    kept = share.counts(graphs).kept.tolist()
    assert sum(kept) == round(pairs / 2) and kept[0] == 0 and kept[-1] == 15  # the highest of all
    assert share.prune(graphs).num_edges == 2 * sum(kept)
    assert Sparsify(Given(), edges=20, scope="all").prune(graphs).num_edges == 40
    assert Sparsify(Given(), mean_degree=2, scope="all").prune(graphs).num_edges == 72
    assert Sparsify(Given(), threshold=4, scope="all").prune(graphs).num_edges == 2 * (14 + 15)
    tight = Sparsify(Given(), keep=0.1, scope="all", connected=True)
    counts = tight.counts(graphs)
    assert counts.kept.tolist() == counts.needed.tolist() and counts.budget.tolist() == [round(pairs * 0.1)]
    assert "constraints need more than the budget of 8" in counts.summary()
    with pytest.raises(ValueError, match=r"the graphs together need \d+ edges .*more than edges=20"):
        Sparsify(Given(), edges=20, scope="all", connected=True).prune(graphs)
    with pytest.raises(ValueError, match=r"scope='all' counts over a list of graphs: call prune\(graphs\)"):
        share(graphs[0])


def test_the_summary_says_where_constraints_win():
    graphs = [random_graph(seed, nodes=8, edges=7 + 4 * (seed % 2)) for seed in range(14)]
    counts = Sparsify("random", keep=0.2, connected=True).counts(graphs)
    assert counts.beyond.all() and str(counts) == counts.summary()
    found = re.fullmatch(
        r"14 graphs: (\d+) of 126 edges kept \((.+)%\); constraints need more than the budget in 14: "
        r"graph 0 keeps (\d+) for 1, (?:graph \d keeps \d for \d, ){3}graph 4 keeps \d for \d, and 9 more",
        str(counts),
    )
    assert found and int(found[1]) == int(counts.kept.sum()) and float(found[2]) == round(int(found[1]) / 1.26, 2)
    assert Sparsify("random", keep=0.5).counts(graphs).summary().endswith("; the budget is met")
    nothing = Sparsify("random", keep=0.5).counts(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=3))
    assert nothing.summary() == "1 graph: 0 of 0 edges kept; the budget is met"


# ------------------------------------------------------------------ PyG's pipeline


def test_in_compose_and_in_the_workers_of_a_loader(tmp_path):
    thin = Sparsify("effective-resistance", keep=0.4, connected=True)
    data = Molecules(tmp_path, transform=Compose([ToUndirected(), thin]))
    expected = [thin(ToUndirected()(molecule(seed))) for seed in range(5)]
    for number, graph in enumerate(data):
        assert same(graph, expected[number])
    batches = list(DataLoader(data, batch_size=2, num_workers=2))
    assert torch.equal(batches[0].edge_index, Batch.from_data_list(expected[:2]).edge_index)
    assert torch.equal(
        torch.cat([each.edge_attr for each in batches]), torch.cat([each.edge_attr for each in expected])
    )


def test_a_cache_of_another_transform_is_noticed(tmp_path):
    thin = Sparsify("random", keep=0.4, connected=True)
    data = Molecules(tmp_path, pre_transform=thin)
    made = Molecules.made
    assert all(same(graph, thin(molecule(seed))) for seed, graph in enumerate(data))
    Molecules(tmp_path, pre_transform=Sparsify("random", keep=0.4, connected=True))
    assert Molecules.made == made
    for other in (Sparsify("random", keep=0.4), Sparsify("random", keep=0.4, connected=True, seed=1)):
        with pytest.warns(UserWarning, match="pre_transform"):
            Molecules(tmp_path, pre_transform=other)


def test_what_decides_is_in_the_repr():
    assert repr(Sparsify("jaccard", keep=0.4)) == "Sparsify('jaccard', keep=0.4)"
    said = repr(Sparsify("jaccard", edges=3, scope="all", unit="arc", min_degree=2, protect="edge_must", seed=4))
    assert said == "Sparsify('jaccard', edges=3, scope='all', unit='arc', min_degree=2, protect='edge_must', seed=4)"
    torch.manual_seed(0)
    first, second = EdgePredictor(4, hidden=8), EdgePredictor(4, hidden=8)
    scorers = [ByEnds(), ByEnds(2.0), first, second, EffectiveResistance(), EffectiveResistance(1)]
    texts = [repr(Sparsify(scorer, keep=0.4)) for scorer in scorers]
    assert len(set(texts)) == len(texts)
    assert texts[0].startswith(f"Sparsify({__name__}.ByEnds[") and " at 0x" not in "".join(texts)
    for scorer, text in zip(scorers, texts, strict=True):
        assert repr(Sparsify(copy.deepcopy(scorer).eval(), keep=0.4)) == text
        with torch.no_grad():
            for value in scorer.parameters():
                value += 1
        assert (repr(Sparsify(scorer, keep=0.4)) == text) == (not list(scorer.parameters()))


class Keeps(nn.Module):
    """Scores by whatever it keeps, in a module within."""

    def __init__(self, thing):
        super().__init__()
        self.inner = nn.Module()
        self.inner.thing = thing

    def forward(self, data):
        return data.edge_index[0].double()


class Power:
    def __init__(self, power):
        self.power = power

    def __repr__(self):
        return "Power()"


def kept_things():
    """Things of which no two are the same."""
    first, second = torch.arange(3.0), torch.arange(3)
    plain = [
        None,
        1,
        1.0,
        True,
        "1",
        b"1",
        [1.0, 2.0],
        [2.0, 1.0],
        (1.0, 2.0),
        [[1.0], 2.0],
        {1: 2},
        {2: 1},
        {"1": [2]},
    ]
    arrays = [first, second, [first], first[:2], first + 1e-6, first.numpy(), np.arange(2000), np.arange(2000) % 1999]
    objects = [
        {3, 1, 2},
        {3, 1},
        frozenset({1}),
        Power(2),
        Power(3),
        [Power(2)],
        np.float32(1),
        torch.float32,
        ByEnds(),
        ByEnds(2.0),
    ]
    calls = [torch.relu, torch.sin, math.sin, np.sin, nn.functional.elu, Power]
    return (
        plain
        + arrays
        + objects
        + calls
        + [functools.partial(torch.add, alpha=2), functools.partial(torch.add, alpha=3)]
    )


def test_all_that_a_scorer_holds_is_in_the_repr():
    things = kept_things()
    texts = [repr(Sparsify(Keeps(thing), keep=0.4)) for thing in things]
    assert len(set(texts)) == len(texts)
    again = [repr(Sparsify(Keeps(thing), keep=0.4)) for thing in copy.deepcopy(things)]
    assert [text for text, other in zip(texts, again, strict=True) if text != other] == []
    weights, module = nn.Linear(2, 2), Keeps(None)
    module.register_buffer("seen", torch.zeros(2), persistent=False)
    before = repr(Sparsify(module, keep=0.4))
    module.seen += 1
    assert repr(Sparsify(module, keep=0.4)) != before
    texts = [repr(Sparsify(Keeps(thing), keep=0.4)) for thing in (weights, copy.deepcopy(weights), nn.Linear(2, 2))]
    assert texts[0] == texts[1] != texts[2]
    weights.around = module.around = [weights, module]  # which hold each other
    assert repr(Sparsify(weights, keep=0.4)) == repr(Sparsify(weights, keep=0.4)) != repr(Sparsify(module, keep=0.4))


def test_what_has_no_name_is_never_taken_for_the_same():
    def named(data):
        return data

    class NoCopy:
        __slots__ = ()

        def __reduce_ex__(self, protocol):
            raise TypeError("not to be copied")

    things = [lambda data: data, lambda data: data, named, (value for value in ()), threading.Lock(), threading.Lock()]
    thin = [Sparsify(Keeps(thing), keep=0.4) for thing in things]
    texts = [repr(each) for each in thin]
    assert len(set(texts)) == len(texts) and texts[:4] == [repr(each) for each in thin[:4]]
    assert repr(copy.deepcopy(thin[0])) == texts[0]  # the same function
    met = {repr(Sparsify(Keeps(eval("lambda data: data")), keep=0.4)) for _ in range(50)}  # whose place is taken again
    assert len(met) == 50
    first, second = (np.frompyfunc(function, 1, 1) for function in (things[0], things[1]))  # of one name
    assert repr(Sparsify(Keeps(first), keep=0.4)) != repr(Sparsify(Keeps(second), keep=0.4))
    slotted = Sparsify(Keeps(NoCopy()), keep=0.4)
    assert repr(slotted) != repr(slotted)


SAID = """
import torch
from torch_geometric.nn import GATConv, GCNConv
from graphprune import EdgePredictor, Sparsify
torch.manual_seed(0)
module = torch.nn.Sequential(GCNConv(2, 2), GATConv(2, 2))
module.kinds, module.act = {"a", "b", "c"}, torch.relu
print(Sparsify(module, keep=0.4), Sparsify(EdgePredictor(4, hidden=8), keep=0.4))
module.act = lambda values: values
print(Sparsify(module, keep=0.4))
"""


def test_the_next_process_says_the_same():
    texts = [
        subprocess.run(
            [sys.executable, "-c", SAID],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert texts[0][0] == texts[1][0] and texts[0][1] != texts[1][1]


@pytest.mark.parametrize("scorer", ["k-neighbour", ByEnds(), EdgePredictor(4, hidden=8), RandomEdges(3)])
def test_it_can_be_pickled(scorer):
    thin, graph = Sparsify(scorer, mean_degree=1.5, min_degree=1, unit="arc"), random_graph(1)
    again = pickle.loads(pickle.dumps(thin))
    assert (
        repr(again) == repr(thin) and same(again(graph), thin(graph)) and same(copy.deepcopy(thin)(graph), thin(graph))
    )


# ------------------------------------------------------------------ learnt scores


def test_a_predictor_and_a_ticket_score(tmp_path):
    data = sets.load("MUTAG")
    torch.manual_seed(0)
    predictor = shake(EdgePredictor.for_data(data, hidden=8))
    icpg = ICPG(rounds=2, edge_rate=0.2, weight_rate=0, predictor=predictor)
    *_, ticket = icpg.rounds(GCN.for_data(data, hidden=8, layers=2), data, plain_fit(1))
    ticket.save(tmp_path / "ticket")
    graph, last = data.test[3], ticket.edges.rounds[-1].scorer
    for scorer, module in ((predictor, predictor), (ticket, last), (Ticket.load(tmp_path / "ticket"), last)):
        thin = Sparsify(scorer, edges=9)
        score = score_arcs(module, graph)
        graph.edge_score = score
        by_hand = Sparsify(Given(), edges=9)(graph)
        assert torch.equal(thin(graph).edge_index, by_hand.edge_index) and thin(graph).num_edges == 18
        half = Sparsify(scorer, threshold=0.0, unit="arc")(graph)
        assert half.num_edges == int((score >= 0).sum())
        assert pickle.loads(pickle.dumps(thin))(graph).num_edges == 18
        assert half.num_edges == int((module(graph.clone()) >= 0).sum())
    model = GCN.for_data(data, hidden=8, layers=2)
    for method in (Dense(), UGS(rounds=1)):
        (dense,) = method.rounds(model, data, plain_fit(1))
        with pytest.raises(ValueError, match="the ticket scores no edges of graphs that it has not seen"):
            Sparsify(dense, keep=0.5)
