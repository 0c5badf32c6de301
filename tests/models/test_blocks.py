"""Every convolution with every block: removal in training, batches, empty graphs, files, and networks of others."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric import nn as pyg
from torch_geometric.data import Batch, Data

from graphprune.graphs import drop_arcs
from graphprune.graphs.dropout import dropout
from graphprune.graphs.encoders import AtomEncoder
from graphprune.masks import MaskSet
from graphprune.models import GAT, GCN, GIN, PNA, SAGE, GatedGCN, GraphClassifier
from graphprune.train.loop import Precision
from tests.graphs.samples import molecule, random_graph, shake, to_index

CONVOLUTIONS: dict[str, type[GraphClassifier]] = {
    "gcn": GCN,
    "gin": GIN,
    "sage": SAGE,
    "gat": GAT,
    "gated": GatedGCN,
    "pna": PNA,
}
BLOCKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "edges": {"bonds": True, "edge_features": 3},
    "categories": {"bonds": True, "residual": True},
    "layer norm": {"norm": "layer", "readout": "max"},
    "no norm": {"norm": "none", "readout": "attention", "jk": "cat"},
    "gnn+": {"bonds": True, "edge_features": 3, "residual": True, "feed_forward": True},
    "virtual": {"virtual_node": True, "jk": "max", "readout": "sum"},
    "virtual residual": {"virtual_node": True, "residual": True, "norm": "layer"},
    "deep head": {"head_layers": 3, "plain_last": True, "readout": "attention"},
    "nodes": {"readout": "nodes", "residual": True, "virtual_node": True},
}
EVERY = [(name, block) for name in CONVOLUTIONS for block in BLOCKS]


def network(name: str, block: str, hidden: int = 8) -> GraphClassifier:
    features = "ogb-mol" if block == "categories" else 4
    torch.manual_seed(0)
    return CONVOLUTIONS[name](features, 3, hidden=hidden, layers=3, **BLOCKS[block])


def batch(block: str, count: int = 4) -> Batch:
    made = molecule if block == "categories" else random_graph
    return Batch.from_data_list([made(seed, nodes=4 + seed) for seed in range(count)])


@pytest.mark.parametrize(("name", "block"), EVERY)
@pytest.mark.parametrize("precision", [each for each in get_args(Precision) if each != "16-mixed"])  # not on a CPU
def test_networks_train_in_each_precision(name: str, block: str, precision: str) -> None:
    """With gates and without; outputs are those of single precision up to rounding."""
    given, found = batch(block), []
    for gated in (False, True):
        gate = torch.rand(given.num_edges, requires_grad=True) if gated else None
        for mixed in (False, precision != "32-true"):
            model = shake(network(name, block)).train()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                out = model(given, edge_gate=gate)
                out.float().square().sum().backward()
            found.append(out.float())
            assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
        assert gate is None or (gate.grad is not None and gate.grad.isfinite().all())
        single, half = found[-2:]
        assert (half - single).norm() <= 0.3 * single.norm()


@pytest.mark.parametrize(("name", "block"), EVERY)
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_in_training_gates_of_zero_remove_edges_from_every_sum(name: str, block: str, share: float) -> None:
    """Outputs, gradients and running statistics are those of the smaller graph."""
    given = batch(block)
    keep = torch.rand(given.num_edges, generator=torch.Generator().manual_seed(3)) < share
    results = []
    for gates in (keep.double().requires_grad_(), None):
        model = shake(network(name, block)).double().train()
        whole = given.clone() if gates is not None else drop_arcs(given, keep)
        if block != "categories":
            whole.x = whole.x.double().requires_grad_()
        out = model(whole, edge_gate=gates)
        out.pow(2).sum().backward()
        found = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}
        state = {key: value.clone() for key, value in model.state_dict().items()}
        results.append((out, None if block == "categories" else whole.x.grad, found, state))
        assert gates is None or gates.grad is None or gates.grad.isfinite().all()
    (out, to_x, grads, state), (out_, to_x_, grads_, state_) = results
    torch.testing.assert_close(out, out_)
    torch.testing.assert_close(to_x, to_x_)
    for key in grads | grads_:  # without any edge some have no gradient at all
        zero = torch.zeros_like(state[key])
        torch.testing.assert_close(grads.get(key, zero), grads_.get(key, zero), msg=key)
    for key, value in state_.items():
        torch.testing.assert_close(state[key], value, msg=key)


@pytest.mark.parametrize(("name", "block"), EVERY)
def test_gradients_are_right_in_training(name: str, block: str) -> None:
    model, given = shake(network(name, block), seed=1).double().train(), batch(block, count=2)
    gate = torch.rand(given.num_edges, generator=torch.Generator().manual_seed(0), dtype=torch.double) * 0.8 + 0.1
    assert torch.autograd.gradcheck(lambda gate: model(given, edge_gate=gate), gate.requires_grad_())


@pytest.mark.parametrize(("name", "block"), EVERY)
def test_a_graph_has_the_same_logits_alone_renamed_and_in_any_batch(name: str, block: str) -> None:
    model, given = shake(network(name, block)).double(), batch(block)
    if block != "categories":
        given.x = given.x.double()
    expected = model(given).split([graph.num_nodes for graph in given.to_data_list()] if block == "nodes" else 1)
    for graph, logits in zip(given.to_data_list(), expected, strict=True):
        torch.testing.assert_close(model(graph), logits)
        place = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(3))
        x = torch.empty_like(graph.x)
        x[place] = graph.x
        order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(4))
        renamed = Data(x=x, edge_index=place[graph.edge_index][:, order], edge_attr=graph.edge_attr[order])
        found = model(renamed)
        torch.testing.assert_close(found[place] if block == "nodes" else found, logits)


@pytest.mark.parametrize(("name", "block"), EVERY)
def test_graphs_without_edges_or_nodes_and_of_one_node(name: str, block: str) -> None:
    model = shake(network(name, block))
    x, edge_attr = batch(block).x, batch(block).edge_attr[:0]
    empty = to_index([])
    given = Batch.from_data_list([Data(x=x[:count], edge_index=empty, edge_attr=edge_attr) for count in (2, 0, 1)])
    out = model(given, edge_gate=torch.ones(0))
    assert out.shape == (3, 3)
    torch.testing.assert_close(model(given), out)
    model.train()(given).sum().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())
    assert all(value.isfinite().all() for value in model.state_dict().values() if value.is_floating_point())


@pytest.mark.parametrize(("name", "block"), EVERY)
def test_a_network_is_made_again_from_what_it_says_of_itself(name: str, block: str) -> None:
    model, given = shake(network(name, block)), batch(block)
    again = type(model)(**model.config())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(given), model(given))
    written = model.config().keys() - {"features", "num_outputs", "hidden", "layers", "dropout", "readout", "jk"}
    said = BLOCKS[block].keys() - {"readout", "jk"}
    assert written == said | {"gin": {"bonds"}, "pna": {"log_degree"}}.get(name, set())
    for width in (5, 16):
        assert model.resized(width).eval()(given).shape == model(given).shape


@pytest.mark.parametrize(("name", "block"), EVERY)
def test_a_training_step_moves_every_parameter_and_maps_alone_are_pruned(name: str, block: str) -> None:
    model, given = network(name, block).train(), batch(block)
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):  # what begins at 0 holds back the gradients of others
        optimizer.zero_grad()
        model(given)[:, :2].pow(2).sum().backward()
        optimizer.step()
    assert [key for key, value in model.named_parameters() if torch.equal(value, before[key])] == []
    maps = {f"{key}.weight" for key, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert set(MaskSet.dense(model)) == maps


class TinyGIN(nn.Module):
    """The network of willy-b/tiny-GIN-for-ogbg-molhiv as its layers of torch_geometric compute it."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = AtomEncoder(hidden)
        self.convs = nn.ModuleList(pyg.GINConv(pyg.MLP([hidden, hidden, hidden])) for _ in range(2))
        self.norm = nn.BatchNorm1d(hidden)
        self.first, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, 1)

    def forward(self, data: Batch) -> Tensor:
        def drop(x: Tensor) -> Tensor:
            return functional.dropout(x, 0.5, self.training)

        x = self.norm(self.convs[0](self.encoder(data.x), data.edge_index)).relu()
        x = dropout(x, 0.5, self.training)  # with our draws
        x = drop(pyg.global_add_pool(self.convs[1](x, data.edge_index), data.batch))
        return self.last(drop(self.first(x).relu()))


def copied(ours: GraphClassifier, theirs: TinyGIN) -> None:
    """The weights of one network for the other."""
    maps = [(inner.lins[0], inner.norms[0].module, inner.lins[1]) for inner in (conv.nn for conv in theirs.convs)]
    pairs = [(ours.node_encoder, theirs.encoder), (ours.norms[0], theirs.norm)]
    pairs += [
        (conv.nn[place], each[place // 2 + place % 2])
        for conv, each in zip(ours.convs, maps, strict=True)
        for place in (0, 1, 3)
    ]
    pairs += [(ours.head[1], theirs.first), (ours.head[4], theirs.last)]
    for one, other in pairs:
        other.load_state_dict(one.state_dict())


def test_the_tiny_gin_of_molhiv_is_an_option_of_ours() -> None:
    class Molecules:
        features, num_outputs, edge_features, level = "ogb-mol", 1, "ogb-mol", "graph"

    recipe = {"bonds": False, "train_eps": False, "readout": "sum", "plain_last": True, "head_layers": 2}
    ours = GIN.for_data(Molecules(), hidden=64, layers=2, dropout=0.5, head_dropout=0.5, **recipe)
    theirs = TinyGIN()
    assert sum(value.numel() for value in ours.parameters()) == 32385
    copied(ours, theirs)
    given = Batch.from_data_list([molecule(seed, nodes=4 + seed) for seed in range(6)])
    for training in (True, False):
        outs = []
        for model in (ours, theirs):
            model.train(training).zero_grad()
            torch.manual_seed(3)
            outs.append(model(given))
            outs[-1].sum().backward()
        torch.testing.assert_close(*outs)
        torch.testing.assert_close(ours.head[1].weight.grad, theirs.first.weight.grad)
        torch.testing.assert_close(ours.node_encoder.table.weight.grad, theirs.encoder.table.weight.grad)


def gated(model: GatedGCN, data: Batch) -> Tensor:
    """GatedGCN as written in Bresson & Laurent's equations, one arc after the other."""
    state = {key: value.double() for key, value in model.state_dict().items()}

    def linear(key: str, x: Tensor) -> Tensor:
        return x @ state[f"{key}.weight"].t() + state.get(f"{key}.bias", torch.zeros(1))

    def norm(key: str, x: Tensor) -> Tensor:
        mean, var = state[f"{key}.running_mean"], state[f"{key}.running_var"]
        return (x - mean) / (var + 1e-5).sqrt() * state[f"{key}.weight"] + state[f"{key}.bias"]

    x = linear("node_encoder.lin", norm("node_encoder.norm", data.x.double()))
    e = linear("bond_encoders.0.lin", data.edge_attr.double())
    for layer in range(3):
        key = f"convs.{layer}"
        made, (source, target) = [], data.edge_index
        arcs = linear(f"{key}.D", x[target]) + linear(f"{key}.E", x[source]) + linear(f"{key}.C", e)
        for node in range(data.num_nodes):
            total, near = torch.zeros(8).double(), torch.zeros(8).double()
            for arc in (data.edge_index[1] == node).nonzero().flatten().tolist():
                total, near = (
                    total + arcs[arc].sigmoid(),
                    near + arcs[arc].sigmoid() * linear(f"{key}.B", x[source[arc]]),
                )
            made.append(linear(f"{key}.A", x[node]) + near / (total + 1e-6))
        if layer < 2:
            e = e + norm(f"{key}.norm", arcs).relu()
        x = x + norm(f"norms.{layer}", torch.stack(made)).relu()
        key = f"feed_forwards.{layer}"
        x = norm(f"{key}.before", x)
        x = norm(f"{key}.after", x + linear(f"{key}.second", linear(f"{key}.first", x).relu()))
    pooled = torch.stack([x[data.batch == graph].mean(0) for graph in range(data.num_graphs)])
    return linear("head", pooled)


def test_gated_gcn_by_hand() -> None:
    model, data = shake(network("gated", "gnn+")), batch("gnn+", count=2)
    torch.testing.assert_close(model.double()(data), gated(model, data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "group"}, "norm must be one of .*got 'group'"),
        ({"head_layers": 0}, "head_layers must be .* got 0"),
        ({"head_dropout": 1.0}, "head_dropout must be .* got 1.0"),
    ],
)
def test_unknown_blocks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GCN(4, 2, **options)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_edge_features_that_are_asked_for_have_to_be_there(name: str) -> None:
    model = network(name, "edges")
    with pytest.raises(ValueError, match=r"reads bond features, .* no edge_attr"):
        model(Data(x=torch.ones(2, 4), edge_index=to_index([(0, 1)])))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"layers": "3"}, {"layers": 1.5}, {"hidden": 8.0}, {"head_layers": 1.5}, {"head_layers": True}),
        *({"layers": None}, {"hidden": 0}, {"dropout": "0.1"}, {"dropout": 1.0}, {"head_dropout": None}),
        {"dropout": float("nan")},
    ],
)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_sizes_that_are_none_are_named(name: str, wrong: dict[str, Any]) -> None:
    (option,) = wrong
    with pytest.raises(ValueError, match=f"{option} must be a "):
        CONVOLUTIONS[name](4, 3, **{"hidden": 8, **wrong})


@pytest.mark.parametrize("wrong", ["x", None, [1], True, 0, -1.0, 1e19, float("inf"), float("nan"), torch.ones(2)])
def test_a_mean_degree_is_a_number_that_graphs_can_have(wrong: Any) -> None:
    with pytest.raises(ValueError, match="log_degree must be the mean of logarithms"):
        PNA(4, 3, hidden=8, log_degree=wrong)
    assert PNA(4, 3, hidden=8, log_degree=2).config()["log_degree"] == 2


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_options_are_written_down_where_they_are_not_what_they_are_unless_told(name: str) -> None:
    plain = CONVOLUTIONS[name](4, 3, hidden=8)
    left = {"bonds": False, "norm": "batch", "residual": False, "feed_forward": False, "virtual_node": False}
    left |= {"plain_last": False, "head_layers": 1, "head_dropout": 0.0, "edge_features": "ogb-mol", "encodings": None}
    assert list(CONVOLUTIONS[name](4, 3, hidden=8, **left).config().items()) == list(plain.config().items())
    written = ["features", "num_outputs", "hidden", "layers", "dropout", "readout", "jk"]
    assert [key for key in plain.config() if key not in ("bonds", "log_degree")] == written
    told = CONVOLUTIONS[name](4, 3, hidden=8, encodings={"walks": 4}, edge_features=3, residual=True)
    assert "edge_features" not in told.config()  # of edges that are not read
    assert (told.config()["encodings"], told.config()["residual"]) == ({"walks": 4}, True)
