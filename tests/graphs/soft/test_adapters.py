"""Soft edges per convolution: gates of zero and one are removal, and gradients are those of that function."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, GINEConv, SAGEConv
from torch_geometric.nn.aggr import MeanAggregation, SumAggregation

from graphprune.graphs.soft.soft import SoftEdges

WIDTH = 4


class Net(nn.Module):
    """One convolution; ``edge_data`` says which argument of it is which attribute of the graph."""

    def __init__(self, conv: nn.Module, **edge_data: str) -> None:
        super().__init__()
        self.conv = conv
        self.edge_data = edge_data

    def forward(self, data: Data) -> Any:
        return self.conv(data.x, data.edge_index, **{name: data[key] for name, key in self.edge_data.items()})


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


BACK = {"flow": "target_to_source"}
WEIGHT = {"edge_weight": "edge_weight"}
ATTR = {"edge_attr": "edge_attr"}
CASES: dict[str, Callable[[], Net]] = {
    "gcn": lambda: Net(GCNConv(WIDTH, 3)),
    "gcn-improved": lambda: Net(GCNConv(WIDTH, 3, improved=True)),
    "gcn-no-loops": lambda: Net(GCNConv(WIDTH, 3, add_self_loops=False)),
    "gcn-raw": lambda: Net(GCNConv(WIDTH, 3, normalize=False, bias=False)),
    "gcn-decomposed": lambda: Net(GCNConv(WIDTH, 4, decomposed_layers=2)),
    "gcn-back": lambda: Net(GCNConv(WIDTH, 3, add_self_loops=False, **BACK)),
    "gcn-weight": lambda: Net(GCNConv(WIDTH, 3), **WEIGHT),
    "gcn-weight-improved": lambda: Net(GCNConv(WIDTH, 3, improved=True), **WEIGHT),
    "gcn-weight-no-loops": lambda: Net(GCNConv(WIDTH, 3, add_self_loops=False), **WEIGHT),
    "gcn-weight-raw": lambda: Net(GCNConv(WIDTH, 3, normalize=False), **WEIGHT),
    "gcn-weight-back": lambda: Net(GCNConv(WIDTH, 3, **BACK), **WEIGHT),
    "gin": lambda: Net(GINConv(mlp())),
    "gin-eps": lambda: Net(GINConv(mlp(), eps=0.5, train_eps=True)),
    "gin-mean": lambda: Net(GINConv(mlp(), aggr="mean")),
    "gin-back": lambda: Net(GINConv(mlp(), **BACK)),
    "gine": lambda: Net(GINEConv(mlp()), **ATTR),
    "gine-eps": lambda: Net(GINEConv(mlp(), eps=0.5, train_eps=True), **ATTR),
    "gine-edge-dim": lambda: Net(GINEConv(mlp(), edge_dim=WIDTH), **ATTR),
    "sage": lambda: Net(SAGEConv(WIDTH, 3)),
    "sage-sum": lambda: Net(SAGEConv(WIDTH, 3, aggr="sum")),
    "sage-add": lambda: Net(SAGEConv(WIDTH, 3, aggr="add")),
    "sage-mean-module": lambda: Net(SAGEConv(WIDTH, 3, aggr=MeanAggregation())),
    "sage-sum-module": lambda: Net(SAGEConv(WIDTH, 3, aggr=SumAggregation())),
    "sage-no-root": lambda: Net(SAGEConv(WIDTH, 3, root_weight=False)),
    "sage-project": lambda: Net(SAGEConv(WIDTH, 3, project=True)),
    "sage-normalize": lambda: Net(SAGEConv(WIDTH, 3, normalize=True)),
    "sage-two-widths": lambda: Net(SAGEConv((WIDTH, WIDTH), 3)),
    "sage-back": lambda: Net(SAGEConv(WIDTH, 3, **BACK)),
}
for _name, _conv in (("gat", GATConv), ("gatv2", GATv2Conv)):
    for _label, _options, _edge_data in (
        ("heads", {"heads": 2}, {}),
        ("heads-averaged", {"heads": 2, "concat": False}, {}),
        ("no-loops", {"heads": 2, "add_self_loops": False}, {}),
        ("residual", {"residual": True, "bias": False}, {}),
        ("two-widths", {"in_channels": (WIDTH, WIDTH)}, {}),
        ("back", BACK, {}),
        ("edges", {"edge_dim": WIDTH, "heads": 2}, ATTR),
        ("edges-sum", {"edge_dim": WIDTH, "fill_value": "add"}, ATTR),
        ("edges-constant", {"edge_dim": WIDTH, "fill_value": 0.7}, ATTR),
        ("edges-tensor", {"edge_dim": WIDTH, "fill_value": torch.arange(4.0)}, ATTR),
        ("edges-no-loops", {"edge_dim": WIDTH, "add_self_loops": False}, ATTR),
        ("edges-back", {"edge_dim": WIDTH, **BACK}, ATTR),
        ("edges-scalar", {"edge_dim": 1}, {"edge_attr": "edge_weight"}),
        ("edges-absent", {"edge_dim": WIDTH}, {}),
    ):

        def _make(conv: Any = _conv, options: Any = _options, edge_data: Any = _edge_data) -> Net:
            return Net(conv(**{"in_channels": WIDTH, "out_channels": 3, **options}), **edge_data)

        CASES[f"{_name}-{_label}"] = _make
CASES["gatv2-one-weight"] = lambda: Net(GATv2Conv(WIDTH, 3, heads=2, share_weights=True))

every_case = pytest.mark.parametrize("case", CASES)


def build(case: str) -> Net:
    torch.manual_seed(0)
    net = CASES[case]()
    with torch.no_grad():  # biases start at zero, where some mistakes do not show
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def graph(nodes: int, arcs: list[tuple[int, int]], seed: int = 0) -> Data:
    draw = torch.Generator().manual_seed(seed)
    return Data(
        x=torch.randn(nodes, WIDTH, generator=draw),
        edge_index=torch.tensor(arcs, dtype=torch.long).reshape(-1, 2).t(),
        edge_attr=torch.randn(len(arcs), WIDTH, generator=draw),
        edge_weight=torch.rand(len(arcs), generator=draw) + 0.2,
    )


def one_loop_a_node(arcs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [arc for i, arc in enumerate(arcs) if arc[0] != arc[1] or arc not in arcs[:i]]


@st.composite
def graphs(draw: st.DrawFn, case: str) -> Data:
    """Isolated nodes, self-loops, multi-edges, directed or undirected, or no edges at all."""
    nodes = draw(st.integers(2, 7))
    node = st.integers(0, nodes - 1)
    arcs = draw(st.lists(st.tuples(node, node), max_size=12))
    if draw(st.booleans()):
        arcs = [pair for u, v in arcs for pair in ((u, v), (v, u))]
    if case.startswith("gcn-weight"):  # of several weighted loops at a node GCNConv keeps an arbitrary one
        arcs = one_loop_a_node(arcs)
    return graph(nodes, arcs, draw(st.integers(0, 99)))


def without(data: Data, keep: Tensor) -> Data:
    return Data(
        x=data.x,
        edge_index=data.edge_index[:, keep],
        edge_attr=data.edge_attr[keep],
        edge_weight=data.edge_weight[keep],
    )


def soft(net: nn.Module, gate: Tensor, data: Data) -> Any:
    with SoftEdges(net) as run:
        return run(gate, data)


def close(a: Tensor, b: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


RING = [(i, (i + 1) % 5) for i in range(5)]
CHORDS = [(0, 2), (2, 0), (0, 2), (3, 3), (1, 4), (4, 1), (1, 1)]


@every_case
def test_zero_one_gates_are_removal(case: str) -> None:
    net = build(case)

    @given(st.data())
    @settings(max_examples=30)
    def check(data: st.DataObject) -> None:
        graph = data.draw(graphs(case))
        keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=graph.num_edges, max_size=graph.num_edges)))
        keep = keep.bool()
        net.train(data.draw(st.booleans()))
        with torch.no_grad():
            close(soft(net, keep.float(), graph), net(without(graph, keep)), 1e-5)

    check()


@every_case
def test_gates_of_one_are_the_plain_model(case: str) -> None:
    net, data = build(case), graph(7, RING + one_loop_a_node(CHORDS))
    close(soft(net, torch.ones(data.num_edges), data), net(data), 1e-6)


@every_case
def test_gradient_is_that_of_finite_differences(case: str) -> None:
    # Node 5 only sends, node 6 is isolated.
    net = build(case).double().eval()
    data = graph(7, [*RING, *one_loop_a_node(CHORDS), (5, 0)])
    data = data.apply(lambda value: value.double() if value.is_floating_point() else value)
    gate = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(1)).double() * 0.9 + 0.05
    assert torch.autograd.gradcheck(lambda g: soft(net, g, data), gate.requires_grad_())


@every_case
def test_gradient_at_removed_edges_is_one_sided_difference(case: str) -> None:
    # A gate at zero can be learned back: its gradient is what letting the edge in a little would do.
    net = build(case).double().eval()
    data = graph(5, RING + [(v, u) for u, v in RING] + one_loop_a_node(CHORDS))
    data = data.apply(lambda value: value.double() if value.is_floating_point() else value)
    gate = torch.ones(data.num_edges, dtype=torch.float64)
    gate[len(RING) :: 2] = 0.0  # the ring stays, so no neighbourhood is empty

    def value(gate: Tensor) -> Tensor:
        return soft(net, gate, data).sin().sum()

    gradient = torch.autograd.functional.jacobian(value, gate)
    step = 1e-6
    with torch.no_grad():
        for edge in (gate == 0).nonzero().flatten():
            at_0, at_1, at_2 = (value(gate.index_fill(0, edge, i * step)) for i in range(3))
            close((4 * at_1 - 3 * at_0 - at_2) / (2 * step), gradient[edge], 1e-4)


@every_case
def test_gradients_are_finite_for_any_gate(case: str) -> None:
    net = build(case)

    @given(st.data())
    @settings(max_examples=15)
    def check(data: st.DataObject) -> None:
        graph = data.draw(graphs(case))
        values = st.sampled_from([0.0, 0.0, 1e-30, 1e-13, 1e-11, 1e-4, 0.5, 1.0])
        gate = torch.tensor(data.draw(st.lists(values, min_size=graph.num_edges, max_size=graph.num_edges)))
        gate = gate.float().requires_grad_()
        graph.x.requires_grad_()
        net.zero_grad()
        out = soft(net, gate, graph)
        (out * torch.arange(1.0, 1 + out.numel()).view_as(out)).sum().backward()
        for tensor in (out, gate.grad, graph.x.grad, *(parameter.grad for parameter in net.parameters())):
            assert tensor is None or torch.isfinite(tensor).all()

    check()


@every_case
def test_renaming_nodes_renames_the_output(case: str) -> None:
    net, data = build(case).eval(), graph(7, RING + one_loop_a_node(CHORDS))
    gate = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(2))
    new = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    renamed = data.clone()
    renamed.x = torch.empty_like(data.x).index_copy(0, new, data.x)
    renamed.edge_index = new[data.edge_index]
    close(soft(net, gate, renamed)[new], soft(net, gate, data), 1e-5)


@every_case
def test_gates_of_another_precision(case: str) -> None:
    # The gate may be of another precision than the model; straight-through gates may exceed 1 by rounding.
    net, data = build(case).eval(), graph(7, RING + one_loop_a_node(CHORDS))
    gate = torch.full((data.num_edges,), 1 + 1e-9, dtype=torch.float64)
    out = soft(net, gate, data)
    assert out.dtype == torch.float32
    close(out, net(data), 1e-5)


@pytest.mark.parametrize("conv", [GATConv, GATv2Conv])
@pytest.mark.parametrize("loops", [True, False])
class TestAttentionDropout:
    class Net(nn.Module):
        def __init__(self, conv: nn.Module) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, data: Data) -> Any:
            return self.conv(data.x, data.edge_index, return_attention_weights=True)

    def setup_method(self) -> None:
        torch.manual_seed(0)
        self.data = graph(40, [(i, (i * k + k) % 40) for i in range(40) for k in (1, 3, 7)])
        self.keep = torch.rand(self.data.num_edges) < 0.6

    def test_drops_what_is_left_after_removal(self, conv: Any, loops: bool) -> None:
        # Each attention weight is dropped, or that of the removed graph scaled up: renormalising comes first.
        net = self.Net(conv(WIDTH, 3, heads=2, dropout=0.5, add_self_loops=loops)).train()
        out, (edges, alpha) = soft(net, self.keep.float(), self.data)
        assert net.conv.dropout == 0.5
        _, (kept_edges, expected) = net.eval()(without(self.data, self.keep))
        there = self.keep[self.data.edge_index[0] != self.data.edge_index[1]] if loops else self.keep
        there = torch.cat([there, there.new_ones(edges.size(1) - there.numel())])
        assert torch.equal(edges[:, there], kept_edges)
        assert not alpha[~there].any()
        alpha, dropped = alpha[there], alpha[there] == 0
        assert 0.3 < dropped.float().mean() < 0.7
        close(alpha[~dropped], 2 * expected[~dropped], 1e-5)
        assert torch.isfinite(out).all()

    def test_gates_of_one_draw_the_same_dropout_as_the_plain_model(self, conv: Any, loops: bool) -> None:
        net = Net(conv(WIDTH, 3, heads=2, dropout=0.5, add_self_loops=loops)).train()
        torch.manual_seed(5)
        expected = net(self.data)
        torch.manual_seed(5)
        close(soft(net, torch.ones(self.data.num_edges), self.data), expected, 1e-6)


def test_a_strongly_attended_edge_can_be_removed() -> None:
    # What the softmax leaves for the kept edges is tiny then, but not nothing.
    net = Net(GATConv(1, 1, add_self_loops=False))
    with torch.no_grad():
        net.conv.lin.weight.fill_(1.0)
        net.conv.att_src.fill_(1.0)
        net.conv.att_dst.fill_(0.0)
    data = Data(x=torch.tensor([[60.0], [1.0], [2.0]]), edge_index=torch.tensor([[0, 1, 2], [2, 2, 2]]))
    keep = torch.tensor([False, True, True])
    close(soft(net, keep.float(), data), net(Data(x=data.x, edge_index=data.edge_index[:, keep])), 1e-5)


def test_static_graphs_with_a_leading_dimension() -> None:
    torch.manual_seed(0)
    data = graph(5, RING + CHORDS)
    data.x = torch.randn(3, 5, WIDTH)
    keep = torch.arange(data.num_edges) % 3 > 0
    for conv in (GCNConv(WIDTH, 3), SAGEConv(WIDTH, 3), GINConv(nn.Linear(WIDTH, 3))):
        close(soft(Net(conv), keep.float(), data), Net(conv)(without(data, keep)), 1e-5)


def test_several_weighted_loops_at_one_node_are_refused_by_gcn() -> None:
    data = graph(3, [(0, 1), (2, 2), (2, 2)])
    with pytest.raises(ValueError, match="several weighted self-loops"):
        soft(CASES["gcn-weight"](), torch.ones(3), data)
