"""Batch norms counted anew: over parts that are alike, and nothing else of the network is touched."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.methods.core.norms import kept_norms, recalibrate_, strided_parts
from tests.methods.graphs import plain_fit, small_data


@given(st.integers(1, 400), st.integers(1, 60))
def test_parts_are_of_one_size_and_spread_over_all_samples(count: int, most: int) -> None:
    parts = strided_parts(range(count), most)  # type: ignore[arg-type]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1
    for part in parts:  # none lies to one side
        assert abs(float(part.double().mean()) - (count - 1) / 2) <= len(parts) / 2


def test_samples_that_are_stored_by_class_have_the_statistics_of_all() -> None:
    samples = torch.cat([torch.randn(300, 4), torch.randn(300, 4) + 5])
    norm = nn.BatchNorm1d(4)
    recalibrate_(norm, [samples[part] for part in strided_parts(samples, 64)])  # type: ignore[arg-type]
    torch.testing.assert_close(norm.running_mean, samples.mean(0))
    torch.testing.assert_close(norm.running_var, samples.var(0), rtol=0.02, atol=0)


def test_a_network_that_fails_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3), nn.Dropout()).train()
    with pytest.raises(RuntimeError, match="shapes"):
        recalibrate_(model, [torch.ones(2, 5)])
    assert model[1].momentum == 0.3 and all(module.training for module in model.modules())
    with pytest.raises(ValueError, match="without a batch"):
        recalibrate_(model, [])
    recalibrate_(nn.Linear(2, 2), [])  # nothing to count


class Renamed(nn.Module):
    """A batch norm whose statistics have names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("mu", torch.zeros(4))
        self.register_buffer("sigma2", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mu.lerp_(x.mean(0), self.momentum)  # type: ignore[operator]
            self.sigma2.lerp_(x.var(0), self.momentum)  # type: ignore[operator]
        return (x - self.mu) / self.sigma2.sqrt()  # type: ignore[operator]


def test_names_of_statistics_do_not_matter() -> None:
    samples, norm = torch.randn(256, 4) + 5, Renamed()
    parts = [samples[part] for part in strided_parts(samples, 64)]  # type: ignore[arg-type]
    recalibrate_(norm, parts)
    torch.testing.assert_close(norm.mu, samples.mean(0))
    torch.testing.assert_close(norm.sigma2, torch.stack([part.var(0) for part in parts]).mean(0))
    assert norm.momentum == 0.1


# ---------------------------------------------------------------------- what kinds of norms there are


class Whole(nn.Module):
    """A norm as a network of graphs calls it."""

    def __init__(self, norm: nn.Module, *names: str) -> None:
        super().__init__()
        self.norm, self.names = norm, names

    def forward(self, data: Data) -> Tensor:
        return self.norm(data.x, *(data[name] for name in self.names))


def graphs() -> Batch:
    """Twelve graphs of four nodes, ordered by their features."""
    generator = torch.Generator().manual_seed(0)
    return Batch.from_data_list([Data(x=torch.randn(4, 3, generator=generator) * (1 + n) + n) for n in range(12)])


def parts() -> list[Batch]:
    return [Batch.from_data_list(graphs()[part]) for part in strided_parts(range(12), 5)]  # type: ignore[arg-type]


def of_all_nodes(_: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over parts of each part's mean and variance."""
    found = [part.x for part in parts()]
    return torch.stack([x.mean(0) for x in found]).mean(0), torch.stack([x.var(0) for x in found]).mean(0)


def of_each_graph(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over graphs of each graph's mean and variance."""
    return x.view(12, 4, 3).mean((0, 1)), x.view(12, 4, 3).var(1).mean(0)


class Own(nn.Module):
    """A user's own norm, with a rule of its own for its statistics."""

    def __init__(self, rule: Callable[[Any, Tensor, Tensor], Tensor], momentum: float | None = 0.1) -> None:
        super().__init__()
        self.register_buffer("moving_average", torch.full((3,), 7.0))
        self.rule = rule
        if momentum is not None:
            self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.moving_average = self.rule(self, self.moving_average, x.mean(0))
            return x - x.mean(0)
        return x - self.moving_average


def follow(self: Any, old: Tensor, new: Tensor) -> Tensor:
    return (1 - self.momentum) * old + self.momentum * new


class Sub(nn.BatchNorm1d):
    """A user's norm made from torch's."""


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], tuple[Tensor, Tensor]]]] = {
    "batch": (lambda: Whole(nn.BatchNorm1d(3)), of_all_nodes),
    "batch, cumulative": (lambda: Whole(nn.BatchNorm1d(3, momentum=None)), of_all_nodes),
    "batch, PyG's": (lambda: Whole(pyg.BatchNorm(3, allow_single_element=True)), of_all_nodes),
    "batch, several processes": (lambda: Whole(nn.SyncBatchNorm(3)), of_all_nodes),
    "batch, a class made from it": (lambda: Whole(Sub(3)), of_all_nodes),
    "batch, of frozen weights": (lambda: Whole(nn.BatchNorm1d(3).requires_grad_(False)), of_all_nodes),
    "groups": (lambda: Whole(pyg.DiffGroupNorm(3, groups=1)), of_all_nodes),
    "instance": (lambda: Instances(nn.InstanceNorm1d(3, track_running_stats=True)), of_each_graph),
    "instance, PyG's": (lambda: Whole(pyg.InstanceNorm(3, track_running_stats=True), "batch"), of_each_graph),
    "own": (lambda: Whole(Own(follow)), of_all_nodes),
}


class Instances(Whole):
    """Torch's instance norm over graphs of one size."""

    def forward(self, data: Data) -> Tensor:
        return self.norm(data.x.view(-1, 4, 3).transpose(1, 2))


@pytest.mark.parametrize("kind", NORMS)
def test_each_kind_of_norm_has_the_statistics_of_the_graphs(kind: str) -> None:
    build, reference = NORMS[kind]
    model, data = build().train(), parts()
    for value in model.buffers():  # of another training
        value.add_(3)
    momenta = [getattr(module, "momentum", 0) for module in model.modules()]
    for _ in range(2):  # the second time from where the first has ended
        recalibrate_(model, data)
        found = [value for value in model.buffers() if value.is_floating_point()]
        for value, wanted in zip(found, reference(graphs().x), strict=False):
            torch.testing.assert_close(value, wanted)
        assert all(module.training for module in model.modules())
        assert [getattr(module, "momentum", 0) for module in model.modules()] == momenta
        assert not any(module._forward_pre_hooks for module in model.modules())


REFUSED: dict[str, Own] = {
    "the other way round": Own(lambda self, old, new: self.momentum * old + (1 - self.momentum) * new),
    "a fixed rate": Own(lambda self, old, new: 0.9 * old + 0.1 * new),
    "no momentum": Own(lambda self, old, new: 0.9 * old + 0.1 * new, momentum=None),
    "the last batch": Own(lambda self, old, new: new),
    "a sum": Own(lambda self, old, new: old + new),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_norms_that_follow_another_rule_are_refused_by_name(kind: str) -> None:
    model = nn.Sequential(OrderedDict(inner=Whole(copy.deepcopy(REFUSED[kind]))))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"statistics of inner.norm \(Own\) cannot be counted again.*momentum"):
        recalibrate_(model, parts())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Kept(nn.Module):
    """A norm that no training moves, by one of several choices, beside one that it does."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.kept, self.norm, self.unused = norm, nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, data: Data) -> Tensor:
        x = self.kept(data.x)
        return self.norm(self.norm(x))  # twice in a pass


class Asleep(Kept):
    def train(self, mode: bool = True) -> Kept:
        super().train(mode)
        self.kept.eval()
        return self


class Constant(Own):
    def forward(self, x: Tensor) -> Tensor:
        return x - self.moving_average


FROZEN: dict[str, Callable[[], nn.Module]] = {
    "momentum of 0": lambda: Kept(nn.BatchNorm1d(3, momentum=0.0)),
    "train() is overridden": lambda: Asleep(nn.BatchNorm1d(3)),
    "constants": lambda: Kept(Constant(follow)),
}


@pytest.mark.parametrize("kind", FROZEN)
def test_norms_that_are_frozen_or_do_not_run_stay(kind: str) -> None:
    torch.manual_seed(0)
    model = FROZEN[kind]()
    for value in (*model.kept.buffers(), *model.unused.buffers()):
        value.add_(3)
    before, x = copy.deepcopy(model.state_dict()), [part.x for part in parts()]
    recalibrate_(model, parts())
    for name, value in model.state_dict().items():
        if not name.startswith("norm."):
            assert torch.equal(value, before[name]), name
    runs = []  # of the norm: what the frozen one gives, and what it makes of this itself
    for each in x:
        given = copy.deepcopy(model.kept).eval()(each)
        runs += [given, nn.functional.batch_norm(given, None, None, training=True)]
    torch.testing.assert_close(model.norm.running_mean, torch.stack([each.mean(0) for each in runs]).mean(0))
    torch.testing.assert_close(model.norm.running_var, torch.stack([each.var(0) for each in runs]).mean(0))


def test_norms_that_a_training_has_kept_are_told_from_the_others() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = copy.deepcopy(model.state_dict())
    model[0].eval()
    model(torch.randn(5, 3))
    assert kept_norms(before, model) == {"0"}
    kept = model[0].running_mean.clone()
    recalibrate_(model, [torch.randn(5, 3)], kept_norms(before, model))
    assert torch.equal(model[0].running_mean, kept)
    assert kept_norms(nn.BatchNorm1d(3).state_dict(), nn.BatchNorm1d(3)) == {""}


class Net(nn.Module):
    """A network of graphs with two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.conv = nn.BatchNorm1d(3), pyg.GCNConv(3, 4)
        self.norm, self.head = pyg.InstanceNorm(4, track_running_stats=True), nn.Linear(4, 2)

    def hidden(self, data: Data) -> Tensor:
        out: Tensor = self.conv(self.kept(data.x), data.edge_index)
        return out

    def forward(self, data: Data) -> Tensor:
        return self.head(pyg.global_mean_pool(self.norm(self.hidden(data), data.batch), data.batch))


def test_tickets_of_gicp_have_the_statistics_of_their_pruned_graphs() -> None:
    data = small_data()
    torch.manual_seed(0)
    model, predictor = Net(), gp.EdgePredictor.for_data(data, hidden=8, layers=1)
    with torch.no_grad():
        model.kept.running_mean.fill_(2.0)

    def fit(job: Any) -> Any:
        train = job.model.train
        job.model.train = lambda mode=True: (train(mode), job.model.model.kept.eval())[0]
        return plain_fit(3)(job)

    for ticket in gp.GICP(densities=(0.8, 0.4), stop=2, predictor=predictor).rounds(model, data, fit):
        built = ticket.build(model).eval()
        pruned = ticket.prune(data.train)
        with torch.no_grad():
            hidden = [built.hidden(graph) for graph in pruned]
        mean = torch.stack([x.mean(0) for x in hidden]).mean(0)
        torch.testing.assert_close(built.norm.running_mean, mean)
        torch.testing.assert_close(built.norm.running_var, torch.stack([x.var(0) for x in hidden]).mean(0))
        assert torch.equal(built.kept.running_mean, model.kept.running_mean)


def test_convolutions_that_cache_see_each_batch() -> None:
    class Cached(nn.Module):
        def __init__(self, cached: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.norm = pyg.GCNConv(3, 4, cached=cached), nn.BatchNorm1d(4)

        def forward(self, data: Data) -> Tensor:
            return self.norm(self.conv(data.x, data.edge_index))

    graphs = small_data().train
    wanted, found = Cached(False), Cached(True)
    for model in (wanted, found):
        recalibrate_(model, [graphs.batch(part) for part in strided_parts(graphs, 5)])
    assert found.conv._cached_edge_index is None
    torch.testing.assert_close(found.norm.running_mean, wanted.norm.running_mean)
