"""SoftEdges around whole models: what it gates, what it refuses, and what it leaves behind."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Batch, Data
from torch_geometric.nn import (
    GAT,
    ChebConv,
    GATConv,
    GCNConv,
    GINConv,
    MessagePassing,
    SAGEConv,
    Sequential,
)
from torch_geometric.nn.pool import global_mean_pool

from graphprune.graphs.soft.soft import SoftEdges, supports
from tests.graphs.samples import Net

WIDTH = 4


class Stack(nn.Module):
    """Several convolutions, the first of them used twice, and a head over the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                GCNConv(WIDTH, WIDTH),
                SAGEConv(WIDTH, WIDTH),
                GATConv(WIDTH, WIDTH, dropout=0.5),
                GINConv(nn.Linear(WIDTH, WIDTH)),
            ]
        )
        self.same = self.convs[0]
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, data: Data) -> Tensor:
        x = data.x
        for conv in (*self.convs, self.convs[0]):
            x = conv(x, data.edge_index).relu()
        return self.head(global_mean_pool(x, data.batch))


class GatedSum(nn.Module):
    """A module that takes its gates itself, with a convolution inside that has no adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ChebConv(WIDTH, WIDTH, K=2)

    def forward(self, x: Tensor, edge_index: Tensor, edge_gate: Tensor | None = None) -> Tensor:
        gate = torch.ones(edge_index.size(1)) if edge_gate is None else edge_gate
        return torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]] * gate.unsqueeze(-1))


class GatedModel(nn.Module):
    """The same at the top."""

    def __init__(self) -> None:
        super().__init__()
        self.body = GatedSum()

    def forward(self, data: Data, *, edge_gate: Tensor | None = None) -> Tensor:
        return self.body(data.x, data.edge_index, edge_gate)


class Required(GatedModel):
    """The same without a default."""

    def forward(self, data: Data, edge_gate: Tensor) -> Tensor:
        return super().forward(data, edge_gate=edge_gate)


@pytest.fixture
def data() -> Data:
    torch.manual_seed(0)
    edges = torch.tensor([[0, 1, 1, 2, 3, 0, 4, 4, 2], [1, 0, 2, 1, 0, 3, 4, 0, 2]])
    return Data(x=torch.randn(6, WIDTH), edge_index=edges)


@pytest.fixture
def keep() -> Tensor:
    return torch.tensor([True, False, True, True, False, True, True, False, False])


def soft(net: nn.Module, gate: Tensor, data: Data) -> Any:
    with SoftEdges(net) as run:
        return run(gate, data)


def without(data: Data, keep: Tensor) -> Data:
    return Data(x=data.x, edge_index=data.edge_index[:, keep])


def hooks(model: nn.Module) -> dict[tuple[str, str], int]:
    """How many hooks of each kind each module has."""
    return {
        (name, kind): len(registered)
        for name, module in model.named_modules()
        for kind, registered in vars(module).items()
        if kind.endswith("hooks")
    }


MODELS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: Net(GCNConv(WIDTH, WIDTH)),
    "stack": Stack,
    "sequential": lambda: Net(
        Sequential("x, e", [(GCNConv(WIDTH, 8), "x, e -> x"), nn.ReLU(), (SAGEConv(8, 2), "x, e -> x")])
    ),
    "library-model": lambda: Net(GAT(WIDTH, 8, num_layers=2, heads=2)),
    "gated-inside": lambda: Net(GatedSum()),
    "gated": GatedModel,
    "subclass": lambda: Net(type("Wide", (GCNConv,), {"__init__": lambda s: GCNConv.__init__(s, WIDTH, 9)})()),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_whole_models(build: Callable[[], nn.Module], data: Data, keep: Tensor) -> None:
    net = build().eval()
    with torch.no_grad():
        plain, removed = net(data), net(without(data, keep))
        with SoftEdges(net) as run:  # one block serves many calls
            torch.testing.assert_close(run(torch.ones(9), data), plain, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(run(keep.float(), data), removed, atol=1e-5, rtol=1e-5)
        assert (plain - removed).abs().max() > 1e-3
        assert torch.equal(net(data), plain)


def test_a_model_that_cannot_do_without_gates(data: Data, keep: Tensor) -> None:
    assert torch.equal(soft(Required(), keep.float(), data), GatedModel()(without(data, keep)))


def test_a_batch_is_gated_like_its_graphs(data: Data) -> None:
    torch.manual_seed(1)
    net, other = Stack().eval(), Data(x=torch.randn(3, WIDTH), edge_index=torch.tensor([[0, 1], [1, 2]]))
    first, second = torch.rand(9), torch.rand(2)
    together = soft(net, torch.cat([first, second]), Batch.from_data_list([data, other]))
    alone = [soft(net, gate, Batch.from_data_list([g])) for gate, g in ((first, data), (second, other))]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-6)


def test_no_edges() -> None:
    net, data = Stack().eval(), Data(x=torch.randn(3, WIDTH), edge_index=torch.empty(2, 0, dtype=torch.long))
    torch.testing.assert_close(soft(net, torch.empty(0), data), net(data))


def test_swapped_rows_keep_the_gates_with_their_edges(data: Data, keep: Tensor) -> None:
    class Backward(Net):
        def forward(self, data: Data) -> Tensor:
            return self.body(data.x, data.edge_index.flip(0))

    net = Backward(GCNConv(WIDTH, 2))
    torch.testing.assert_close(soft(net, keep.float(), data), net(without(data, keep)))


class TestNothingIsLeftBehind:
    def test_hooks_settings_and_state(self, data: Data) -> None:
        net = Stack()
        before, state = hooks(net), copy.deepcopy(net.state_dict())
        with SoftEdges(net) as run:
            run(torch.rand(9), data)
            assert net.state_dict().keys() == state.keys()
        assert hooks(net) == before
        assert net.convs[2].dropout == 0.5
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
        twin = copy.deepcopy(net).eval()
        assert torch.equal(twin(data), net.eval()(data))

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_after_an_exception_in_the_model(self, error: type[BaseException], data: Data) -> None:
        class Failing(Stack):
            def forward(self, data: Data) -> Tensor:
                super().forward(data)
                raise error

        net = Failing()
        before = hooks(net)
        with pytest.raises(error), SoftEdges(net) as run:
            run(torch.rand(9), data)
        assert hooks(net) == before
        assert net.convs[2].dropout == 0.5

    def test_after_a_refusal(self, data: Data) -> None:
        net = Stack()
        net.convs.append(SAGEConv(WIDTH, WIDTH, aggr="lstm"))
        before = hooks(net)
        with pytest.raises(TypeError):
            supports(net)
        assert hooks(net) == before
        assert net.convs[2].dropout == 0.5

    def test_supports_leaves_nothing_either(self) -> None:
        net = Stack()
        before = hooks(net)
        supports(net)
        assert hooks(net) == before


def test_compiled_parts_without_convolutions_are_fine(data: Data) -> None:
    net = Stack()
    net.head.compile(backend="eager")
    supports(net)


class TestUse:
    def test_only_inside_the_block(self, data: Data) -> None:
        run = SoftEdges(Stack())
        with pytest.raises(RuntimeError, match="inside its block"):
            run(torch.ones(9), data)
        with run:
            pass
        with pytest.raises(RuntimeError, match="inside its block"):
            run(torch.ones(9), data)
        with run:
            run(torch.ones(9), data)

    def test_entered_twice(self) -> None:
        with SoftEdges(Stack()) as run, pytest.raises(RuntimeError, match="entered already"):
            run.__enter__()

    def test_the_model_itself_does_not_run_inside_the_block(self, data: Data) -> None:
        net = Stack()
        with SoftEdges(net), pytest.raises(RuntimeError, match=r"only as soft\(gate, data\)"):
            net(data)

    def test_a_gate_that_has_no_effect(self, data: Data) -> None:
        class Unused(Net):
            def forward(self, data: Data) -> Tensor:
                return data.x

        with pytest.raises(RuntimeError, match="Unused ran no convolution"):
            soft(Unused(GCNConv(WIDTH, 2)), torch.ones(9), data)

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpoints_have_the_gradients_of_what_ran(self, reentrant: bool, data: Data) -> None:
        # Checkpointing runs the layer again in backward, when there is no gate any more.
        class Saving(Net):
            def forward(self, data: Data) -> Tensor:
                return checkpoint(self.body, data.x, data.edge_index, use_reentrant=reentrant)

        data.x.requires_grad_()
        saving, gate = Saving(SAGEConv(WIDTH, 2)), torch.rand(9, requires_grad=True)
        wanted = torch.autograd.grad(soft(Net(saving.body), gate, data).square().sum(), [gate, data.x])
        out = soft(saving, gate, data)
        found = torch.autograd.grad(out.square().sum(), [gate, data.x])
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other)

    def test_parts_without_gradients_are_detached_instead(self, data: Data) -> None:
        class Teaching(Net):
            def forward(self, data: Data) -> Tensor:
                with torch.no_grad():
                    return self.body(data.x, data.edge_index)

        net = Teaching(SAGEConv(WIDTH, 2))
        with pytest.raises(RuntimeError, match=r"body \(SAGEConv\) runs without gradients.*detach\(\)"):
            soft(net, torch.rand(9), data)
        with torch.no_grad():
            assert soft(net, torch.rand(9), data).shape == (6, 2)
        assert not any(hooks(net).values())

    @pytest.mark.filterwarnings("ignore::UserWarning")  # Dynamo's, about what it traces
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("conv", [SAGEConv, GATConv])
    def test_compiled_callers_cannot_skip_the_gate(self, conv: Any, data: Data) -> None:
        net, gate = Net(conv(WIDTH, 2)), torch.rand(9)
        expected = soft(net, gate, data)
        assert torch.equal(torch.compile(lambda gate: soft(net, gate, data), backend="eager")(gate), expected)
        torch._dynamo.reset()

    def test_data_parallel_wrappers_are_seen_through(self, data: Data, keep: Tensor) -> None:
        class Wrapper(nn.Module):
            def __init__(self, module: nn.Module) -> None:
                super().__init__()
                self.module = module

            def forward(self, *args: Any, **kwargs: Any) -> Any:
                return self.module(*args, **kwargs)

        net = GatedModel()
        assert torch.equal(soft(Wrapper(net), keep.float(), data), net(data, edge_gate=keep.float()))


def test_message_passing_without_its_hooks_is_noticed(data: Data) -> None:
    class Eager(SAGEConv):
        pass

    net = Net(Eager(WIDTH, 2))
    net.body.propagate = lambda edge_index, x, size: x[1]  # what a compiled propagate amounts to
    assert isinstance(net.body, MessagePassing)
    with pytest.raises(RuntimeError, match=r"body \(Eager\) has run without reading the gates"):
        soft(net, torch.ones(9), data)
