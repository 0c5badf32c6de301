"""Soft edges per convolution: gates of zero and one are removal, and gradients are those of that function."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, SAGEConv

from tests.graphs.soft.cases import (
    CASES,
    CHORDS,
    RING,
    WIDTH,
    Net,
    build,
    close,
    double,
    graph,
    graphs,
    one_loop_a_node,
    soft,
    without,
)

every_case = pytest.mark.parametrize("case", CASES)


def seen(net: nn.Module, data: Data, run: Any) -> list[Tensor]:
    """The output, and what its gradients say of the nodes' features, of the edges' features and of the parameters."""
    torch.manual_seed(0)  # of negative samples
    out = run(data)
    weight = torch.arange(1.0, 1 + out.numel()).to(out).view_as(out).cos()
    leaves = [data.x, data.edge_attr, data.edge_weight, *(one for one in net.parameters() if one.requires_grad)]
    total = (out * weight).sum() + 0 * data.x.sum()  # so that there is a gradient
    return [out, *torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)]


@every_case
def test_zero_one_gates_are_removal(case: str) -> None:
    net = build(case)

    @given(st.data())
    @settings(max_examples=8)
    def check(data: st.DataObject) -> None:
        graph = data.draw(graphs(case))
        keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=graph.num_edges, max_size=graph.num_edges)))
        keep = keep.bool()
        precise = data.draw(st.booleans())
        net.to(torch.float64 if precise else torch.float32).train(data.draw(st.booleans()) and "super" not in case)
        given = double(graph) if precise else graph
        ends = []
        for one, run in ((given, lambda d: soft(net, keep.to(d.x), d)), (without(given, keep), net)):
            for value in (one.x, one.edge_attr, one.edge_weight):
                value.requires_grad_()
            ends.append(seen(net, one, run))
        of_edges = slice(2, 4)
        for value in ends[0][of_edges]:
            assert not value[~keep].any()
        ends[0][of_edges] = [value[keep] for value in ends[0][of_edges]]
        for value, expected in zip(*ends, strict=True):
            close(value, expected, 1e-10 if precise else 1e-5)

    check()


@every_case
def test_gates_of_one_are_the_plain_model(case: str) -> None:
    net, data = build(case), graph(7, RING + one_loop_a_node(CHORDS))
    close(soft(net, torch.ones(data.num_edges), data), net(data), 1e-6)


@every_case
def test_gradient_is_that_of_finite_differences(case: str) -> None:
    # Node 5 only sends, node 6 is isolated.
    net = build(case).double().eval()
    data = double(graph(7, [*RING, *one_loop_a_node(CHORDS), (5, 0)]))
    gate = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(1)).double() * 0.9 + 0.05
    assert torch.autograd.gradcheck(lambda g: soft(net, g, data), gate.requires_grad_())


# Where a second edge is let in, a maximum and the root of a variance have a kink, and the mean of a relation a jump.
KINKS = ("max", "min", "std", "several", "scaled", "edge", "pna", "point", "rgcn", "eg")


@pytest.mark.parametrize("case", [case for case in CASES if not any(kink in case for kink in KINKS)])
def test_gradient_at_removed_edges_is_one_sided_difference(case: str) -> None:
    # A gate at zero can be learned back: its gradient is what letting the edge in a little would do.
    net = build(case).double().eval()
    data = double(graph(5, RING + [(v, u) for u, v in RING] + one_loop_a_node(CHORDS)))
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
    @settings(max_examples=8)
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


# EGConv without "symnorm" adds loops up to the last node that has an edge.
@pytest.mark.parametrize("case", [case for case in CASES if case != "eg-all"])
def test_renaming_nodes_renames_the_output(case: str) -> None:
    net, data = build(case).eval(), graph(7, RING + one_loop_a_node(CHORDS))
    gate = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(2))
    new = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    renamed = data.clone()
    for name in ("x", "x_0", "history", "pos", "normal", "node_type"):
        renamed[name] = torch.empty_like(data[name]).index_copy(0, new, data[name])
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
    with pytest.raises(ValueError, match="several self-loops with weights"):
        soft(build("gcn-weight"), torch.ones(3), data)


@pytest.fixture(autouse=True)
def precise(request: pytest.FixtureRequest) -> Iterator[None]:
    """Finite differences need double precision in what torch_geometric makes itself, too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if "differen" in request.node.name else before)
    yield
    torch.set_default_dtype(before)
