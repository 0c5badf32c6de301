"""A gate of 0 is a removed edge, however a network uses its edges; and nothing is remembered of another graph."""

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import (
    DenseGCNConv,
    GATConv,
    GCNConv,
    GINConv,
    GraphNorm,
    MessagePassing,
    MetaLayer,
    SAGEConv,
    global_add_pool,
    global_mean_pool,
)
from torch_geometric.utils import degree, scatter, to_dense_adj, to_torch_coo_tensor

import graphprune as gp
from graphprune.graphs import PackedGraphs, check_forgets, check_removal


def graph(nodes: int, seed: int) -> Data:
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.randint(nodes, (2, 2 * nodes), generator=draw)
    pairs = pairs[:, pairs[0] != pairs[1]]
    return Data(
        x=torch.randn(nodes, 4, generator=draw),
        edge_index=torch.cat([pairs, pairs.flip(0)], 1),
        y=torch.randint(2, (1,), generator=draw),
    )


GRAPHS = [graph(6 + number, number) for number in range(8)]
BATCH = Batch.from_data_list(GRAPHS)


class Net(nn.Module):
    """A convolution, something else with the edges, a readout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.lin = GCNConv(4, 8), nn.Linear(8, 2)
        self.extra()

    def extra(self) -> None:
        pass

    def more(self, x, b):
        return x

    def forward(self, b):
        x = self.more(self.conv(b.x, b.edge_index).relu(), b)
        return self.lin(global_mean_pool(x, b.batch, b.num_graphs))


class Scattered(Net):
    def more(self, x, b):
        return x + scatter(x[b.edge_index[0]], b.edge_index[1], dim_size=len(x), reduce="sum")


class Degrees(Net):
    def more(self, x, b):
        return x + degree(b.edge_index[1], len(x))[:, None]


class Sparse(Net):
    def more(self, x, b):
        return x + to_torch_coo_tensor(b.edge_index, size=len(x)) @ x


class Dense(Net):
    def extra(self):
        self.dense = DenseGCNConv(8, 8)

    def more(self, x, b):
        adj = to_dense_adj(b.edge_index, max_num_nodes=len(x))
        return self.dense(x, adj)[0]


class Pooled(Net):
    def more(self, x, b):
        near = to_dense_adj(b.edge_index, max_num_nodes=len(x))[0]
        return near.softmax(-1) @ x


class Meta(Net):
    def extra(self):
        self.meta = MetaLayer(node_model=NodeModel())

    def more(self, x, b):
        return self.meta(x, b.edge_index)[0]


class NodeModel(nn.Module):
    def forward(self, x, edge_index, edge_attr, u, batch):
        return x + scatter(x[edge_index[0]], edge_index[1], dim_size=len(x), reduce="mean")


class Counted(Net):
    def forward(self, b):
        x = self.conv(b.x, b.edge_index).relu()
        counts = scatter(torch.ones_like(b.edge_index[0]), b.batch[b.edge_index[0]], dim_size=b.num_graphs)
        return self.lin(global_add_pool(x, b.batch)) * counts[:, None]


BESIDE = {
    Scattered: "the forward of Scattered itself, before it calls 'lin'",
    Degrees: "the forward of Degrees itself, before it calls 'lin'",
    Sparse: "the forward of Sparse itself, before it calls 'lin'",
    Dense: r"the module 'dense' \(DenseGCNConv\)",
    Pooled: "the forward of Pooled itself, before it calls 'lin'",
    Meta: r"the module 'meta.node_model' \(NodeModel\)",
    Counted: "the forward of Counted itself, behind all modules that it calls",
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("net", BESIDE)
def test_edges_used_beside_the_convolutions_are_refused_and_located(net):
    with pytest.raises(ValueError, match=f"no removed edge in {net.__name__}.* starts in {BESIDE[net]}.*edge_gate"):
        check_removal(net(), BATCH)


class Ignored(Net):
    def forward(self, b, edge_gate=None):
        return super().forward(b)


class Halved(Net):
    """Reads its gates in the first convolution only."""

    def extra(self):
        self.second = GCNConv(8, 8)

    def forward(self, b, edge_gate=None):
        x = self.conv(b.x, b.edge_index, edge_gate).relu()
        return self.lin(global_mean_pool(self.second(x, b.edge_index), b.batch))


class Rounded(Net):
    def forward(self, b, edge_gate=None):
        keep = slice(None) if edge_gate is None else edge_gate.detach() > 0.5
        return self.lin(global_mean_pool(self.conv(b.x, b.edge_index[:, keep]).relu(), b.batch))


class Rooted(Net):
    """Right outputs, but a root of 0 whose derivative is infinite."""

    def forward(self, b, edge_gate=None):
        weight = torch.ones(b.num_edges) if edge_gate is None else edge_gate
        near = scatter(b.x[b.edge_index[0]] * weight[:, None], b.edge_index[1], dim_size=b.num_nodes)
        size = scatter(weight, b.edge_index[1], dim_size=b.num_nodes).sqrt()
        return self.lin(global_mean_pool((near @ self.conv.lin.weight.t()) + size[:, None], b.batch))


class Handed(Net):
    """Applies its gates: fine."""

    def extra(self):
        self.second = GINConv(nn.Linear(8, 8))

    def forward(self, b, edge_gate=None):
        weight = torch.ones(b.num_edges) if edge_gate is None else edge_gate
        x = b.x @ self.conv.lin.weight.t()
        near = scatter(x[b.edge_index[0]] * weight[:, None], b.edge_index[1], dim_size=len(x))
        return self.lin(global_mean_pool((x + near).relu(), b.batch))


class PerArc(Degrees):
    """Gives a value an arc beside its logits."""

    def forward(self, b):
        h = self.conv(b.x, b.edge_index)
        return self.lin(global_mean_pool(self.more(h, b), b.batch, b.num_graphs)), (
            h[b.edge_index[0]] * h[b.edge_index[1]]
        ).sum(-1)


class ZeroHead(Degrees):
    def extra(self):
        nn.init.zeros_(self.lin.weight)
        nn.init.zeros_(self.lin.bias)


class ReZero(Degrees):
    def extra(self):
        self.scale = nn.Parameter(torch.zeros(()))

    def more(self, x, b):
        return x + self.scale * super().more(x, b)


@pytest.mark.parametrize("net", [PerArc, ZeroHead, ReZero])
def test_neither_values_of_arcs_nor_zeros_hide_a_leak(net):
    with pytest.raises(ValueError, match=f"no removed edge in {net.__name__}"):
        check_removal(net(), BATCH)


def test_what_is_compared_is_no_rounding():
    """Norms over nodes that are alike make much of the last bits."""

    class Normed(Net):
        def extra(self):
            self.convs = nn.ModuleList([GATConv(4, 8), *(GATConv(8, 8) for _ in range(3))])
            self.norms = nn.ModuleList(GraphNorm(8) for _ in range(4))

        def forward(self, b):
            x = torch.ones_like(b.x)
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = norm(conv(x, b.edge_index), b.batch).relu()
            return self.lin(global_mean_pool(x, b.batch))

    for seed in range(3):
        torch.manual_seed(seed)
        check_removal(Normed(), BATCH)


class Single(Net):
    """Makes single precision of its own, whatever it is given."""

    def forward(self, b):
        x = self.conv(b.x.float(), b.edge_index) + torch.zeros(b.num_nodes, 8, dtype=torch.float32)
        return self.lin(global_mean_pool(x, b.batch))


def test_networks_that_run_in_single_precision_only_are_compared_in_it():
    check_removal(Single(), BATCH)


def test_an_edge_gate_that_is_ignored_is_refused():
    with pytest.raises(ValueError, match="no removed edge in Ignored"):
        check_removal(Ignored(), BATCH)


def test_an_edge_gate_that_only_a_part_reads_is_refused_where_it_is_not_read():
    with pytest.raises(ValueError, match=r"no removed edge in Halved.*starts in the module 'second' "):
        check_removal(Halved(), BATCH)


class RoundedOff(Net):
    """Has gradients, all of them zero."""

    def forward(self, b, edge_gate=None):
        weight = None if edge_gate is None else edge_gate.round()
        return self.lin(global_mean_pool(self.conv(b.x, b.edge_index, weight).relu(), b.batch))


@pytest.mark.parametrize("net", [Rounded, RoundedOff])
def test_gates_that_only_decide_get_no_gradient_and_are_refused(net):
    with pytest.raises(ValueError, match=f"get no gradient from {net.__name__}"):
        check_removal(net(), BATCH)


def test_gradients_that_are_not_finite_are_refused():
    with pytest.raises(RuntimeError, match=r"model \(Rooted\): the gradient of its gates is not finite"):
        check_removal(Rooted(), BATCH)


class Fifth(MessagePassing):
    def __init__(self) -> None:
        super().__init__(aggr="mean")
        self.lin = nn.Linear(4, 8)

    def forward(self, x, edge_index):
        return self.lin(x + self.propagate(edge_index, x=x))

    def message(self, x_j):
        return x_j


def wrong(conv, gate):  # a mean that still counts what is gated off
    return [conv.register_message_forward_hook(lambda module, inputs, out: out * gate()[:, None])]


def test_a_wrong_adapter_is_refused_and_named():
    if Fifth not in gp.graphs.soft.registry._ADAPTERS:
        gp.register_soft_edges(Fifth, wrong)
    net = Net()
    net.conv = Fifth()
    with pytest.raises(ValueError, match=r"The difference starts in the module 'conv' \(Fifth\)"):
        check_removal(net, BATCH)


@pytest.mark.parametrize("data", [BATCH, GRAPHS[0], PackedGraphs.of(GRAPHS)], ids=["batch", "graph", "packed"])
@pytest.mark.parametrize("conv", [lambda: GCNConv(4, 8), lambda: SAGEConv(4, 8), lambda: GINConv(nn.Linear(4, 8))])
def test_what_is_right_passes_and_is_left_alone(conv, data):
    net = Net()
    net.conv = conv()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    if isinstance(data, Data) and not isinstance(data, Batch):
        data = Batch.from_data_list([data])
    check_removal(net, data)
    assert net.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not net.conv._forward_pre_hooks and all(p.grad is None for p in net.parameters())


def test_a_network_that_applies_its_gates_itself_passes():
    check_removal(Handed(), BATCH)


@pytest.mark.parametrize("model", ["GCN", "GIN", "SAGE", "GAT"])
def test_the_packages_own_networks_pass_on_a_whole_data_set(model):
    data = gp.data.load("MUTAG")
    gp.check_removal(getattr(gp.models, model).for_data(data, hidden=8), data)


def test_without_edges_there_is_nothing_to_check():
    check_removal(
        Net(), Batch.from_data_list([Data(x=torch.ones(2, 4), edge_index=torch.empty(2, 0, dtype=torch.long))])
    )


def test_what_is_no_data_is_named():
    with pytest.raises(TypeError, match="got generator"):
        check_removal(Net(), (graph for graph in GRAPHS))
    check_removal(Net(), GRAPHS)


def test_networks_that_draw_at_random_are_compared_on_the_same_draws():
    class Noisy(Net):
        def more(self, x, b):
            return x + torch.randn_like(x)

    check_removal(Noisy(), BATCH)


class Cache(Net):
    """Counts the neighbours of its first graph, and keeps them."""

    def extra(self):
        self.near = None

    def more(self, x, b):
        if self.near is None:
            self.near = to_dense_adj(b.edge_index, max_num_nodes=len(x))[0]
        return x + self.near @ x


def test_a_network_that_keeps_its_first_graph_is_refused():
    with pytest.raises(ValueError, match="Cache keeps something of the first graph"):
        check_forgets(Cache().eval(), BATCH)
    check_forgets(Scattered().eval(), BATCH)


class Indexed(Cache):
    """Keeps numbers of arcs, which fewer arcs do not have."""

    def more(self, x, b):
        if self.near is None:
            self.near = torch.arange(b.num_edges)
        return x + b.edge_index[0][self.near].sum()


@pytest.mark.parametrize("hides", [False, True])
def test_what_is_kept_shows_behind_zeros_and_in_errors(hides):
    net = Cache().eval()
    if hides:
        nn.init.zeros_(net.lin.weight)
    with pytest.raises(ValueError, match="Cache keeps something of the first graph"):
        check_forgets(net, BATCH)
    with pytest.raises(ValueError, match=r"Indexed keeps something .* it then fails \(index"):
        check_forgets(Indexed().eval(), BATCH)


class InPlace(Net):
    def forward(self, b):
        b.x.mul_(0.5)
        return super().forward(b)


def test_networks_that_work_in_place_are_given_graphs_of_their_own():
    x = BATCH.x.clone()
    check_removal(InPlace(), BATCH)
    assert torch.equal(BATCH.x, x)
