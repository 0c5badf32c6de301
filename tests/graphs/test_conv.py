import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data

from graphprune import models
from graphprune.graphs import PackedGraphs
from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.conv import BagLinear, DenseLayer, GATLayer, GCNLayer, GINELayer, GINLayer, SAGELayer
from graphprune.graphs.encoders import Kinds
from graphprune.graphs.nonzero import NonZero
from tests.graphs.samples import arcs, shake, to_index

WIDTH, OUT = 5, 6


def net():
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, OUT))


# Ours, and the layer of torch_geometric whose weights it shares.
LAYERS = {
    "gcn": (lambda: GCNLayer(WIDTH, OUT), lambda: pyg.GCNConv(WIDTH, OUT)),
    "gin": (lambda: GINLayer(net()), lambda: pyg.GINConv(net(), train_eps=True)),
    "gine": (lambda: GINELayer(net()), lambda: pyg.GINEConv(net(), train_eps=True)),
    "sage mean": (lambda: SAGELayer(WIDTH, OUT), lambda: pyg.SAGEConv(WIDTH, OUT)),
    "sage sum": (lambda: SAGELayer(WIDTH, OUT, aggr="sum"), lambda: pyg.SAGEConv(WIDTH, OUT, aggr="sum")),
    "gat": (lambda: GATLayer(WIDTH, OUT // 2, heads=2), lambda: pyg.GATConv(WIDTH, OUT // 2, heads=2)),
}


def pair(kind, dtype=torch.double):
    ours, theirs = (make().to(dtype) for make in LAYERS[kind])
    shake(ours, seed=3)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.eval()


def inputs(nodes, found, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, WIDTH, generator=rng, dtype=torch.double)
    bond = torch.randn(len(found), WIDTH, generator=rng, dtype=torch.double)
    weight = torch.rand(len(found), generator=rng, dtype=torch.double) + 0.1
    gate = torch.rand(len(found), generator=rng, dtype=torch.double)
    return x, to_index(found), bond, weight, gate


def run(layer, x, index, bond=None, gate=None, weight=None):
    adjacency = Adjacency(index, x.size(0), gate, weight, x.dtype)
    if isinstance(layer, GINELayer):
        # Every arc is a kind of its own.
        kinds = Kinds(torch.zeros(len(bond), 1, dtype=torch.int64), adjacency.arcs.order)
        return layer(x, adjacency, bond, kinds)
    return layer(x, adjacency)


def without_equal_loops(found):
    """Of several self-loops with weights at one node, PyG keeps an arbitrary one."""
    loops = {u for u, v in found if u == v}
    return [(u, v) for u, v in found if u != v] + [(u, u) for u in loops]


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=25)
@given(graph=arcs(), seed=st.integers(0, 99))
def test_outputs_and_gradients_are_those_of_torch_geometric(kind, graph, seed):
    ours, theirs = pair(kind)
    nodes, found = graph
    x, index, bond, _, _ = inputs(nodes, found, seed)
    probe = torch.randn(nodes, OUT, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    results = []
    for layer in (ours, theirs):
        leaves = [x.clone().requires_grad_(), bond.clone().requires_grad_()]
        if layer is ours:
            out = run(ours, leaves[0], index, leaves[1])
        else:
            out = layer(leaves[0], index, leaves[1]) if kind == "gine" else layer(leaves[0], index)
        (out * probe).sum().backward()
        grads = {name: parameter.grad for name, parameter in layer.named_parameters()}
        results.append((out, leaves[0].grad, leaves[1].grad if kind == "gine" else None, grads))
    (out, to_x, to_bond, grads), (out_, to_x_, to_bond_, grads_) = results
    assert out.shape == (nodes, OUT)
    torch.testing.assert_close(out, out_)
    torch.testing.assert_close(to_x, to_x_)
    torch.testing.assert_close(to_bond, to_bond_)
    for name, expected in grads_.items():
        torch.testing.assert_close(grads[name], expected, msg=name)


@given(graph=arcs(), seed=st.integers(0, 99))
def test_gcn_with_edge_weights_is_that_of_torch_geometric(graph, seed):
    ours, theirs = pair("gcn")
    nodes, found = graph[0], without_equal_loops(graph[1])
    x, index, _, weight, _ = inputs(nodes, found, seed)
    probe = torch.randn(nodes, OUT, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    results = []
    for call in (lambda x, w: run(ours, x, index, weight=w), lambda x, w: theirs(x, index, w)):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = call(*leaves)
        (out * probe).sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other)


def test_several_weighted_self_loops_at_a_node_are_refused():
    x, index, _, weight, _ = inputs(2, [(0, 0), (0, 1), (0, 0)])
    with pytest.raises(ValueError, match="several weighted self-loops"):
        run(pair("gcn")[0], x, index, weight=weight)


def test_float32_is_as_good_as_that_of_torch_geometric():
    rng = torch.Generator().manual_seed(0)
    x, index = torch.randn(200, WIDTH, generator=rng), torch.randint(200, (2, 900), generator=rng)
    bond = torch.randn(900, WIDTH, generator=rng)
    for kind in LAYERS:
        ours, theirs = pair(kind, torch.float32)
        expected = theirs(x, index, bond) if kind == "gine" else theirs(x, index)
        torch.testing.assert_close(run(ours, x, index, bond), expected, rtol=1e-4, atol=1e-5, msg=kind)


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=15)
@given(graph=arcs(max_nodes=4, max_arcs=6), seed=st.integers(0, 9))
def test_gradients_with_respect_to_gates(kind, graph, seed):
    ours, _ = pair(kind)
    nodes, found = graph[0], without_equal_loops(graph[1])
    x, index, bond, weight, gate = inputs(nodes, found, seed)
    weight = weight if kind == "gcn" else None

    def function(x, bond, gate):
        return run(ours, x, index, bond, gate, weight)

    leaves = [value.requires_grad_() for value in (x, bond, gate)]
    if len(found):
        assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize(("kind", "degree"), [("gcn", "source"), *((kind, "target") for kind in LAYERS)])
@settings(max_examples=25)
@given(graph=arcs(), data=st.data())
def test_gates_of_zero_and_one_remove_edges(kind, degree, graph, data):
    ours, _ = pair(kind)
    if kind == "gcn":
        ours.degree = degree
    nodes, found = graph[0], without_equal_loops(graph[1])
    x, index, bond, weight, _ = inputs(nodes, found)
    weight = weight if kind == "gcn" and data.draw(st.booleans()) else None
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))), dtype=torch.bool)
    removed = run(ours, x, index[:, keep], bond[keep], weight=None if weight is None else weight[keep])
    x, gate = x.requires_grad_(), keep.double().requires_grad_()
    gated = run(ours, x, index, bond, gate, weight)
    torch.testing.assert_close(gated, removed, rtol=1e-5, atol=1e-4)
    (gated**2).sum().backward()
    assert x.grad.isfinite().all()
    assert gate.grad is None or gate.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


@pytest.mark.parametrize("logit", [1e2, 1e4])
def test_a_removed_arc_of_huge_attention_leaves_the_others(logit):
    layer = shake(GATLayer(2, 2, heads=1))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    index = torch.tensor([[0, 1, 2], [2, 2, 2]])
    layer.lin.weight.data = torch.eye(2)
    layer.att_src.data = torch.tensor([[[logit, 1.0]]])
    gate = torch.tensor([0.0, 1.0, 1.0], requires_grad=True)
    out = run(layer, x, index, gate=gate)
    torch.testing.assert_close(out, run(layer, x, index[:, 1:]))
    out.sum().backward()
    assert gate.grad.isfinite().all()


@pytest.mark.parametrize("kind", LAYERS)
def test_tiny_gates_stay_finite(kind):
    ours, _ = pair(kind, torch.float32)
    index = torch.tensor([[0, 1, 2, 2], [1, 0, 0, 1]])
    rng = torch.Generator().manual_seed(0)
    x, bond = torch.randn(3, WIDTH, generator=rng), torch.randn(4, WIDTH, generator=rng)
    for size in (1e-45, 1e-38, 1e-20, 1e-12):
        gate = torch.full((4,), size, requires_grad=True)
        out = run(ours, x, index, bond, gate)
        out.sum().backward()
        assert out.isfinite().all()
        assert gate.grad.isfinite().all()


@given(arcs(), st.integers(0, 99))
def test_degrees_over_sources_are_the_authors_formula(graph, seed):
    nodes, found = graph
    x, index, _, _, gate = inputs(nodes, found, seed)
    layer = shake(GCNLayer(WIDTH, OUT, degree="source").double())
    kept = [(u, v, float(gate[i])) for i, (u, v) in enumerate(found) if u != v] + [(u, u, 1.0) for u in range(nodes)]
    degree = [sum(m for u, _, m in kept if u == node) for node in range(nodes)]
    z = x @ layer.lin.weight.t()
    expected = layer.bias.detach().expand(nodes, -1).clone()
    for u, v, m in kept:
        expected[v] += degree[u] ** -0.5 * m * degree[v] ** -0.5 * z[u]
    torch.testing.assert_close(run(layer, x, index, gate=gate), expected)


def test_degrees_agree_on_symmetric_graphs_and_differ_on_others():
    index = to_index([(0, 1), (1, 0), (1, 2), (2, 1)])
    x = torch.eye(3, WIDTH).double()
    layer = shake(GCNLayer(WIDTH, OUT).double())
    for arcs_of, same in ((index, True), (index[:, :3], False)):
        over = {}
        for layer.degree in ("target", "source"):
            over[layer.degree] = run(layer, x, arcs_of)
        assert torch.allclose(over["target"], over["source"]) == same


@pytest.mark.parametrize("kind", LAYERS)
def test_mixed_precision(kind):
    ours, _ = pair(kind, torch.float32)
    index = torch.tensor([[0, 1, 2, 2, 1], [1, 0, 0, 1, 1]])
    rng = torch.Generator().manual_seed(0)
    x, bond = torch.randn(3, WIDTH, generator=rng), torch.randn(5, WIDTH, generator=rng)
    gate = torch.rand(5, generator=rng).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = run(ours, x, index, bond, gate)
    torch.testing.assert_close(out.float(), run(ours, x, index, bond, gate), rtol=0.1, atol=0.1)
    out.float().sum().backward()
    assert gate.grad.isfinite().all()


def test_degrees_are_never_counted_in_half_precision():
    # 3,000 arcs at one node: bfloat16 counts to 256.
    star = torch.stack([torch.arange(1, 3001), torch.zeros(3000, dtype=torch.int64)])
    adjacency = Adjacency(star, 3001, dtype=torch.bfloat16)
    assert torch.allclose(adjacency.mean(torch.ones(3001, 1))[0], torch.ones(1), atol=1e-4)


def test_attention_dropout_only_in_training():
    layer = GATLayer(WIDTH, 3, heads=2, dropout=0.5)
    x, index = torch.randn(6, WIDTH), torch.randint(6, (2, 20))
    assert not torch.equal(run(layer, x, index), run(layer, x, index))
    layer.eval()
    assert torch.equal(run(layer, x, index), run(layer, x, index))


def test_second_derivatives_are_right_or_refused():
    x, index, bond, _, gate = inputs(4, [(0, 1), (1, 0), (2, 1), (1, 2), (1, 1)])
    x, bond, gate = x.requires_grad_(), bond.requires_grad_(), gate.requires_grad_()

    def sum_(x, gate):
        return Adjacency(index, 4, gate, dtype=torch.double).sum(x)

    assert torch.autograd.gradgradcheck(sum_, (x, gate))
    out = run(pair("gine")[0], x, index, bond, gate)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad((out**2).sum(), x, create_graph=True)


def test_a_dense_layer_sees_no_edges():
    layer = DenseLayer(WIDTH, OUT)
    x = torch.randn(3, WIDTH)
    assert torch.equal(run(layer, x, to_index([(0, 1)])), run(layer, x, to_index([])))


@pytest.mark.parametrize("name", ["gate", "edge_weight"])
def test_one_gate_and_one_weight_an_arc(name):
    with pytest.raises(ValueError, match=f"{name} has shape .* 2 arcs"):
        Adjacency(torch.zeros(2, 2, dtype=torch.int64), 1, **{name: torch.ones(2, 1)})


def test_the_entries_of_a_set_of_one_graph_are_looked_up_once(monkeypatch):
    """Full-batch training copies the same features in each step."""
    x = (torch.rand(30, 40) < 0.03).float()
    graphs, layer = PackedGraphs.of([Data(x=x, edge_index=torch.zeros(2, 0, dtype=torch.int64))]), BagLinear(40, 5)
    calls, real = [], NonZero.of
    monkeypatch.setattr(NonZero, "of", lambda rows: calls.append(1) or real(rows))
    for _ in range(3):
        torch.testing.assert_close(layer(graphs.batch([0]).x), nn.functional.linear(x, layer.weight, layer.bias))
    assert calls == [1]
    batch = graphs.batch([0])
    batch.x *= 2
    torch.testing.assert_close(layer(batch.x), nn.functional.linear(2 * x, layer.weight, layer.bias))
    assert calls == [1, 1]


@pytest.mark.parametrize("share", [0.03, 0.6])  # of entries that are not zero: few are read alone
def test_dropout_of_inputs_drops_features_in_training_alone(share):
    torch.manual_seed(0)
    x, layer = (torch.rand(300, 40) < share).float(), BagLinear(40, 40, dropout=0.25)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(40))
        layer.bias.zero_()
        seen = layer(x)
        torch.testing.assert_close(layer.eval()(x), x)
    assert (seen[x == 0] == 0).all()
    kept = seen[x == 1]
    torch.testing.assert_close(kept[kept != 0], torch.full_like(kept[kept != 0], 4 / 3), atol=1e-4, rtol=0)
    assert float((kept == 0).float().mean()) == pytest.approx(0.25, abs=0.1)


def test_networks_over_nodes_say_and_check_their_input_dropout():
    made = models.NodeGCN(40, 3, 8, input_dropout=0.25)
    assert made.first.dropout == 0.25
    assert made.config()["input_dropout"] == 0.25
    assert "input_dropout" not in models.NodeGIN(40, 3, 8).config()
    with pytest.raises(ValueError, match="input_dropout must be a number of at least 0 and below 1, got 1"):
        models.NodeGAT(40, 3, 8, input_dropout=1)
