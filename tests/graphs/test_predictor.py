import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from graphprune.graphs import EdgePredictor, PackedGraphs, score_arcs
from graphprune.graphs.walks import RETURN_WALKS, WALKED, counted_walks
from tests.graphs.samples import arcs, molecule, random_graph, shake, to_index

ENCODERS = ["gcn", "gin", "gat", "mlp"]
SCORES = ["concat_mlp", "inner_product", "bilinear"]
ALL = [(encoder, score) for encoder in ENCODERS for score in SCORES]


def predictor(encoder="gcn", score="concat_mlp", features=4, **options):
    return shake(EdgePredictor(features, 8, score, encoder, **options))


@pytest.mark.parametrize(("encoder", "score"), ALL)
@pytest.mark.parametrize("features", [4, "ogb-mol"])
def test_every_predictor_trains_and_scores_each_arc(encoder, score, features):
    graphs = [molecule(i) if features == "ogb-mol" else random_graph(i, loops=True) for i in range(4)]
    batch, model = Batch.from_data_list(graphs), EdgePredictor(features, 8, score, encoder)
    logits = model.train()(batch)
    assert logits.shape == (batch.num_edges,)
    logits.sigmoid().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    again = EdgePredictor(**model.config())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(batch), model.eval()(batch))


@pytest.mark.parametrize("walks", [0, 5])
@pytest.mark.parametrize(("encoder", "score"), ALL)
@settings(max_examples=20)
@given(graph=arcs(min_nodes=1), data=st.data())
def test_relabelling_nodes_relabels_the_scores(encoder, score, walks, graph, data):
    nodes, found = graph
    place = torch.tensor(data.draw(st.permutations(range(nodes))))
    x = torch.randn(nodes, 4, generator=torch.Generator().manual_seed(len(found)))
    model = predictor(encoder, score, walks=walks)
    scores = score_arcs(model, Data(x=x, edge_index=to_index(found)))
    renamed = torch.empty_like(x)
    renamed[place] = x
    again = score_arcs(model, Data(x=renamed, edge_index=place[to_index(found)].reshape(2, -1)))
    torch.testing.assert_close(again, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_concat_mlp_is_a_linear_map_of_both_ends(encoder):
    model, data = predictor(encoder).double(), random_graph(3, loops=True)
    vectors = {}
    last = model.convs[-1]
    last.register_forward_hook(lambda _module, _args, out: vectors.update(z=out))
    logits = model(data)
    source, target = data.edge_index
    z = vectors["z"]
    torch.testing.assert_close(logits, model.head(torch.cat([z[source], z[target]], 1)).squeeze(1))
    product = predictor(encoder, "inner_product").double()
    product.load_state_dict({name: value for name, value in model.state_dict().items() if "head" not in name})
    torch.testing.assert_close(product(data), (z[source] * z[target]).sum(1))


def test_concat_mlp_knows_directions_and_inner_products_do_not():
    data = random_graph(0)
    back = Data(x=data.x, edge_index=data.edge_index)
    place = {tuple(arc): i for i, arc in enumerate(data.edge_index.t().tolist())}
    other = torch.tensor([place[v, u] for u, v in data.edge_index.t().tolist()])
    product, concat = (score_arcs(predictor(score=score), back) for score in ("inner_product", "concat_mlp"))
    assert torch.equal(product, product[other])
    assert not torch.allclose(concat, concat[other])


def test_the_worth_of_an_end_depends_on_the_other_one_in_a_bilinear_score_alone():
    data = Data(x=torch.randn(4, 4), edge_index=to_index([(u, v) for u in range(4) for v in range(4)]))

    def interaction(score):
        logits = score_arcs(predictor("mlp", score), data).view(4, 4)
        return float((logits[0, 2] - logits[1, 2] - logits[0, 3] + logits[1, 3]).abs())

    assert interaction("concat_mlp") < 1e-9
    assert interaction("bilinear") > 1e-6


def test_walks_tell_edges_apart_that_features_do_not():
    ring, chain = [(i, (i + 1) % 5) for i in range(5)], [(4, 5), (5, 6)]
    both = [(v, u) for u, v in ring + chain]
    data = Data(x=torch.ones(7, 4), edge_index=to_index(ring + chain + both))
    blind, seeing = (score_arcs(predictor("mlp", walks=walks), data) for walks in (0, 6))
    assert float(blind.std()) < 1e-12 < 1e-6 < float(seeing.std())


def test_walks_that_a_graph_brings_along_are_believed_of_its_own_arcs_only():
    data, scorer = random_graph(0), predictor(walks=6)
    wanted = scorer(data)
    for steps in (6, 8):  # of this predictor, or counted for another
        for name, value in counted_walks(data, steps).items():
            data[name] = value
        assert torch.equal(scorer(data), wanted)
    for name, value in counted_walks(data, 6).items():
        data[name] = value
    data[RETURN_WALKS].zero_()
    assert not torch.equal(scorer(data), wanted)  # they are read
    swapped = data.edge_index.flip(1)
    for changed in (data.edge_index[:, 2:], swapped[:, 1:], data.edge_index.roll(1, 0)[:, :-1]):
        data.edge_index = changed
        assert torch.equal(scorer(data), scorer(Data(x=data.x, edge_index=changed)))
    other = data.clone()
    del other[WALKED]
    assert torch.equal(scorer(other), scorer(Data(x=data.x, edge_index=data.edge_index)))


def test_predictors_from_before_there_were_walks_are_described_as_ever():
    assert "walks" not in EdgePredictor(4).config()
    assert EdgePredictor(4, walks=6).config()["walks"] == 6


def test_scoring_changes_nothing_and_needs_no_evaluation_mode():
    model, data = EdgePredictor(4, 8, encoder="gat"), random_graph(1)
    for _ in range(3):
        model.train()(data)
    before = copy.deepcopy(model.state_dict())
    scores = score_arcs(model, data)
    assert torch.equal(scores, score_arcs(model, data))
    assert model.training
    assert not scores.requires_grad
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores.float(), model.eval()(data).detach(), rtol=1e-4, atol=1e-5)
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(("encoder", "score"), ALL)
@pytest.mark.parametrize("features", [4, "ogb-mol"])
@pytest.mark.parametrize(("layers", "walks"), [(1, 0), (3, 0), (3, 4)])
def test_a_folded_predictor_gives_the_same_scores(encoder, score, features, layers, walks):
    graphs = [molecule(i) if features == "ogb-mol" else random_graph(i, loops=True) for i in range(4)]
    batch, model = (
        Batch.from_data_list(graphs),
        predictor(encoder, score, features, layers=layers, walks=walks).double(),
    )
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(model.folded()(batch), model(batch), rtol=0, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_graph_scores_alike_alone_and_in_a_batch(encoder):
    graphs = [random_graph(seed, nodes=2 + seed % 5) for seed in range(12)]
    model = predictor(encoder)
    whole = score_arcs(model, PackedGraphs.of(graphs).batch(torch.arange(12)))
    alone = torch.cat([score_arcs(model, graph) for graph in graphs])
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-12)


def test_all_but_mlp_look_at_neighbours():
    data = random_graph(5)
    less = Data(x=data.x, edge_index=data.edge_index[:, data.edge_index.sum(0) != 3])
    kept = data.edge_index.sum(0) != 3
    for encoder in ENCODERS:
        model = predictor(encoder)
        same = torch.allclose(score_arcs(model, data)[kept], score_arcs(model, less))
        assert same == (encoder == "mlp"), encoder


def test_graphs_without_edges_or_nodes():
    model = predictor()
    assert model(Data(x=torch.ones(3, 4), edge_index=to_index([]))).shape == (0,)
    assert model(Data(x=torch.ones(0, 4), edge_index=to_index([]))).shape == (0,)


def test_edge_weights_reach_the_gcn():
    data = random_graph(2)
    plain = score_arcs(predictor(), data)
    data.edge_weight = torch.ones(data.num_edges)
    assert torch.equal(score_arcs(predictor(), data), plain)
    data.edge_weight[0] = 9.0
    assert not torch.equal(score_arcs(predictor(), data), plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "mlp"}, "score must be"),
        ({"encoder": "transformer"}, "encoder must be"),
        ({"encoder": "gat", "hidden": 6}, "multiple of the 4 attention heads"),
        ({"hidden": 0}, "at least 1"),
        ({"layers": 0}, "at least 1"),
        ({"features": "ogb"}, "features must be"),
        ({"walks": 1}, "walks must be 0, or from 2"),
        ({"walks": -2}, "walks must be 0, or from 2"),
        ({"walks": 129}, "to 128, got 129"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EdgePredictor(**({"features": 4} | arguments))


@pytest.mark.parametrize("data", [Data(edge_index=to_index([]), num_nodes=2), Data(x=torch.ones(2, 4))])
def test_bare_graphs_are_refused(data):
    with pytest.raises(ValueError, match="node features x and edge_index"):
        predictor()(data)


def test_for_data_reads_the_features():
    class Known:
        features = "ogb-mol"

    model = EdgePredictor.for_data(Known(), hidden=12, score="inner_product", encoder="gin", layers=2)
    assert model(Batch.from_data_list([molecule(0), molecule(1)])).isfinite().all()
    assert model.config()["features"] == "ogb-mol"
    assert model.head is None


@pytest.mark.parametrize(("encoder", "score"), ALL)
@pytest.mark.parametrize("features", [4, "ogb-mol"])
@pytest.mark.parametrize("grad", [False, True])
def test_what_hooks_see_is_not_changed_afterwards(encoder, score, features, grad):
    """Of every module: what it was given and what it gave."""
    graphs = PackedGraphs.of([molecule(i) if features == "ogb-mol" else random_graph(i, nodes=6) for i in range(4)])
    model, seen = predictor(encoder, score, features), []
    wanted = model.eval()(graphs.batch(range(4)))

    def see(_module, args, out):
        tensors = [each for each in (*args, out) if isinstance(each, torch.Tensor)]
        seen.extend((each, each.detach().clone()) for each in tensors)

    for module in model.modules():
        module.register_forward_hook(see)
    for batch in (graphs.batch(range(4)), graphs.batch(range(4)).clone()):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(model(batch), wanted)
    assert seen
    assert all(torch.equal(found, then) for found, then in seen)


class InPlace(torch.nn.Module):
    """An encoder that works in place."""

    def forward(self, x):
        return x.relu_()


@pytest.mark.parametrize(("encoder", "score"), ALL)
@pytest.mark.parametrize("own", [torch.nn.Identity(), InPlace(), torch.nn.Linear(8, 8)])
@pytest.mark.parametrize("training", [False, True])
def test_an_encoder_of_the_users_own_leaves_the_features_alone(encoder, score, own, training):
    """And is given what it can read, whatever the dtype of scores."""
    model, data = predictor(encoder, score, 8), random_graph(3, columns=8)
    model.node_encoder = copy.deepcopy(own)
    before = data.x.clone()
    if training:
        model.train()(data).sum().backward()
    else:
        assert score_arcs(model, data).isfinite().all()
    assert torch.equal(data.x, before)


@pytest.mark.parametrize("at", ["convs.0.lin", "convs.2.lin", "convs.2", "node_encoder", "node_encoder.lin", "start"])
@pytest.mark.parametrize("how", ["patched", "subclass"])
@pytest.mark.parametrize("encoder", ["gcn", "mlp"])
def test_what_is_put_in_place_of_a_forward_is_called(at, how, encoder):
    graphs, model, calls = PackedGraphs.of([random_graph(i) for i in range(4)]), predictor(encoder), []
    module = model.get_submodule(at)
    old = module.forward

    def forward(*args):
        calls.append(1)
        return old(*args[0 if how == "patched" else 1 :])

    wanted = model(graphs.batch(range(4)))
    if how == "patched":
        module.forward = forward
    else:
        module.__class__ = type("Own", (type(module),), {"forward": forward})
    torch.testing.assert_close(model(graphs.batch(range(4))), wanted)
    assert calls
