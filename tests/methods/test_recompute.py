"""Networks that save memory by computing twice are searched with the gradients that they have without."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torch_geometric.nn import DeepGCNLayer, GCNConv, GroupAddRev, SAGEConv, global_mean_pool

import graphprune as gp
from graphprune.data import GraphData
from graphprune.methods.clad.gated import _through
from tests.methods.graphs import small_data

WIDTH = 8
RUNS = {"forward": 0}


class Counted(SAGEConv):
    """Counts how often it runs."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        RUNS["forward"] += 1
        return super().forward(*args, **kwargs)


class Body(nn.Module):
    """Two convolutions between linear maps, the second computed in some way."""

    def __init__(self, middle: nn.Module, run: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.start, self.first = nn.Linear(3, WIDTH), GCNConv(WIDTH, WIDTH)
        self.middle, self.head, self.run = middle, nn.Linear(WIDTH, 2), run

    def forward(self, data: Any) -> Tensor:
        x = self.first(self.start(data.x).relu(), data.edge_index)
        return self.head(global_mean_pool(self.run(self.middle, x, data.edge_index), data.batch))


def plainly(conv: Any, x: Tensor, edges: Tensor) -> Tensor:
    return conv(x, edges)


def reentrant(conv: Any, x: Tensor, edges: Tensor) -> Tensor:
    return checkpoint(conv, x, edges, use_reentrant=True)


def hidden(conv: Any, x: Tensor, edges: Tensor) -> Tensor:
    return checkpoint(conv, x, edges, use_reentrant=False)


def nested(conv: Any, x: Tensor, edges: Tensor) -> Tensor:
    return checkpoint(lambda x: hidden(conv, x, edges).relu(), x, use_reentrant=True)


def in_parts(conv: Any, x: Tensor, edges: Tensor) -> Tensor:
    parts = [lambda x: conv(x, edges), torch.relu, lambda x: conv(x, edges)]
    return checkpoint_sequential(parts, 2, x, use_reentrant=True)


def in_parts_plainly(conv: Any, x: Tensor, edges: Tensor) -> Tensor:
    return conv(conv(x, edges).relu(), edges)


def deep(saving: bool) -> nn.Module:
    return DeepGCNLayer(Counted(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(), "res+", ckpt_grad=saving)


def invertible(saving: bool) -> nn.Module:
    return GroupAddRev(Counted(WIDTH // 2, WIDTH // 2), num_groups=2, disable=not saving)


# How the middle of the network is computed with and without saving memory.
KINDS: dict[str, tuple[Callable[[bool], nn.Module], Any, Any]] = {
    "reentrant": (lambda _: Counted(WIDTH, WIDTH), reentrant, plainly),
    "not reentrant": (lambda _: Counted(WIDTH, WIDTH), hidden, plainly),
    "nested": (lambda _: Counted(WIDTH, WIDTH), nested, lambda conv, x, edges: conv(x, edges).relu()),
    "sequential": (lambda _: Counted(WIDTH, WIDTH), in_parts, in_parts_plainly),
    "DeepGCNLayer": (deep, plainly, plainly),
    "GroupAddRev": (invertible, plainly, plainly),
}


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def network(kind: str, saving: bool) -> nn.Module:
    middle, run, plain = KINDS[kind]
    torch.manual_seed(0)
    return Body(middle(saving), run if saving else plain)


def predictor(data: GraphData) -> gp.EdgePredictor:
    torch.manual_seed(1)
    return gp.EdgePredictor.for_data(data, hidden=8, layers=2)


def icpg(gates: Any) -> Callable[[GraphData], Any]:
    return lambda data: gp.ICPG(
        rounds=1, edge_rate=0.3, weight_rate=0.2, predictor=predictor(data), edge_gates=gates, weight_scores="random"
    )


METHODS: dict[str, Callable[[GraphData], Any]] = {
    "ICPG soft": icpg("soft"),
    "ICPG gumbel": icpg("gumbel"),
    "ICPG top": icpg("top"),
    "GICP": lambda data: gp.GICP(densities=(0.6,), stop=1, predictor=predictor(data)),
    "UGS": lambda data: gp.UGS(rounds=1, edge_rate=0.3, weight_rate=0.2),
    "UGS weights": lambda data: gp.UGS(rounds=1, weight_rate=0.2, unseen="weights-only"),
}


class Stop(Exception):
    """Ends a search behind its first step."""


def gradients(method: Any, model: nn.Module, data: GraphData) -> dict[str, Tensor]:
    """All gradients of a search's second step, in which every method removes something."""
    found: dict[str, Tensor] = {}

    def fit(job: Any) -> Any:
        torch.manual_seed(3)
        batch, optimizer = job.data.train.batch(range(len(job.data.train))), torch.optim.SGD(job.param_groups(0.1))
        with job.attach(optimizer):
            functional.cross_entropy(job.model.train()(batch), batch.y).backward()
            optimizer.step()
            optimizer.zero_grad()
            functional.cross_entropy(job.model(batch), batch.y).backward()
            found.update({n: p.grad.clone() for n, p in job.model.named_parameters() if p.grad is not None})
            edges = getattr(job.model, "edges", None)
            if edges is not None:
                found["edges"] = edges._pending[-1][1].grad
            raise Stop

    with pytest.raises(Stop):
        list(method.rounds(model, data, fit))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_searches_have_the_gradients_of_the_same_network_without(method: str, kind: str, data: GraphData) -> None:
    plain, saving = network(kind, False), network(kind, True)
    saving.load_state_dict(plain.state_dict())
    made = METHODS[method](data)
    wanted, found = gradients(made, plain, data), gradients(made, saving, data)
    assert found.keys() == wanted.keys()
    shifts = ("head.bias", "convs.1.bias")  # of all logits of a graph, which gates of a share do not see
    assert all(bool(wanted[name].any()) for name in wanted if "predictor" in name and not name.endswith(shifts))
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_of_a_search_memory_is_saved_as_ever(kind: str, data: GraphData) -> None:
    model, batch = network(kind, True), data.train.batch(range(4))
    gradients(METHODS["ICPG soft"](data), copy.deepcopy(model), data)
    RUNS["forward"] = 0
    loss = model(batch).sum()
    before = RUNS["forward"]
    loss.backward()
    assert before and RUNS["forward"] > before  # the backward pass has run it again
    if kind == "GroupAddRev":
        assert not model.middle.disable  # type: ignore[union-attr]


def test_tickets_of_such_networks_train_on(data: GraphData) -> None:
    def fit(job: Any) -> Any:
        track, optimizer = job.track(), torch.optim.Adam(job.param_groups(0.01))
        batch = job.data.train.batch(range(len(job.data.train)))
        with job.attach(optimizer):
            RUNS["forward"] = 0
            functional.cross_entropy(job.model.train()(batch), batch.y).backward()
            optimizer.step()
            runs.append((job.phase, RUNS["forward"]))
            track.epoch(val=1.0)
        return track.result(lambda: 0.5)

    runs: list[tuple[str, int]] = []
    list(METHODS["ICPG soft"](data).rounds(network("reentrant", True), data, fit))
    assert runs == [("search", 1), ("ticket", 2)]


class Twice(torch.autograd.Function):
    """A user's own way to save memory."""

    @staticmethod
    def forward(ctx: Any, run: Any, x: Tensor) -> Any:
        ctx.run = run
        ctx.save_for_backward(x)
        return run(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.run(x).backward(grad)
        return None, x.grad


@pytest.mark.parametrize("method", METHODS)
def test_own_wrappers_that_compute_twice_are_refused_by_name(method: str, data: GraphData) -> None:
    torch.manual_seed(0)
    model = Body(SAGEConv(WIDTH, WIDTH), lambda conv, x, edges: Twice.apply(lambda x: conv(x, edges), x))
    with pytest.raises(RuntimeError, match=r"middle(\.lin_l)? \(\w+\) runs without gradients.*switch the wrapper off"):
        list(METHODS[method](data).rounds(model, data, lambda job: gradients_of(job)))


def gradients_of(job: Any) -> Any:
    batch = job.data.train.batch(range(len(job.data.train)))
    with job.attach(torch.optim.SGD(job.param_groups(0.1))):
        job.model.train()(batch).sum().backward()


class Layered(nn.Module):
    """Three maps, the middle one computed in some way."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.run = nn.ModuleList(nn.Linear(6, 6) for _ in range(3)), run

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.layers
        return third(self.run(second, first(x).tanh()).tanh())


@pytest.mark.parametrize("method", [gp.SNIP, gp.GraSP, gp.SynFlow])
def test_pruning_at_the_start(method: Any) -> None:
    batch = (torch.randn(8, 6), torch.randint(6, (8,)))
    plain, saving = (
        method(density=0.5).masks(Layered(run), [batch])
        for run in (lambda layer, x: layer(x), lambda layer, x: checkpoint(layer, x, use_reentrant=True))
    )
    assert plain.digest() == saving.digest()


def test_gates_of_filters() -> None:
    entries = {"layers.1.weight": SimpleNamespace(broadcast=lambda values, weight: values[:6, None])}
    found = []
    for run in (lambda layer, x: layer(x), lambda layer, x: checkpoint(layer, x, use_reentrant=True)):
        gates = torch.full((6,), 0.5, requires_grad=True)
        out = _through(Layered(run), SimpleNamespace(entries=entries), {"layers.1.weight": gates}, torch.ones(2, 6))
        out.square().sum().backward()
        found.append(gates.grad)
    assert bool(found[0].any())
    torch.testing.assert_close(found[1], found[0])
