"""What soft edges take on trust, and that nothing of it can be mistaken: classes, edges, code and numbers."""

import sys
from types import MethodType, ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data
from torch_geometric.utils import sort_edge_index

from graphprune.graphs.soft.check import check_removal
from graphprune.graphs.soft.soft import SoftEdges, supports
from tests.graphs.soft.cases import CASES, CHORDS, RING, WIDTH, Net, build, close, graph, soft, without


class Scaled(pyg.MessagePassing):
    """Gated rightly as it is, and wrongly where it divides by numbers of its own."""

    def __init__(self, divides: bool = False) -> None:
        super().__init__(aggr="sum")
        self.lin, self.divides = nn.Linear(WIDTH, 3), divides

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out = self.lin(x) + self.propagate(edge_index, x=self.lin(x))
        return out / self.degree(edge_index, len(x)) if self.divides else out

    def degree(self, edge_index: Tensor, nodes: int) -> Tensor:
        return torch.bincount(edge_index[1], minlength=nodes).clamp(min=1).view(-1, 1)


class Several(nn.Module):
    def __init__(self, *convs: nn.Module) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, data: Data) -> Tensor:
        return self.convs[0](data.x, data.edge_index)


@pytest.fixture
def data() -> Data:
    return graph(7, RING + CHORDS)


@pytest.fixture
def keep(data: Data) -> Tensor:
    return torch.arange(data.num_edges) % 3 > 0


def untrusted(net: nn.Module) -> None:
    with pytest.raises(TypeError, match="nobody has seen yet"):
        supports(net)


class TestProof:
    """A class is trusted once a module of it has been compared with removal."""

    @pytest.mark.parametrize("arcs", [[], [(0, 0), (1, 1)]])
    def test_graphs_without_edges_that_can_go_prove_nothing(self, arcs: list[tuple[int, int]]) -> None:
        class Fresh(Scaled):
            def message(self, x_j: Tensor) -> Tensor:
                return x_j

        check_removal(Net(Fresh(divides=True)), graph(4, arcs))
        untrusted(Net(Fresh()))

    def test_modules_that_do_not_run_prove_nothing(self, data: Data) -> None:
        class Idle(Scaled):
            def message(self, x_j: Tensor) -> Tensor:
                return x_j

        check_removal(Several(pyg.GCNConv(WIDTH, 3), Idle(divides=True)), data)
        untrusted(Net(Idle()))

    def test_a_refuted_class_is_trusted_no_more(self, data: Data) -> None:
        check_removal(Net(Scaled()), data)
        supports(Net(Scaled()))
        with pytest.raises(ValueError, match="no removed edge"):
            check_removal(Net(Scaled(divides=True)), data)
        untrusted(Net(Scaled()))

    def test_settings_of_a_class_are_its_own(self, data: Data) -> None:
        class Base(Scaled):
            divided = False

            def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
                self.divides = self.divided
                return super().forward(x, edge_index)

        class Other(Base):
            divided = True

        class Static(Base):
            degree = staticmethod(lambda edge_index, nodes: 2.0)  # type: ignore[assignment]

        check_removal(Net(Base()), data)
        supports(Net(Base()))
        untrusted(Net(Other()))
        untrusted(Net(Static()))

    @pytest.mark.parametrize("name", ["forward", "message", "aggregate"])
    def test_methods_that_are_replaced_on_the_object_are_refused(self, name: str) -> None:
        conv = pyg.SAGEConv(WIDTH, 3)
        setattr(conv, name, MethodType(getattr(type(conv), name), conv))
        with pytest.raises(TypeError, match=f"its {name} is replaced on the object: make a subclass"):
            supports(Net(conv))

    def test_an_aggregation_that_is_none_is_refused(self) -> None:
        conv = pyg.GATConv(WIDTH, 3)
        conv.aggr_module = nn.Identity()
        with pytest.raises(TypeError, match="its aggr_module is a Identity, which is no Aggregation"):
            supports(Net(conv))


class TestEdges:
    """Gates belong to edges, not to addresses."""

    def test_edges_may_have_any_name(self, data: Data, keep: Tensor) -> None:
        class Named(Scaled):
            def forward(self, h: Tensor, arcs: Tensor) -> Tensor:
                return self.propagate(arcs, x=self.lin(h))

        net = Several(Named())
        check_removal(net, data)
        close(soft(net, keep.float(), data), net(without(data, keep)), 1e-5)

    def test_numbers_of_a_layer_may_be_of_single_precision(self, data: Data) -> None:
        class Single(nn.Module):
            def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
                gate = torch.ones(data.num_edges) if edge_gate is None else edge_gate
                return torch.zeros(len(data.x)).index_add(0, data.edge_index[1], gate)

        check_removal(Single(), data)

    def test_hooks_that_sort_the_edges_are_seen(self, data: Data, keep: Tensor) -> None:
        conv = pyg.SAGEConv(WIDTH, 3)
        conv.register_forward_pre_hook(lambda _, args: (args[0], sort_edge_index(args[1], sort_by_row=False)))
        with pytest.raises(ValueError, match=r"SAGEConv: its 12 edges are not the 12 of data\.edge_index"):
            soft(Several(conv), keep.float(), data)

    def test_a_tree_from_each_child_to_its_parent_is_no_read_out(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = pyg.SAGEConv((WIDTH, WIDTH), 3)

            def forward(self, data: Data) -> Tensor:
                return self.conv((data.x, data.x), data.edge_index)

        with pytest.raises(TypeError, match="bipartite"):
            soft(Twice(), torch.zeros(4), graph(5, [(0, 4), (1, 4), (2, 3), (3, 4)]))

    def test_edges_sorted_inside_a_layer_are_others(self, data: Data) -> None:
        class Sorts(Scaled):
            def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
                return self.propagate(sort_edge_index(edge_index, sort_by_row=False), x=self.lin(x))

        by_target = data.edge_index[:, data.edge_index[1].argsort(stable=True)]
        several = Data(x=data.x, edge_index=by_target.flip(1)[:, by_target[1].flip(0).argsort(stable=True)])
        for one in (data, several):
            with pytest.raises(ValueError, match="edges of its own making"):
                check_removal(Net(Sorts()), one)

    def test_two_lists_in_one_piece_of_memory_are_two(self, data: Data) -> None:
        class Halves(Scaled):
            def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
                both = torch.cat([edge_index, edge_index.roll(1, 0).sort(1).values], 1)
                first, second = both.chunk(2, 1)
                return self.propagate(first, x=self.lin(x)) + self.propagate(second, x=self.lin(x))

        with pytest.raises(ValueError, match="edges of its own making"):
            check_removal(Net(Halves()), data)

    def test_edges_that_are_changed_in_place_are_noticed(self, data: Data, keep: Tensor) -> None:
        class Turns(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = pyg.SAGEConv(WIDTH, WIDTH), pyg.SAGEConv(WIDTH, 3)

            def forward(self, data: Data) -> Tensor:
                x = self.first(data.x, data.edge_index)
                data.edge_index.copy_(data.edge_index.flip(0))
                return self.second(x, data.edge_index)

        with pytest.raises(ValueError, match=r"Turns changed data\.edge_index in place"):
            soft(Turns(), keep.float(), data)

    def test_the_graph_must_reach_the_layer(self, data: Data) -> None:
        class FromData(pyg.GCNConv):
            def forward(self, data: Data) -> Tensor:  # type: ignore[override]
                return super().forward(data.x, data.edge_index)

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = FromData(WIDTH, 3)

            def forward(self, data: Data) -> Tensor:
                return self.conv(data)

        with pytest.raises(TypeError, match=r"FromData is called without the graph's edges.* take data\.edge_index"):
            check_removal(Whole(), data)


SOURCE = """
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

CALLS, FACTOR = 0, 1.0

def weights(logits, index, nodes):
    return FACTOR * softmax(logits, index, num_nodes=nodes)

class Layer(MessagePassing):
    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=x)

    def message(self, x_j, index, size_i):
        return x_j * weights(x_j.sum(-1, keepdim=True), index, size_i)

class Counting(Layer):
    def message(self, x_j, index, size_i):
        global CALLS
        CALLS += 1
        return x_j * softmax(x_j.sum(-1, keepdim=True), index, num_nodes=size_i)
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module whose definitions are run again, as cells of a notebook are."""
    module = ModuleType("notebook_of_a_user")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(SOURCE, vars(module))
    return module


class TestCode:
    """Methods are gated as they are today."""

    def test_what_is_defined_anew_is_gated_anew(self, notebook: Any, data: Data) -> None:
        net, gate = Net(notebook.Layer()), torch.ones(data.num_edges)
        check_removal(net, data)
        close(soft(net, gate, data), net(data), 1e-6)
        notebook.FACTOR = 2.0
        close(soft(net, gate, data), net(data), 1e-6)
        exec(
            "def weights(logits, index, nodes):\n    return 3 * softmax(logits, index, num_nodes=nodes)", vars(notebook)
        )
        close(soft(net, gate, data), net(data), 1e-6)
        notebook.Layer.message = lambda self, x_j, index, size_i: 4 * x_j
        close(soft(net, gate, data), net(data), 1e-6)

    def test_a_method_that_sets_a_global_is_not_copied(self, notebook: Any, data: Data) -> None:
        with pytest.raises(ValueError, match="no removed edge"):
            check_removal(Net(notebook.Counting()), data)
        assert notebook.CALLS > 0  # of the module itself, not of a copy


class TestLeft:
    """Nothing is left behind."""

    def test_a_class_that_is_told_of_subclasses_is_refused_before_anything_is_hooked(self) -> None:
        told = []

        class Registers(Scaled):
            def __init_subclass__(cls, **kwargs: Any) -> None:
                super().__init_subclass__()
                told.append(cls)

        conv = Registers()
        with pytest.raises(TypeError, match="would be told of a subclass"):
            check_removal(Net(conv), graph(4, RING[:3]))
        assert not told and type(conv) is Registers
        assert not conv._forward_pre_hooks and not conv._forward_hooks and not conv._propagate_forward_pre_hooks

    def test_parameters_that_a_layer_returns_collect_no_hooks(self, data: Data) -> None:
        class Relations(Scaled):
            def __init__(self) -> None:
                super().__init__()
                self.relation = nn.Parameter(torch.randn(3))

            def forward(self, x: Tensor, edge_index: Tensor) -> Any:
                return super().forward(x, edge_index) * self.relation, self.relation

        net = Net(Relations())
        check_removal(net, data)
        for _ in range(3):
            soft(net, torch.rand(data.num_edges, requires_grad=True), data)[0].sum().backward()
        assert not net.conv.relation._backward_hooks


HALF = ["sage", "sage-max", "simple-std", "simple-softmax", "gat-no-loops", "transformer", "pna", "gcn-no-loops"]


@pytest.mark.parametrize("case", HALF)
@pytest.mark.parametrize("gates", [1.0, 0.0])
def test_half_precision_knows_nodes_without_edges(case: str, gates: float) -> None:
    assert case in CASES
    net, data = build(case).eval(), graph(7, RING)  # nodes 5 and 6 are isolated
    gate = torch.full((data.num_edges,), gates, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        out = soft(net, gate, data)
        expected = net(data if gates else without(data, torch.zeros(data.num_edges, dtype=torch.bool)))
    close(out.float(), expected.float(), 2e-2)
    out.float().sum().backward()
    assert bool(gate.grad.isfinite().all())


def test_inside_the_block_only(data: Data, keep: Tensor) -> None:
    net = build("sage")
    with SoftEdges(net) as run:
        run(keep.float(), data)
        assert type(net.conv) is not pyg.SAGEConv and isinstance(net.conv, pyg.SAGEConv)
    assert type(net.conv) is pyg.SAGEConv
