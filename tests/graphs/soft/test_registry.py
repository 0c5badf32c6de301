"""Teaching soft edges a convolution of one's own."""

import doctest
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from graphprune.graphs.soft import registry
from graphprune.graphs.soft.registry import register_soft_edges
from graphprune.graphs.soft.soft import SoftEdges, supports


class Net(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, data: Data) -> Tensor:
        return self.conv(data.x, data.edge_index)


class Total(MessagePassing):
    """Adds up the neighbours' features."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(aggr="sum")
        self.scale = scale

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x)

    def message(self, x_j: Tensor) -> Tensor:
        return self.scale * x_j


class Preset(Total):
    """The same arithmetic."""

    def __init__(self) -> None:
        super().__init__(scale=3.0)


class Squared(Total):
    """Other arithmetic."""

    def message(self, x_j: Tensor) -> Tensor:
        return x_j**2


class Plain(nn.Module):
    """No message passing of PyG's at all."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])


def total(conv: Any, gate: Any) -> list[Any]:
    if conv.scale < 0:
        raise TypeError("a negative scale cannot be gated")
    return [conv.register_message_forward_hook(lambda _c, _i, message: message * gate().unsqueeze(-1))]


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ADAPTERS", dict(registry._ADAPTERS))
    register_soft_edges(Total, total)


@pytest.fixture
def data() -> Data:
    return Data(x=torch.arange(6.0).view(3, 2), edge_index=torch.tensor([[0, 1, 2, 2], [1, 2, 0, 2]]))


@pytest.mark.usefixtures("taught")
@pytest.mark.parametrize("conv", [Total(), Preset()], ids=["class", "subclass"])
def test_taught_convolution(conv: nn.Module, data: Data) -> None:
    keep = torch.tensor([True, False, True, False])
    with SoftEdges(Net(conv)) as soft:
        out = soft(keep.float(), data)
    assert torch.equal(out, conv(data.x, data.edge_index[:, keep]))


@pytest.mark.usefixtures("taught")
def test_subclass_with_other_arithmetic_has_to_be_taught_itself() -> None:
    with pytest.raises(TypeError, match=r"gates of 0 in Squared.*register_soft_edges"):
        supports(Net(Squared()))
    register_soft_edges(Squared, total)
    supports(Net(Squared()))


@pytest.mark.usefixtures("taught")
def test_refusal_by_an_adapter_is_passed_on() -> None:
    with pytest.raises(TypeError, match=r"conv \(Total\): a negative scale"):
        supports(Net(Total(scale=-1.0)))


@pytest.mark.usefixtures("taught")
def test_module_that_is_no_message_passing(data: Data) -> None:
    def features_off(module: nn.Module, gate: Any) -> list[Any]:
        def hook(_module: nn.Module, args: Any, out: Tensor) -> Tensor:
            x, edge_index = args
            return torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]] * gate()[:, None])

        return [module.register_forward_hook(hook)]

    register_soft_edges(Plain, features_off)
    keep = torch.tensor([True, False, True, False])
    with SoftEdges(Net(Plain())) as soft:
        assert torch.equal(soft(keep.float(), data), Plain()(data.x, data.edge_index[:, keep]))


@pytest.mark.usefixtures("taught")
def test_adapter_that_ignores_the_gate_is_noticed(data: Data) -> None:
    register_soft_edges(Plain, lambda module, gate: [])
    with (
        SoftEdges(Net(Plain())) as soft,
        pytest.raises(RuntimeError, match=r"conv \(Plain\) has run without reading the gates"),
    ):
        soft(torch.ones(4), data)


@pytest.mark.usefixtures("taught")
def test_an_adapter_is_not_replaced() -> None:
    with pytest.raises(ValueError, match="Total has an adapter already"):
        register_soft_edges(Total, total)


@pytest.mark.parametrize("bad", [Total(), int, "GCNConv"])
def test_only_module_classes_can_be_taught(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"conv_class must be a subclass of torch\.nn\.Module"):
        register_soft_edges(bad, total)


@pytest.mark.usefixtures("taught")
def test_documented_example_runs() -> None:
    example = next(test for test in doctest.DocTestFinder().find(register_soft_edges) if test.examples)
    assert doctest.DocTestRunner().run(example).failed == 0
