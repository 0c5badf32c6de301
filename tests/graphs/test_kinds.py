"""Networks over rows of features of which many are the same compute what they compute over all rows."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Data

from graphprune.graphs import EdgePredictor, PackedGraphs
from graphprune.graphs import kinds as kinds_of
from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES
from graphprune.graphs.kinds import Kinds, NodeRows, normed, rowwise
from graphprune.graphs.known import fact_of
from graphprune.graphs.norms import RowNorm
from graphprune.models import GAT, GCN, GIN, SAGE, NodeGCN, PaperGCN
from tests.graphs.samples import random_graph, shake

NETWORKS = {
    "gcn": lambda features: GCN(features, 3, hidden=8),
    "gcn-jk": lambda features: GCN(features, 3, hidden=8, jk="cat"),
    "gin": lambda features: GIN(features, 3, hidden=8),
    "gin-dropout": lambda features: GIN(features, 3, hidden=8, dropout=0.4),
    "gine": lambda features: GIN(features, 3, hidden=8, bonds=True),
    "sage": lambda features: SAGE(features, 3, hidden=8),
    "gat": lambda features: GAT(features, 3, hidden=8),
    "paper": lambda features: PaperGCN(features, 3, hidden=8),
} | {
    f"{encoder}-{score}-{layers}": lambda features, made=(8, score, encoder, layers): EdgePredictor(features, *made)
    for encoder in ("gcn", "gin", "gat", "mlp")
    for score in ("concat_mlp", "bilinear", "inner_product")
    for layers in (1, 3)
}


def packed(features, count=6, kinds=3):
    """Graphs whose nodes and edges have few different rows of features."""
    rng = torch.Generator().manual_seed(0)
    graphs = []
    for number in range(count):
        graph = random_graph(number, nodes=6 + number)
        nodes, arcs = graph.num_nodes, graph.num_edges
        if features == "ogb-mol":
            rows = torch.stack([torch.randint(size, (kinds,), generator=rng) for size in ATOM_FEATURES], 1)
        else:
            rows = torch.randn(kinds, features, generator=torch.Generator().manual_seed(1))
        bonds = torch.stack([torch.randint(size, (2,), generator=torch.Generator()) for size in BOND_FEATURES], 1)
        graph.x = rows[torch.randint(kinds, (nodes,), generator=rng)]
        graph.edge_attr = bonds[torch.randint(2, (arcs,), generator=rng)]
        graphs.append(graph)
    return PackedGraphs.of(graphs * 4 if features == "ogb-mol" else graphs)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("features", [4, "ogb-mol"])
@pytest.mark.parametrize(("chosen", "gated"), [(range(6), False), ([3, 1], True), ([0], True)])
def test_networks_that_know_kinds_are_the_same_networks(kind, features, chosen, gated) -> None:
    """Outputs, gradients and running statistics, in training and evaluation; one of the two is hidden what is known."""
    graphs = packed(features)
    batch = graphs.batch(chosen)
    assert fact_of(batch.x, Kinds) is not None
    torch.manual_seed(0)
    model = shake(NETWORKS[kind](features), 1).double().train()
    if gated and isinstance(model, EdgePredictor):
        batch.edge_weight = torch.rand(batch.num_edges).double()
    elif gated:
        batch.edge_gate = torch.rand(batch.num_edges).double()
    other, plain = copy.deepcopy(model), batch.clone()
    one = isinstance(model, PaperGCN) and len(chosen) == 1  # whose head has a norm over graphs
    for training in (True, False, True) if not one else (False,):
        results = []
        for network, given_batch in ((model.train(training), batch), (other.train(training), plain)):
            torch.manual_seed(2)
            out = network(given_batch)
            wanted = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            found = torch.autograd.grad((out * wanted).sum(), list(network.parameters()), allow_unused=True)
            results.append([out, *(torch.zeros(()) if grad is None else grad for grad in found), *network.buffers()])
        for mine, theirs in zip(*results, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("evaluated", [False, True])
def test_gradients_reach_features(kind, evaluated) -> None:
    """Also where a network has read the batch before they were asked for."""
    batch = packed(4).batch(range(6))
    model = shake(NETWORKS[kind](4), 1).double().eval()
    found = []
    for each in (batch, batch.clone()):
        each.x = each.x.double() if each is not batch else each.x
        if evaluated:
            model(each)
        each.x.requires_grad_(True)
        model(each).square().sum().backward()
        found.append(each.x.grad.double())
    torch.testing.assert_close(*found)
    assert found[0].abs().sum() > 0


@pytest.mark.parametrize("kind", [*NETWORKS, "node"])
@pytest.mark.parametrize("features", [4, "ogb-mol"])
def test_a_batch_that_was_evaluated_in_inference_mode_trains(kind, features) -> None:
    """As do later batches of its set."""
    graphs = packed(features)
    if kind == "node":
        if features == "ogb-mol":
            return
        graphs = graphs.with_node(x=(torch.rand(graphs.num_nodes, 40) < 0.03).float()).select([0])
        model = NodeGCN(40, 3)
    else:
        model = NETWORKS[kind](features)
    batch = graphs.batch(range(len(graphs)))
    with torch.inference_mode():
        model.eval()(batch)
    model.train()
    for each in (batch, graphs.batch(range(len(graphs)))):
        if kind != "node":
            each.edge_gate = torch.rand(each.num_edges, requires_grad=True)
        model(each).square().sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("features", [4, "ogb-mol", "words"])
@pytest.mark.parametrize("write", [lambda x: x.numpy(), lambda x: x.data], ids=["numpy", "data"])
@pytest.mark.parametrize("level", ["set", "batch"])
def test_what_is_written_behind_torchs_back_before_a_network_reads_it_is_read(features, write, level) -> None:
    """The set after a first batch, or a batch before its first network."""
    graphs = packed(4 if features == "words" else features)
    if features == "words":
        words = (torch.rand(graphs.num_nodes, 40, generator=torch.Generator().manual_seed(0)) < 0.03).float()
        graphs = graphs.with_node(x=words).select([5])
    model = NodeGCN(40, 3).eval() if features == "words" else NETWORKS["gin"](features).double().eval()
    everything = range(len(graphs))
    before = model(graphs.batch(everything))
    batch = graphs.batch(everything)
    x = graphs.node["x"] if level == "set" else batch.x
    version = x._version
    write(x)[:] = write(x.flip(0).clone())
    assert x._version == version
    batch = graphs.batch(everything) if level == "set" else batch
    torch.testing.assert_close(model(batch), model(batch.clone()))
    assert not torch.allclose(model(batch), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int8, torch.bool])
def test_features_of_any_dtype(dtype) -> None:
    graphs = packed(4)
    graphs = graphs.with_node(x=(4 * graphs.node["x"]).to(dtype))
    batch, model = graphs.batch(range(6)), shake(PaperGCN(4, 2, hidden=8)).eval()
    kinds = fact_of(batch.x, Kinds)
    assert kinds is not None
    assert kinds.rows.dtype == dtype
    assert torch.equal(kinds.rows[kinds.which], batch.x)
    torch.testing.assert_close(model(batch), model(batch.clone()))


def test_features_that_are_learnt() -> None:
    graphs = packed(4)
    learnt = graphs.node["x"].clone().requires_grad_()
    graphs, model = graphs.with_node(x=learnt), shake(PaperGCN(4, 2, hidden=8)).eval()
    with torch.no_grad():
        model(graphs.batch(range(6)))
    model(graphs.batch(range(6))).square().sum().backward()
    assert learnt.grad.abs().sum() > 0
    assert Kinds.counted(learnt) is None
    assert Kinds.counted(torch.zeros(40, 2, dtype=torch.complex64)) is None


@pytest.mark.parametrize("change", ["replaced", "written", "copied"])
def test_features_that_a_loop_changes_are_read_as_they_are(change) -> None:
    graphs = packed(4)
    batch = graphs.batch(range(6))
    torch.manual_seed(0)
    model = shake(PaperGCN(4, 2, hidden=8)).double().eval()
    before = model(batch)
    noise = torch.randn(batch.x.shape)
    if change == "replaced":
        batch.x = batch.x + noise
    elif change == "written":
        batch.x += noise
    else:
        batch = batch.clone()
        batch.x.add_(noise)
    assert fact_of(batch.x, Kinds) is None
    plain = Data(x=batch.x.clone(), edge_index=batch.edge_index.clone(), batch=batch.batch, ptr=batch.ptr)
    torch.testing.assert_close(model(batch), model(plain))
    assert not torch.allclose(model(batch), before)


def test_other_edges_on_the_same_nodes() -> None:
    """What was made of a batch's arcs is not read for others."""
    graphs, model = packed(4), shake(EdgePredictor(4, 8)).double().eval()
    batch = graphs.batch(range(6))
    whole = model(batch)
    batch.edge_index = batch.edge_index[:, ::2]
    batch.edge_attr = batch.edge_attr[::2]
    fewer = model(batch)
    torch.testing.assert_close(fewer, model(batch.clone()))
    assert len(fewer) < len(whole)
    batch.edge_index[:, 0] = batch.edge_index[:, 1]
    torch.testing.assert_close(model(batch), model(batch.clone()))


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_counted_kinds_are_the_features(seed, kinds, columns, real) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randint(3, (kinds, columns), generator=rng)
    features = rows[torch.randint(kinds, (4 * kinds + 3,), generator=rng)]
    features = features / 3 - 0.5 if real else features
    found = Kinds.counted(features)
    assert found is not None
    assert torch.equal(found.rows[found.which], features)
    assert len(found.rows.unique(dim=0)) == len(found.rows)
    if not real:
        sorted_out = Kinds.of(features.clone(), [3] * columns)
        assert torch.equal(sorted_out.rows, found.rows)
        assert torch.equal(sorted_out.which, found.which)
    part = found.at(torch.tensor([0, 2, 0]))
    assert torch.equal(part.rows[part.which], features[[0, 2, 0]])
    assert len(part.rows) == len(part.which.unique())
    assert part.count.tolist() == torch.bincount(part.which).tolist()


@pytest.mark.parametrize(
    "features",
    [
        torch.randn(40, 3),
        torch.full((40, 3), torch.nan),
        torch.zeros(0, 3),
        torch.zeros(40, 0),
        torch.zeros(40),
        torch.zeros(40, 2, 2),
    ],
)
def test_features_that_are_not_few_are_not_counted(features) -> None:
    assert Kinds.counted(features) is None


def test_hooks_see_a_row_for_each_node() -> None:
    """Whoever looks at what goes through an encoder, norm, map or convolution."""
    graphs = packed(4)
    batch = graphs.batch(range(6))
    for name in ("node_encoder", "node_encoder.norm", "node_encoder.lin", "norms.0", "convs.0", "convs.0.lin"):
        model = shake(PaperGCN(4, 2, hidden=8)).double()
        wanted, seen = model(batch), []
        handle = model.get_submodule(name).register_forward_hook(
            lambda _module, args, out, seen=seen: seen.extend([args[0], out])
        )
        state = copy.deepcopy(model.state_dict())
        model.load_state_dict(state)
        found = model(batch)
        handle.remove()
        assert [len(tensor) for tensor in seen] == [batch.num_nodes] * 2, name
        torch.testing.assert_close(found, wanted)


def test_rows_through_modules() -> None:
    kinds = Kinds(torch.arange(3.0)[:, None], torch.tensor([0, 2, 2, 1]))
    x = NodeRows(kinds.rows, kinds)
    assert x.nodes.squeeze().tolist() == [0, 2, 2, 1]
    assert rowwise(torch.neg, x).rows.squeeze().tolist() == [0, -1, -2]
    assert isinstance(normed(RowNorm(1), x), NodeRows)
    assert isinstance(normed(nn.Identity(), x), NodeRows)
    assert isinstance(normed(nn.BatchNorm1d(1), x), torch.Tensor)
    assert kinds_of.given(nn.Identity(), x) is x


def test_a_category_out_of_range_is_told_with_its_row() -> None:
    graphs = packed("ogb-mol")
    batch = graphs.batch(range(6))
    with pytest.raises(ValueError, match=r"below \[1, 1, 1, 1, 1, 1, 1, 1, 1\], got [1-9]\d* in column \d of row \d+"):
        Kinds.of(batch.x, [1] * 9)


def test_a_set_is_counted_once_and_a_batch_keeps_no_set_alive(monkeypatch) -> None:
    graphs, calls = packed(4), []
    real = Kinds.counted
    monkeypatch.setattr(Kinds, "counted", lambda features: calls.append(1) or real(features))
    batches = [graphs.batch([number]) for number in range(3)]
    assert not calls
    assert all(fact_of(batch.x, Kinds) is not None for batch in batches)
    pruned = graphs.keep_edges(torch.rand(graphs.num_edges) < 0.5)
    assert fact_of(pruned.batch([1]).x, Kinds) is not None
    assert calls == [1]
    batch = packed(4).batch([0])
    assert fact_of(batch.x, Kinds) is None


def test_a_set_that_is_written_to_tells_nothing_of_earlier_batches() -> None:
    graphs = packed(4)
    batch = graphs.batch([0, 1])
    graphs.node["x"][0] += 1
    assert fact_of(batch.x, Kinds) is None
    again = graphs.batch([0, 1])
    kinds = fact_of(again.x, Kinds)
    assert kinds is not None
    assert torch.equal(kinds.rows[kinds.which], again.x)


@pytest.mark.parametrize("bonds", [False, True])
def test_gin_sums_mapped_messages_where_few_are_different(bonds) -> None:
    """The first layer's map joins the messages; where somebody looks at the map it is called as ever."""
    graphs = packed("ogb-mol")
    batch, model = graphs.batch(range(8)), shake(GIN("ogb-mol", 2, hidden=8, bonds=bonds)).double()
    batch.edge_gate = torch.rand(batch.num_edges).double().requires_grad_()
    wanted, seen = [], []
    for watching in (False, True):
        handle = model.convs[0].nn[0].register_forward_hook(lambda _module, args, _out: seen.append(len(args[0])))
        if not watching:
            handle.remove()
        state = copy.deepcopy(model.state_dict())
        out = model(batch).square().sum()
        wanted.append([out, *torch.autograd.grad(out, [*model.parameters(), batch.edge_gate])])
        model.load_state_dict(state)
        handle.remove()
    assert seen == [batch.num_nodes]
    for mine, theirs in zip(*wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("bonds", [False, True])
@pytest.mark.parametrize("place", ["node_encoder", "convs.0.nn", "convs.0.nn.0", "convs.0.nn.1", "convs.1.nn.0"])
def test_a_forward_put_in_place_of_a_module_s_is_called_with_every_node(bonds, place) -> None:
    graphs, seen = packed("ogb-mol"), []
    batch, model = graphs.batch(range(8)), shake(GIN("ogb-mol", 2, hidden=8, bonds=bonds)).double()
    state = copy.deepcopy(model.state_dict())
    wanted = model(batch)
    model.load_state_dict(state)
    module = model.get_submodule(place)
    forward = module.forward
    module.forward = lambda x: seen.append(len(x)) or forward(x)
    torch.testing.assert_close(model(batch), wanted)
    assert seen == [batch.num_nodes]
