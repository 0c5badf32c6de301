"""Spurious motifs: which graphs they are (by networkx), what is balanced, biased and shifted, and the seeds."""

from collections import Counter

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune import data
from graphprune.data.sets.spmotif import Recipe, generate

MOTIFS = (
    nx.cycle_graph(5),
    nx.house_graph(),
    # A triangle fan: one corner joined to all four others, which form a path.
    nx.Graph([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4)]),
)
SMALL = (
    [nx.balanced_tree(r, h) for r in (2, 3) for h in range(3)],
    [nx.ladder_graph(n) for n in range(8, 12)],
    [nx.wheel_graph(n) for n in range(15, 20)],
)
LARGE = (
    [nx.balanced_tree(r, h) for r in (2, 3) for h in range(3, 6)],
    [nx.ladder_graph(n) for n in range(30, 50)],
    [nx.wheel_graph(n) for n in range(60, 80)],
)


@pytest.fixture(scope="module")
def biased():
    return data.load("spmotif-0.9")


@pytest.fixture(scope="module")
def bare():
    """Without random edges, so that the parts can be told apart."""
    return generate(Recipe(bias=0.5, train=90, val=30, test=30, extra=0, seed=3))


def parts(graph):
    """A graph as networkx has it, its motif, and the rest."""
    whole = nx.Graph(graph.edge_index.T.tolist())
    whole.add_nodes_from(range(graph.num_nodes))
    motif = nx.Graph(graph.edge_index[:, graph.edge_truth].T.tolist())
    return whole, motif, whole.subgraph(set(whole) - set(motif))


def fingerprint(graph):
    """Exact for trees, and no two of these ladders and wheels share it; to match nodes would take for ever."""
    labelled = graph.copy()
    nx.set_node_attributes(labelled, "", "kind")
    return nx.weisfeiler_lehman_graph_hash(labelled, node_attr="kind", iterations=8)


@pytest.mark.parametrize(("split", "bases"), [("train", SMALL), ("val", SMALL), ("test", LARGE)])
def test_a_graph_is_a_base_and_a_motif_joined_by_one_edge(bare, split, bases):
    for graph in bare.splits[split]:
        whole, motif, base = parts(graph)
        assert nx.is_isomorphic(motif, MOTIFS[int(graph.y)])
        assert whole.subgraph(motif).number_of_edges() == motif.number_of_edges()
        assert len(list(nx.edge_boundary(whole, motif))) == 1
        assert fingerprint(base) in {fingerprint(one) for one in bases[graph.base]}


def test_every_size_of_every_base_occurs(bare):
    sizes = {(int(graph.base), graph.num_nodes - 5) for graph in bare.test}
    assert {kind for kind, _ in sizes} == {0, 1, 2} and len(sizes) > 15


def test_random_edges_are_as_many_as_asked_and_never_inside_the_motif():
    loaded = generate(Recipe(train=90, val=9, test=9, extra=0.4))
    for graph in loaded.train:
        whole, motif, base = parts(graph)
        assert nx.is_isomorphic(motif, MOTIFS[int(graph.y)])
        assert whole.subgraph(motif).number_of_edges() == motif.number_of_edges()
        edges = whole.number_of_edges()
        assert graph.num_edges == 2 * edges  # no edge twice
        bases = {len(one): one.number_of_edges() for one in SMALL[graph.base]}
        planned = bases[len(base)] + 1 + motif.number_of_edges()
        room = len(base) * (len(base) - 1) // 2 + 5 * len(base) - bases[len(base)] - 1
        assert edges - planned == min(round(0.4 * planned), room)


@pytest.mark.parametrize(("name", "bias"), [("spmotif-0.33", 0.33), ("spmotif-0.9", 0.9), ("spmotif-1", 1)])
def test_classes_are_balanced_and_the_bias_is_exact(name, bias):
    loaded = data.load(name)
    assert tuple(map(len, loaded.splits.values())) == (3000, 1000, 1000)
    for split, graphs in loaded.splits.items():
        pairs = Counter(zip(graphs.graph["y"].tolist(), graphs.graph["base"].tolist(), strict=True))
        for kind in range(3):
            size = sum(count for (label, _), count in pairs.items() if label == kind)
            assert size in (len(graphs) // 3, len(graphs) // 3 + 1)
            share = bias if split == "train" else 1 / 3
            assert abs(pairs[kind, kind] - share * size) <= 0.5
            others = [pairs[kind, base] for base in range(3) if base != kind]
            assert max(others) - min(others) <= 1


def test_the_bases_are_larger_in_the_test_split(biased):
    mean = {split: graphs.num_nodes / len(graphs) for split, graphs in biased.splits.items()}
    assert abs(mean["train"] - mean["val"]) < 1 and mean["test"] > 4 * mean["train"]


def test_the_set_is_ready_to_train_on(biased):
    graph = biased.train[0]
    assert (biased.task, biased.num_classes, biased.num_features, biased.level) == ("multiclass", 3, 13, "graph")
    assert graph.edge_truth.dtype == torch.bool and graph.y.shape == (1,) and graph.x.shape == (graph.num_nodes, 13)
    assert torch.equal(biased.recompute_degrees(biased.test).node["x"], biased.test.node["x"])
    assert torch.equal(biased.train.edge_index[:, 0::2], biased.train.edge_index[:, 1::2].flip(0))
    assert "bias 0.900" in biased.provenance["split"]


def test_position_does_not_tell_the_motif(biased):
    place = torch.cat([torch.linspace(0, 1, graph.num_edges)[graph.edge_truth] for graph in biased.train])
    assert abs(float(place.mean()) - 0.5) < 0.02
    ends = torch.cat([graph.edge_index[0, graph.edge_truth] / (graph.num_nodes - 1) for graph in biased.train])
    assert abs(float(ends.mean()) - 0.5) < 0.02


def test_the_seed_decides_everything(biased):
    assert data.load("spmotif-0.9").digest() == biased.digest()
    assert data.load("spmotif-0.9", split_seed=1).digest() != biased.digest()
    assert data.load("spmotif-0.7").digest() != biased.digest()


@settings(max_examples=15)
@given(
    bias=st.floats(0, 1),
    sizes=st.tuples(*[st.integers(3, 20)] * 3),
    extra=st.sampled_from([0, 0.05, 1, 3]),
    seed=st.integers(0, 2**32),
)
def test_any_recipe_gives_sound_graphs(bias, sizes, extra, seed):
    loaded = generate(Recipe(bias, *sizes, extra=extra, seed=seed))
    assert tuple(map(len, loaded.splits.values())) == sizes
    for graph in (*loaded.train, *loaded.test):
        assert len(set(map(tuple, graph.edge_index.T.tolist()))) == graph.num_edges
        assert int(graph.edge_truth.sum()) == 2 * (5, 6, 7)[int(graph.y)]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"bias": 1.5}, r"bias must lie in \[0, 1\], got 1.5"),
        ({"bias": float("nan")}, r"bias must lie in \[0, 1\], got nan"),
        ({"extra": -0.1}, "extra must be a finite share and not negative, got -0.1"),
        ({"extra": float("inf")}, "extra must be a finite share and not negative, got inf"),
        ({"val": 2}, r"at least 3 graphs, got \(3000, 2, 1000\)"),
    ],
)
def test_an_impossible_recipe_is_refused(fault, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fault)


def test_names_that_are_none():
    with pytest.raises(ValueError, match=r"bias must lie in \[0, 1\], got 2"):
        data.load("spmotif-2")
    with pytest.raises(ValueError, match=r"unknown data set 'spmotif': did you mean spmotif-0\.\d"):
        data.load("spmotif")
    with pytest.raises(ValueError, match=r"spmotif-0\.9 has one fixed split and fixed features: leave out fold"):
        data.load("spmotif-0.9", fold=1)
