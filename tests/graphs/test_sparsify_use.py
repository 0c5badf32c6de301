"""`Sparsify` where it is used: data sets, loaders, files, and learnt scores."""

import copy
import pickle
import re

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
