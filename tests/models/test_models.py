import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from graphprune.graphs import PackedGraphs, SoftEdges, drop_arcs, edge_units
from graphprune.models import (
    GAT,
    GCN,
    GIN,
    MODELS,
    SAGE,
    GraphClassifier,
    ImageClassifier,
    NodeClassifier,
    NodeGAT,
    NodeGCN,
    NodeGIN,
    PaperGCN,
)
from graphprune.models.blocks import pool
from tests.graphs.samples import molecule, random_graph, shake, to_index

OVER_GRAPHS = {name: model for name, model in MODELS.items() if not issubclass(model, ImageClassifier)}

# Every reference model on real-valued features and on molecules.
KINDS = {
    "gcn": lambda features: GCN(features, 3, hidden=8),
    "gin": lambda features: GIN(features, 3, hidden=8),
    "gine": lambda features: GIN(features, 3, hidden=8, bonds=True),
    "gine-columns": lambda features: GIN(features, 3, hidden=8, bonds=True, edge_features=3),
    "gine-categories": lambda features: GIN(features, 3, hidden=8, bonds=True, edge_features=[3, 2]),
    "sage": lambda features: SAGE(features, 3, hidden=8),
    "gat": lambda features: GAT(features, 3, hidden=8),
    "paper": lambda features: PaperGCN(features, 3, hidden=8),
    "jk": lambda features: GIN(features, 3, hidden=8, jk="cat", readout="sum", dropout=0.5),
}


def graphs(kind, count=4):
    made = [
        molecule(i, nodes=3 + i) if kind == "gine" else random_graph(i, nodes=3 + i, loops=True) for i in range(count)
    ]
    for graph in made:
        if kind == "gine-categories":
            signs = graph.edge_attr[:, :2] > 0
            graph.edge_attr = signs.long() + torch.tensor([1, 0]) * (graph.edge_attr[:, :2] > 1)
    return Batch.from_data_list(made)


def model(kind, seed=0):
    return shake(KINDS[kind]("ogb-mol" if kind == "gine" else 4), seed)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_gates_of_zero_and_one_remove_edges(kind, seed, share):
    network, batch = model(kind), graphs(kind)
    rng = torch.Generator().manual_seed(seed)
    keep = torch.rand(batch.num_edges, generator=rng) < share
    gate = keep.float().requires_grad_()
    gated = network(batch, edge_gate=gate)
    torch.testing.assert_close(gated, network(drop_arcs(batch, keep)), rtol=1e-5, atol=1e-5)
    gated.pow(2).sum().backward()
    assert gate.grad.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_gates_train_through_soft_edges(kind):
    network, batch = model(kind), graphs(kind)
    gate = torch.rand(batch.num_edges, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with SoftEdges(network) as soft:
        out = soft(gate, batch)
    assert torch.equal(out, network(batch, edge_gate=gate))
    out.sum().backward()
    proper = batch.edge_index[0] != batch.edge_index[1]
    assert (gate.grad[proper] != 0).float().mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind):
    network, batch = model(kind).double(), graphs(kind, count=2)
    gate = torch.rand(batch.num_edges, generator=torch.Generator().manual_seed(0), dtype=torch.double) * 0.8 + 0.1
    assert torch.autograd.gradcheck(lambda gate: network(batch, edge_gate=gate), gate.requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_gets_the_same_logits_in_any_batch(kind):
    network, batch = model(kind), graphs(kind)
    expected = network(batch)
    assert expected.shape == (4, 3)
    for number, graph in enumerate(batch.to_data_list()):
        torch.testing.assert_close(network(graph), expected[number : number + 1])
    packed = PackedGraphs.of(batch.to_data_list())
    torch.testing.assert_close(network(packed.batch([2, 0])), expected[[2, 0]])


@pytest.mark.parametrize("kind", KINDS)
def test_renaming_nodes_changes_nothing(kind):
    network = model(kind)
    for data in graphs(kind).to_data_list():
        place = torch.randperm(data.num_nodes, generator=torch.Generator().manual_seed(3))
        x = torch.empty_like(data.x)
        x[place] = data.x
        renamed = Data(x=x, edge_index=place[data.edge_index], edge_attr=data.edge_attr)
        torch.testing.assert_close(network(renamed), network(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_moves_every_parameter(kind):
    network, batch = KINDS[kind]("ogb-mol" if kind == "gine" else 4).train(), graphs(kind)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    network(batch)[:, :2].pow(2).sum().backward()
    optimizer.step()
    still = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
    assert still == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_rebuilt_from_its_config(kind):
    network, batch = model(kind), graphs(kind)
    again = type(network)(**network.config())
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(batch), network(batch))
    assert torch.equal(copy.deepcopy(network)(batch), network(batch))
    wider = network.resized(12)
    assert wider.config() == network.config() | {"hidden": 12}
    assert wider.eval()(batch).shape == (4, 3)


@pytest.mark.parametrize("kind", ["gcn", "gin", "sage", "gat", "paper"])
def test_graphs_without_edges_or_nodes(kind):
    network = model(kind)
    batch = Batch.from_data_list([Data(x=torch.ones(n, 4), edge_index=to_index([])) for n in (2, 0, 1)])
    out = network(batch, edge_gate=torch.ones(0))
    assert out.shape == (3, 3)
    assert out.isfinite().all()


# But for edge features, which belong to arcs.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("gine")])
def test_with_one_gate_a_pair_directions_do_not_matter(kind):
    network, batch = model(kind), graphs(kind)
    units = edge_units(batch.edge_index, batch.num_nodes)
    gates = units.at_arcs(torch.linspace(0, 1, units.first.numel()), 1.0)
    turned = batch.clone()
    turned.edge_index = batch.edge_index.flip(0)
    torch.testing.assert_close(network(turned, edge_gate=gates), network(batch, edge_gate=gates), rtol=1e-4, atol=1e-5)


def test_the_paper_s_network_by_hand():
    network, batch = model("paper"), graphs("paper")
    state = network.state_dict()

    def norm(name, x):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean) / (var + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = (norm("node_encoder.norm", batch.x) @ state["node_encoder.lin.weight"].t()).relu()
    arcs = [(u, v) for u, v in batch.edge_index.t().tolist() if u != v] + [(u, u) for u in range(batch.num_nodes)]
    degree = [sum(u == node for u, _ in arcs) for node in range(batch.num_nodes)]
    for layer in range(3):
        z = norm(f"norms.{layer}", x) @ state[f"convs.{layer}.lin.weight"].t()
        x = torch.zeros_like(z)
        for u, v in arcs:
            x[v] += z[u] * (degree[u] * degree[v]) ** -0.5
        x = (x + state[f"convs.{layer}.bias"]).relu()
    x = torch.stack([x[batch.batch == graph].sum(0) for graph in range(4)])
    x = (norm("head.0", x) @ state["head.1.weight"].t() + state["head.1.bias"]).relu()
    x = norm("head.3", x) @ state["head.4.weight"].t() + state["head.4.bias"]
    torch.testing.assert_close(network(batch), x, rtol=1e-4, atol=1e-5)
    fresh = [module for module in PaperGCN(4, 2).modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert len(fresh) == 6
    assert all(bool((module.bias == 1e-4).all() and (module.weight == 1).all()) for module in fresh)


def test_pooling():
    x = torch.tensor([[1.0], [2.0], [6.0]])
    batch = Batch.from_data_list([Data(x=x[:2]), Data(x=x[:0]), Data(x=x[2:])])
    assert pool(x, batch, "sum").flatten().tolist() == [3, 0, 6]
    assert pool(x, batch, "mean").flatten().tolist() == [1.5, 0, 6]
    assert pool(x, Data(x=x), "mean").flatten().tolist() == [3]
    assert pool(x, Data(x=x, batch=torch.tensor([0, 1, 1])), "sum").flatten().tolist() == [1, 8]


def test_for_data_reads_features_and_task():
    class Molecules:
        features, num_outputs, edge_features, level = "ogb-mol", 2, "ogb-mol", "graph"

    class Bare(Molecules):
        edge_features = None

    batch = graphs("gine")
    for kind, cls in OVER_GRAPHS.items():
        if issubclass(cls, NodeClassifier):
            with pytest.raises(ValueError, match="classifies nodes"):
                cls.for_data(Molecules(), hidden=8)
            continue
        network = cls.for_data(Molecules(), hidden=8, layers=2)
        assert network(batch).shape == (4, 2), kind
    assert GIN.for_data(Molecules(), hidden=8).config()["bonds"]
    assert not GIN.for_data(Molecules(), hidden=8, bonds=False).config()["bonds"]
    assert not GIN.for_data(Bare(), hidden=8).config()["bonds"]
    assert GIN.for_data(Molecules(), hidden=8).reads_edge_attr
    assert not GIN.for_data(Bare(), hidden=8).reads_edge_attr
    assert not GCN.for_data(Molecules(), hidden=8).reads_edge_attr


@pytest.mark.parametrize(("edges", "unless_told"), [(3, False), ([4, 2], True), ("ogb-mol", True), (None, False)])
def test_bonds_are_edge_features_of_any_kind(edges, unless_told):
    class Labelled:
        features, num_outputs, level = 4, 3, "graph"
        edge_features = None

    Labelled.edge_features = edges
    assert GIN.for_data(Labelled(), hidden=8).reads_edge_attr == unless_told
    assert not GIN.for_data(Labelled(), hidden=8, bonds=False).reads_edge_attr
    if edges is None:
        with pytest.raises(ValueError, match=r"bonds=True reads edge features .* none: leave bonds out"):
            GIN.for_data(Labelled(), hidden=8, bonds=True)
        return
    network = GIN.for_data(Labelled(), hidden=8, bonds=True)
    assert network.config().get("edge_features", "ogb-mol") == edges
    assert ("edge_features" in network.config()) == (edges != "ogb-mol")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GCN(4, 2, hidden=0), "hidden must be .* got 0"),
        (lambda: GCN(4, 0), "num_outputs must be .* got 0"),
        (lambda: GCN(4, 2, dropout=1.0), "dropout must be .* got 1.0"),
        (lambda: GCN(4, 2, readout="median"), "readout must be"),
        (lambda: GCN(4, 2, jk="lstm"), "jk must be .*last.*, 'cat'"),
        (lambda: GAT(4, 2, hidden=6), "multiple of the 4"),
        (lambda: PaperGCN(4, 2, layers=0), "layers must be .* got 0"),
        (lambda: PaperGCN(4, 2)(Data(edge_index=to_index([]), num_nodes=1)), "needs node features"),
        (lambda: SAGE(4, 2)(Data(x=torch.ones(2, 4))), "needs node features x and edge_index"),
        (lambda: GIN("ogb-mol", 2, bonds=True)(Data(x=molecule(0).x, edge_index=to_index([]))), "bonds=False"),
        (lambda: GCN(4, 2)(random_graph(0), edge_gate=torch.ones(3)), "gate has shape"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", sorted(OVER_GRAPHS))
def test_models_for_labels_of_nodes_give_logits_a_node(kind):
    class Nodes:
        features, num_outputs, edge_features, level = 3, 5, None, "node"

    if kind == "paper-gcn":
        with pytest.raises(ValueError, match="labels of a node"):
            MODELS[kind].for_data(Nodes(), hidden=8)
        return
    network = MODELS[kind].for_data(Nodes(), hidden=8)
    data = Data(x=torch.randn(7, 3), edge_index=torch.tensor([[0, 1, 2, 5], [1, 0, 3, 5]]))
    assert network(data).shape == (7, 5)
    narrow = network.resized(4)
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in network.parameters())
    if issubclass(MODELS[kind], GraphClassifier):
        with pytest.raises(ValueError, match="readout"):
            MODELS[kind].for_data(Nodes(), hidden=8, readout="mean")


@pytest.mark.parametrize("kind", [NodeGCN, NodeGIN, NodeGAT])
def test_node_classifiers_remove_gated_edges_and_read_sparse_features_alike(kind):
    torch.manual_seed(0)
    network = kind(40, 3, hidden=4).eval()
    words = (torch.rand(9, 40) < 0.05).float()
    edges = torch.randint(0, 9, (2, 30))
    edges = edges[:, edges[0] != edges[1]]
    keep = torch.rand(edges.size(1)) < 0.6
    gated = network(Data(x=words, edge_index=edges, edge_gate=keep.float()))
    torch.testing.assert_close(gated, network(Data(x=words, edge_index=edges[:, keep])), atol=1e-5, rtol=1e-5)
    # A dense copy of the features takes the other way through the first layer.
    filled = words + 1e-12
    torch.testing.assert_close(gated, network(Data(x=filled, edge_index=edges[:, keep])), atol=1e-5, rtol=1e-5)
