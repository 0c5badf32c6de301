"""Networks that remember their first graph or work in place: small ones compute the same on every graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import APPNP, GCN2Conv, GCNConv, SGConv

from graphprune.compaction import compact, coupled_channels, restored, save
from tests.compaction.nets import size, used, without


def graph(nodes: int) -> Data:
    """A ring with random features."""
    generator = torch.Generator().manual_seed(nodes)
    ring = torch.stack([torch.arange(nodes), torch.arange(nodes).roll(1)])
    return Data(x=torch.randn(nodes, 4, generator=generator), edge_index=torch.cat([ring, ring.flip(0)], 1))


class Net(nn.Module):
    """A convolution that may cache, between linear maps, over features that are scaled in place."""

    def __init__(self, conv: nn.Module, features: bool) -> None:
        super().__init__()
        self.start, self.conv, self.hidden, self.head = nn.Linear(4, 12), conv, nn.Linear(12, 12), nn.Linear(12, 3)
        self.features, self.graphs = features, 0

    def forward(self, data: Data) -> Tensor:
        self.graphs += 1
        data.x /= 2
        x = self.start(data.x)
        x = self.conv(x, x, data.edge_index) if self.features else self.conv(x, data.edge_index)
        return self.head(self.hidden(x.relu()).relu_())


CONVS: dict[str, tuple[Callable[[bool], nn.Module], bool]] = {
    "GCNConv": (lambda cached: GCNConv(12, 12, cached=cached), False),
    "SGConv": (lambda cached: SGConv(12, 12, K=2, cached=cached), False),
    "APPNP": (lambda cached: APPNP(K=3, alpha=0.2, cached=cached), False),
    "GCN2Conv": (lambda cached: GCN2Conv(12, 0.2, cached=cached), True),
}


def network(kind: str, cached: bool) -> nn.Module:
    torch.manual_seed(0)
    conv, features = CONVS[kind]
    return without(used(Net(conv(cached), features)), keep=("conv",))


def output(model: nn.Module, nodes: int) -> Any:
    with torch.no_grad():
        return model.eval()(graph(nodes))


@pytest.mark.parametrize("kind", CONVS)
def test_small_networks_are_right_on_other_graphs(kind: str) -> None:
    plain, cached, example = network(kind, False), network(kind, True), graph(6)
    kept = output(cached, 9)  # of which it keeps something
    before = copy.deepcopy(vars(cached.conv))
    small = compact(cached, example)
    assert size(small) < size(cached)
    for nodes in (6, 8, 5):  # one after the other
        torch.testing.assert_close(output(small, nodes), output(plain, nodes), atol=1e-5, rtol=1e-5)
    assert torch.equal(example.x, graph(6).x) and vars(cached.conv).keys() == before.keys()
    assert torch.equal(output(cached, 9), kept) and cached.conv.cached


@pytest.mark.parametrize("kind", CONVS)
def test_nothing_else_reads_or_leaves_a_cache(kind: str, tmp_path: Any) -> None:
    plain, cached, example = network(kind, False), network(kind, True), graph(6)
    output(cached, 9)
    kept, runs = {name: id(value) for name, value in vars(cached.conv).items()}, cached.graphs
    assert coupled_channels(cached, example) == coupled_channels(plain, example)
    small = restored(cached, compact(plain, example).state_dict())
    torch.testing.assert_close(output(small, 8), output(plain, 8), atol=1e-5, rtol=1e-5)
    assert {name: id(value) for name, value in vars(cached.conv).items()} == kept and cached.graphs == runs
    assert torch.equal(example.x, graph(6).x)


def test_exported_networks_are_right_on_other_graphs(tmp_path: Any) -> None:
    class Plain(Net):
        def forward(self, data: Data) -> Tensor:
            return self.head(self.conv(self.start(data.x), data.edge_index))

    torch.manual_seed(0)
    model = Plain(GCNConv(12, 12, cached=True), False).eval()
    output(model, 9)
    save(model, graph(6), tmp_path / "net.pt2")
    program, other = torch.export.load(tmp_path / "net.pt2").module(), graph(8)
    model.conv._cached_edge_index = None
    torch.testing.assert_close(program(other.x, other.edge_index), output(model, 8))


def test_small_networks_keep_nothing_that_a_pass_writes() -> None:
    small = compact(network("GCNConv", True), graph(6))
    assert small.graphs == 0 and small.conv._cached_edge_index is None


def test_copies_that_would_run_the_original_are_refused() -> None:
    model = network("GCNConv", False)
    forward = model.forward
    model.forward = lambda data: forward(data)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="replaced on the instance"):
        compact(model, graph(6))
