"""Measurements leave model and inputs as they were, whatever a pass writes, and read nothing of another graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import APPNP, GCN2Conv, GCNConv, SGConv
from torch_geometric.utils import degree

from graphprune import measure, reading
from graphprune.masks import MaskSet


def graph(nodes: int) -> Data:
    """A ring."""
    generator = torch.Generator().manual_seed(nodes)
    ring = torch.stack([torch.arange(nodes), torch.arange(nodes).roll(1)])
    return Data(x=torch.randn(nodes, 4, generator=generator), edge_index=torch.cat([ring, ring.flip(0)], 1))


class Of(nn.Module):
    """A network of graphs around some function of module, features and arcs."""

    def __init__(self, body: nn.Module, run: Callable[[Any, Data], Tensor]) -> None:
        super().__init__()
        self.body, self.run, self.calls, self.seen = body, run, 0, list[int]()
        self.kept: Tensor | None = None
        self.register_buffer("total", torch.zeros(()))

    def forward(self, data: Data) -> Tensor:
        return self.run(self, data)


def conv(net: Any, data: Data) -> Tensor:
    return net.body(data.x, data.edge_index)


def first(net: Any, data: Data) -> Tensor:
    return net.body(data.x, data.x, data.edge_index)


def own_cache(net: Any, data: Data) -> Tensor:
    if net.kept is None:
        net.kept = degree(data.edge_index[1], data.num_nodes)
    return net.body(data.x) * net.kept[:, None]


def counting(net: Any, data: Data) -> Tensor:
    net.calls += 1
    net.seen.append(data.num_nodes)
    net.total += data.x.sum()
    net.total = net.total + 1
    return net.body(data.x)


def in_place(net: Any, data: Data) -> Tensor:
    data.x /= 2
    return net.body(data.x.relu_())


def replacing(net: Any, data: Data) -> Tensor:
    data.x = net.body(data.x)
    return data.x


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Data], Tensor]]] = {
    "GCNConv": (lambda: GCNConv(4, 2, cached=True), conv),
    "SGConv": (lambda: SGConv(4, 2, K=2, cached=True), conv),
    "APPNP": (lambda: APPNP(K=2, alpha=0.1, cached=True), conv),
    "GCN2Conv": (lambda: GCN2Conv(4, 0.1, cached=True), first),
    "a cache of its own": (lambda: nn.Linear(4, 2), own_cache),
    "counters": (lambda: nn.Linear(4, 2), counting),
    "in place": (lambda: nn.Linear(4, 2), in_place),
    "replacing": (lambda: nn.Linear(4, 6), replacing),
}


def network(kind: str) -> Of:
    torch.manual_seed(0)
    build, run = NETS[kind]
    return Of(build(), run)


def digest(model: nn.Module) -> dict[str, str]:
    """All that a model consists of, in words."""
    return {f"{name} {key}": repr(value) for name, part in model.named_modules() for key, value in vars(part).items()}


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("form", ["graph", "list", "batch"])
def test_reports(kind: str, form: str) -> None:
    model, graphs = network(kind).train(), [graph(5), graph(7)]
    samples: Any = {"graph": graphs[0], "list": graphs, "batch": Batch.from_data_list(graphs)}[form]
    own = kind == "a cache of its own"  # which cannot be told from any other attribute, and so runs on one batch only
    if not own:
        model(graph(3))  # whatever it keeps of this one
    before, given = digest(model), copy.deepcopy(samples)
    costs = measure.report(model, samples, batch_size=2 if own else 1, repeats=2)
    assert digest(model) == before
    for one, other in zip(graphs, [graph(5), graph(7)], strict=True):
        assert torch.equal(one.x, other.x) and one.keys() == other.keys()
    if form != "list":
        assert torch.equal(samples.x, given.x) and samples.keys() == given.keys()
    fresh = network(kind)
    assert costs.macs == measure.report(fresh, given, batch_size=2 if own else 1, repeats=2).macs
    assert digest(fresh) == digest(network(kind))


@pytest.mark.parametrize("kind", NETS)
def test_counting_multiplications(kind: str) -> None:
    model, data = network(kind), graph(5)
    before = digest(model)
    found = measure.count_macs(model, data)
    assert digest(model) == before
    assert found == measure.count_macs(model, data) and torch.equal(data.x, graph(5).x)


def test_a_pass_in_place_is_repeated_on_what_was_given() -> None:
    seen, model = [], network("in place")
    model.body.register_forward_pre_hook(lambda _, given: seen.append(given[0].abs().max().item()))
    measure.report(model, graph(5), repeats=4)
    assert len(set(seen)) == 1  # not halved again and again


def test_an_edge_scorer_in_place() -> None:
    model, data = network("GCNConv"), graph(5)
    scorer = Of(nn.Linear(4, 1), lambda net, given: in_place(net, given)[given.edge_index[0], 0])
    assert measure.report(model, data, scorer=scorer).macs == measure.report(model, graph(5)).macs
    assert torch.equal(data.x, graph(5).x)


def test_tracing_a_network_in_place() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    masks, example = MaskSet.dense(model), torch.randn(5, 4)
    before = example.clone()
    reading.trace(model, masks, example)
    reading.trim_(model, masks, example)
    assert torch.equal(example, before)


def test_an_exception_gives_all_back() -> None:
    model = network("counters")

    def failing(net: Any, data: Data) -> Tensor:
        counting(net, data)
        raise KeyboardInterrupt

    model.run = failing
    before = digest(model)
    with pytest.raises(KeyboardInterrupt):
        measure.count_macs(model, graph(5))
    assert digest(model) == before
