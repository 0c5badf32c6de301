"""What SoftEdges refuses: convolutions, settings, edges and gates, each by name."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINConv,
    PANConv,
    SAGEConv,
    Sequential,
    SGConv,
    TAGConv,
    TopKPooling,
    WLConv,
)
from torch_geometric.nn.aggr import SumAggregation
from torch_geometric.typing import OptTensor

from graphprune.graphs.soft.registry import register_soft_edges
from graphprune.graphs.soft.soft import SoftEdges, supports
from tests.graphs.samples import Net

WIDTH = 4


class Gated(nn.Module):
    """A module that takes its gates itself."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_gate: Tensor | None = None) -> Tensor:
        return x


@pytest.fixture
def data() -> Data:
    edges = torch.tensor([[0, 1, 1, 2, 3, 0, 4, 4, 2], [1, 0, 2, 1, 0, 3, 4, 0, 2]])
    return Data(x=torch.ones(6, WIDTH), edge_index=edges)


def soft(net: nn.Module, gate: Tensor, data: Data) -> Any:
    with SoftEdges(net) as run:
        return run(gate, data)


class Louder(GCNConv):
    def message(self, x_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return 2 * super().message(x_j, edge_weight)


class Halves(SumAggregation):
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().forward(*args, **kwargs) / 2


def compiled(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "other arithmetic": (lambda: Louder(WIDTH, 2), r"body \(Louder\): nobody has seen.*check_removal\(model, data\)"),
    "own aggregation": (lambda: GINConv(nn.Linear(WIDTH, 2), aggr=Halves()), "nobody has seen.* in Halves are removed"),
    "powers": (lambda: PANConv(WIDTH, 2, 2), "PANConv raises the adjacency to powers"),
    "no message passing": (lambda: WLConv(), "WLConv hashes neighbourhoods"),
    "cached": (lambda: GCNConv(WIDTH, 2, cached=True), r"body \(GCNConv\): cached=True"),
    "cached inside": (lambda: SGConv(WIDTH, 2, cached=True), r"body \(SGConv\): cached=True"),
    "sage lstm": (lambda: SAGEConv(WIDTH, 2, aggr="lstm"), r"body \(SAGEConv\): aggr='lstm'.*in a row"),
    "sage several": (lambda: SAGEConv(WIDTH, 2, aggr=["mean", "median"]), r"aggr=\['mean', 'median'\].*by their rank"),
    "compiled": (lambda: torch.compile(GCNConv(WIDTH, 2), backend="eager"), r"GCNConv\): compiled"),
    "compiled in place": (lambda: compiled(SAGEConv(WIDTH, 2)), r"body \(SAGEConv\): compiled"),
    "compiled around": (lambda: compiled(Sequential("x, e", [(GCNConv(4, 4), "x, e -> x")])), "compiled"),
    "compiled gated": (lambda: compiled(Gated()), r"body \(Gated\): compiled"),
    "no convolution": (lambda: nn.Linear(WIDTH, 2), "no convolution in Net"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(build: Callable[[], nn.Module], message: str) -> None:
    net = Net(build())
    with pytest.raises(TypeError, match=message):
        supports(net)
    with pytest.raises(TypeError, match=message), SoftEdges(net):
        pass


def test_scripted_modules_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Linear(WIDTH, 2))
    with pytest.raises(TypeError, match="scripted"):
        supports(Net(nn.ModuleList([GCNConv(WIDTH, 2), scripted])))


def test_every_refusal_is_named_at_once() -> None:
    net = nn.ModuleList([Louder(WIDTH, 2), GCNConv(WIDTH, 2), SAGEConv(WIDTH, 2, aggr="lstm")])
    with pytest.raises(TypeError, match=r"(?s)0 \(Louder\).*2 \(SAGEConv\)") as error:
        supports(net)
    assert "GCNConv" not in str(error.value)


class Changed(Net):
    """Gives its convolution something else than the graph's edges."""

    def __init__(self, body: nn.Module, change: Callable[[Data], tuple[Any, Any]]) -> None:
        super().__init__(body)
        self.change = change

    def forward(self, data: Data) -> Tensor:
        return self.body(*self.change(data))


def with_loops(data: Data) -> tuple[Tensor, Tensor]:
    return data.x, torch.cat([data.edge_index, torch.arange(6).expand(2, 6)], dim=1)


WRONG_EDGES: dict[str, tuple[Callable[[Data], tuple[Any, Any]], type[Exception], str]] = {
    "added": (with_loops, ValueError, "body: its 15 edges are not the 9 of data.edge_index"),
    "reordered": (lambda d: (d.x, d.edge_index.flip(1)), ValueError, "in their order"),
    "bipartite": (lambda d: ((d.x, d.x), d.edge_index), TypeError, "body: .*bipartite"),
    "sparse": (
        lambda d: (d.x, torch.ones(6, 6).to_sparse()),
        TypeError,
        "body: .*plain tensor",
    ),
    "edge-index": (lambda d: (d.x, EdgeIndex(d.edge_index, sparse_size=(6, 6))), TypeError, "EdgeIndex"),
    "matrix": (lambda d: (d.x, torch.ones(6, 6)), TypeError, r"\(2, num_edges\)"),
}


@pytest.mark.parametrize(("change", "error", "message"), WRONG_EDGES.values(), ids=WRONG_EDGES)
def test_convolutions_given_other_edges(change: Any, error: Any, message: str, data: Data) -> None:
    with pytest.raises(error, match=message):
        soft(Changed(SAGEConv(WIDTH, 2), change), torch.ones(9), data)


WRONG_GATES: dict[str, tuple[Any, type[Exception], str]] = {
    "short": (torch.ones(8), ValueError, r"shape \(8,\); data.edge_index needs \(9,\)"),
    "column": (torch.ones(9, 1), ValueError, r"shape \(9, 1\)"),
    "bool": (torch.ones(9, dtype=torch.bool), TypeError, "floating-point tensor, not torch.bool"),
    "integer": (torch.ones(9, dtype=torch.long), TypeError, "torch.int64"),
    "list": ([1.0] * 9, TypeError, "not list"),
    "nan": (torch.full((9,), float("nan")), ValueError, "NaN"),
    "negative": (torch.full((9,), -0.1), ValueError, "negative"),
    "infinite": (torch.full((9,), float("inf")), ValueError, "infinity"),
    "device": (torch.ones(9, device="meta"), ValueError, "gate is on meta and data.edge_index on cpu"),
}


@pytest.mark.parametrize(("gate", "error", "message"), WRONG_GATES.values(), ids=WRONG_GATES)
def test_wrong_gates(gate: Any, error: Any, message: str, data: Data) -> None:
    with pytest.raises(error, match=message):
        soft(Net(GCNConv(WIDTH, 2)), gate, data)


@pytest.mark.parametrize("value", [None, "edges", torch.eye(3).to_sparse()], ids=["none", "text", "sparse"])
def test_data_without_plain_edges(value: Any) -> None:
    with pytest.raises(TypeError, match="data: soft edges need edge_index"):
        soft(Net(GCNConv(WIDTH, 2)), torch.ones(9), Data(x=torch.ones(3, WIDTH), edge_index=value))


class Pooled(nn.Module):
    """A network whose second convolution sees other edges."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool, self.second = GCNConv(WIDTH, WIDTH), TopKPooling(WIDTH), GCNConv(WIDTH, 2)

    def run(self, data: Data, weight: Tensor | None) -> Tensor:
        x = self.first(data.x, data.edge_index, weight)
        x, edge_index, weight, *_ = self.pool(x, data.edge_index, weight)
        return self.second(x, edge_index, weight)

    def forward(self, data: Data) -> Tensor:
        return self.run(data, None)


class GatedPooled(Pooled):
    """The same as the message says."""

    def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
        return self.run(data, torch.ones(data.num_edges) if edge_gate is None else edge_gate)


def test_pooling_is_told_the_way_that_works(data: Data) -> None:
    torch.manual_seed(0)
    net, data.x, gate = Pooled(), torch.randn(6, WIDTH), torch.ones(9)
    with pytest.raises(ValueError, match=r"second: its \d edges are not the 9.*TopKPooling.*a parameter edge_gate"):
        soft(net, gate, data)
    gate[3:6] = 0
    gated = GatedPooled()
    gated.load_state_dict(net.state_dict())
    wanted = net(Data(x=data.x, edge_index=data.edge_index[:, gate > 0]))
    torch.testing.assert_close(soft(gated, gate, data), wanted)


def by_weight(conv: Any, gate: Any) -> list[Any]:
    """An adapter as one writes it first: gates as weights of the edges."""

    def weigh(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {**kwargs, "edge_weight": gate()}

    return [conv.register_forward_pre_hook(weigh, with_kwargs=True)]


class Weighed(TAGConv):
    pass


register_soft_edges(Weighed, by_weight)


class TestGradients:
    def net(self) -> nn.Module:
        torch.manual_seed(0)
        return Net(Sequential("x, e", [(GCNConv(WIDTH, WIDTH), "x, e -> x"), (Weighed(WIDTH, 2), "x, e -> x")]))

    def alone(self, data: Data) -> Tensor:
        """A gate that takes all edges of node 3."""
        return (data.edge_index != 3).all(0).float().requires_grad_()

    def test_a_convolution_that_has_none_is_named(self, data: Data) -> None:
        out = soft(self.net(), self.alone(data), data)
        assert bool(out.isfinite().all())
        with pytest.raises(RuntimeError, match=r"body.module_1 \(Weighed\): the gradient of its gates is not finite"):
            out.sum().backward()

    def test_one_that_is_given_none_is_not_blamed(self, data: Data) -> None:
        gate = torch.ones(9, requires_grad=True)
        (soft(self.net(), gate, data).sum() * float("nan")).backward()
        assert gate.grad is not None and bool(gate.grad.isnan().all())

    def test_gradient_scalers_go_on(self, data: Data) -> None:
        gate = self.alone(data)
        with torch.autocast("cpu", torch.float16):
            soft(self.net(), gate, data).sum().backward()
        assert gate.grad is not None and bool(gate.grad.isnan().any())

    @pytest.mark.parametrize("conv", [GCNConv, SAGEConv, GATConv])
    def test_ours_have_gradients(self, conv: Any, data: Data) -> None:
        gate = self.alone(data)
        soft(Net(conv(WIDTH, 2)), gate, data).sum().backward()
        assert gate.grad is not None and bool(gate.grad.isfinite().all())
