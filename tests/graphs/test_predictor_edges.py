"""Edge predictors that read what the graphs say of their edges: columns, categories, OGB's bonds."""

import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from graphprune.graphs import EdgePredictor, EdgeRound, PackedGraphs, PruneEdges, score_arcs
from graphprune.graphs.encoders import edges_in_words
from graphprune.ticket.scorers import describe, rebuild
from tests.graphs.samples import arcs, molecule, random_graph, shake, to_index

ENCODERS = ["gcn", "gin", "gat", "mlp"]
SCORES = ["concat_mlp", "inner_product", "bilinear"]
KINDS = {"columns": 3, "categories": [4, 2], "bonds": "ogb-mol"}
SIZES = {"categories": [4, 2], "bonds": [5, 6, 2]}


def attributes(kind, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    if kind == "columns":
        return torch.randn(count, 3, generator=rng) * 5 + 2
    return torch.stack([torch.randint(size, (count,), generator=rng) for size in SIZES[kind]], 1)


def graph_of(kind, seed, **options):
    graph = random_graph(seed, loops=True, **options)
    graph.edge_attr = attributes(kind, graph.num_edges, seed)
    return graph


def predictor(kind, score="concat_mlp", encoder="gcn", features=4, **options):
    return shake(EdgePredictor(features, 8, score, encoder, edges=True, edge_features=KINDS[kind], **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES)
def test_the_logit_is_a_sum_of_what_ends_and_edge_say(kind, score):
    graph, model = graph_of(kind, 3), predictor(kind, score).double()
    plain = EdgePredictor(4, 8, score).double().eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "edge_term" not in name})
    values, term = graph.edge_attr, model.edge_term
    if kind == "columns":
        norm = term.encoder.norm
        values = (values.double() - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        vectors = values @ term.encoder.lin.weight.t()
    else:
        table, starts = term.encoder.table.weight, [sum(SIZES[kind][:i]) for i in range(len(SIZES[kind]))]
        vectors = torch.stack([sum(table[start + v] for start, v in zip(starts, row, strict=True)) for row in values])
    expected = plain(graph) + vectors.relu() @ term.lin.weight[0]
    torch.testing.assert_close(model(graph), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(score_arcs(model, graph), expected.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(graph=arcs(min_nodes=1), data=st.data())
def test_renumbered_nodes_and_other_orders_of_arcs_have_the_same_scores(kind, graph, data):
    nodes, found = graph
    place = torch.tensor(data.draw(st.permutations(range(nodes))))
    order = torch.tensor(data.draw(st.permutations(range(len(found)))), dtype=torch.int64)
    x, edge_attr = torch.randn(nodes, 4, generator=torch.Generator().manual_seed(1)), attributes(kind, len(found))
    model = predictor(kind, "bilinear", walks=4)
    scores = score_arcs(model, Data(x=x, edge_index=to_index(found), edge_attr=edge_attr))
    renamed = torch.empty_like(x)
    renamed[place] = x
    index = place[to_index(found)].reshape(2, -1)[:, order]
    again = score_arcs(model, Data(x=renamed, edge_index=index, edge_attr=edge_attr[order]))
    torch.testing.assert_close(again, scores[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(seeds=st.lists(st.integers(0, 999), min_size=1, max_size=8))
def test_batch_mates_have_no_say(kind, seeds):
    graphs = PackedGraphs.of([graph_of(kind, seed, nodes=2 + seed % 6) for seed in seeds])
    model = predictor(kind)
    whole = score_arcs(model, graphs.batch(range(len(graphs))))
    torch.testing.assert_close(whole, torch.cat([score_arcs(model, graph) for graph in graphs]), rtol=0, atol=1e-12)
    edge_round = (EdgeRound(model, 0.4, 0.6),)
    pruned = PruneEdges(edge_round).prune(graphs)
    for number, graph in enumerate(graphs):
        alone = PruneEdges(edge_round)(graph)
        assert torch.equal(alone.edge_index, pruned[number].edge_index)
        assert torch.equal(alone.edge_attr, pruned[number].edge_attr)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_folded_predictor_gives_the_same_scores(kind, score, encoder):
    graphs = [graph_of(kind, seed) for seed in range(4)]
    model = predictor(kind, score, encoder, walks=4).double()
    before = copy.deepcopy(model.state_dict())
    batch = Batch.from_data_list(graphs)
    torch.testing.assert_close(model.folded()(batch), model(batch), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_molecules_are_folded_with_their_bonds():
    model, batch = (
        predictor("bonds", features="ogb-mol").double(),
        Batch.from_data_list([molecule(i) for i in range(3)]),
    )
    torch.testing.assert_close(model.folded()(batch), model(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", SCORES)
def test_gradients_reach_the_edge_encoder(kind, score):
    batch = Batch.from_data_list([graph_of(kind, seed) for seed in range(4)])
    model = EdgePredictor(4, 8, score, edges=True, edge_features=KINDS[kind]).train()
    weight = torch.randn(batch.num_edges, generator=torch.Generator().manual_seed(0))
    (model(batch).sigmoid() * weight).sum().backward()
    for name, parameter in model.edge_term.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_with_no_edge_or_one_train_and_score(kind):
    model = EdgePredictor(4, 8, edges=True, edge_features=KINDS[kind]).train()
    model(graph_of(kind, 0))
    seen = copy.deepcopy(model.edge_term.state_dict())
    for count in (0, 1):
        graph = Data(x=torch.randn(3, 4), edge_index=to_index([(0, 1)][:count]), edge_attr=attributes(kind, count))
        logits = model.train()(graph)
        assert logits.shape == (count,)
        assert logits.isfinite().all()
        assert score_arcs(model, graph).shape == (count,)
    assert all(torch.equal(value, seen[name]) for name, value in model.edge_term.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_two_arcs_of_a_pair_may_differ_and_count_with_their_mean(kind):
    found = [(u, v) for u in range(6) for v in range(6) if u != v]
    graph = Data(x=torch.randn(6, 4), edge_index=to_index(found), edge_attr=attributes(kind, len(found)))
    model = predictor(kind)
    by_arc = dict(zip(found, score_arcs(model, graph).tolist(), strict=True))
    best = sorted(((u, v) for u, v in found if u < v), key=lambda pair: -(by_arc[pair] + by_arc[pair[::-1]]))
    half = PruneEdges((EdgeRound(model, 0.6, 0.4),))(graph)
    assert {(u, v) for u, v in half.edge_index.t().tolist() if u < v} == set(best[:6])
    assert half.num_edges == 12


@pytest.mark.parametrize("kind", KINDS)
def test_tickets_hold_such_predictors(kind):
    model = predictor(kind, "bilinear")
    again = rebuild(*describe(model), model.state_dict())
    assert again.config() == model.config()
    graph = graph_of(kind, 1)
    assert torch.equal(score_arcs(again, graph), score_arcs(model, graph))


def test_predictors_that_read_no_edges_are_described_and_begin_as_ever():
    assert not {"edges", "edge_features"} & EdgePredictor(4).config().keys()
    made = []
    for options in ({}, {"edges": True, "edge_features": [3]}):
        torch.manual_seed(0)
        made.append(EdgePredictor(4, 8, "bilinear", walks=3, **options).state_dict())
    plain, reading = made
    assert all(torch.equal(value, reading[name]) for name, value in plain.items())
    assert {name.partition(".")[0] for name in reading.keys() - plain.keys()} == {"edge_term"}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (None, "there are none: leave edges out"),
        (0, "the number of columns of edge_attr"),
        ([], "a list of how many categories"),
        ([3, 0], "a list of how many categories"),
        ([True], "a list of how many categories"),
        ("ogb", "edge_features must be 'ogb-mol'"),
        ([2**32, 2**32], "combinations"),
    ],
)
def test_descriptions_that_are_none_are_refused(features, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        EdgePredictor(4, edges=True, edge_features=features)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("categories", lambda graph: graph.edge_attr.__setitem__((5, 1), 2), r"below \[4, 2\], got 2 in column 1 of"),
        ("bonds", lambda graph: graph.edge_attr.__setitem__((5, 0), -1), r"below \[5, 6, 2\], got -1 in column 0 of"),
        (
            "columns",
            lambda graph: graph.__setattr__("edge_attr", graph.edge_attr[:, :2]),
            r"got \(\d+, 2\)",
        ),
        ("bonds", lambda graph: graph.__delattr__("edge_attr"), "the graphs have no edge_attr"),
    ],
)
def test_graphs_of_other_edge_features_are_refused(kind, change, message):
    graphs = [graph_of(kind, seed) for seed in range(3)]
    change(graphs[1])
    with pytest.raises(ValueError, match=message) as alone:
        score_arcs(predictor(kind), graphs[1])
    if kind in SIZES and "edge_attr" in graphs[1]:
        assert "column" in str(alone.value) and str(alone.value).endswith("edge_attr, arc 5")
        with pytest.raises(ValueError, match=re.escape("edge_attr, graph 1 of the batch, arc 5")):
            predictor(kind)(Batch.from_data_list(graphs))


def test_categories_are_integers():
    graph = graph_of("columns", 0)
    graph.edge_attr = graph.edge_attr[:, :2]
    with pytest.raises(TypeError, match="must be integers"):
        score_arcs(predictor("categories"), graph)


def test_for_data_knows_what_there_is():
    class Known:
        features, edge_features = 4, [3, 2]

    class Bare:
        features = 4

    assert EdgePredictor.for_data(Known(), edges=True).config()["edge_features"] == [3, 2]
    assert EdgePredictor.for_data(Known()).edge_term is None
    with pytest.raises(ValueError, match="edges=True reads edge features"):
        EdgePredictor.for_data(Bare(), edges=True)


def test_what_there_is_in_words():
    words = [edges_in_words(features) for features in (None, 3, "ogb-mol", [4, 2])]
    assert words == [
        "no edge features",
        "3 columns of edge_attr",
        "OGB's bond features",
        "edge categories (4 and 2 of them in edge_attr)",
    ]
