"""Copies compute with their own weights, and on the graph that they are given."""

import copy
import types
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch_geometric.nn import APPNP, FAConv, GCN2Conv, GCNConv, SGConv, SSGConv

from graphprune.masks.copies import forget_caches_, independent_copy, uncached_

ARCS = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.second(self.first(x).relu())


def double(self, x):
    return 2 * Net.forward(self, x)


def test_a_copy_has_the_same_outputs_and_weights_of_its_own():
    net, x = Net(), torch.randn(5, 3)
    made = independent_copy(net)
    assert torch.equal(made(x), net(x))
    made(x).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    assert all(p.grad is not None for p in made.parameters())


def test_a_forward_that_a_lambda_replaces_is_refused():
    net = Net()
    old = net.forward
    net.forward = lambda batch: old(batch)
    with pytest.raises(ValueError, match=r"the model \(Net\) has a forward that was replaced on the instance"):
        independent_copy(net)


def test_a_layer_whose_forward_is_replaced_is_refused_by_name():
    net = Net()
    net.first.forward = partial(nn.functional.linear, weight=net.first.weight)
    with pytest.raises(ValueError, match=r"the module 'first' \(Linear\) has a forward"):
        independent_copy(net)


def test_a_forward_that_is_a_method_of_the_module_goes_along():
    net, x = Net(), torch.randn(5, 3)
    net.forward = types.MethodType(double, net)
    made = independent_copy(net)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert not made(x).any() and net(x).any()


def closure(net):
    return lambda x: net.first(x)


def default(net):
    return lambda x, layer=net.first: layer(x)


HOLDERS = {
    "closure": closure,
    "default": default,
    "partial of a function": lambda net: partial(closure(net)),
    "weak reference": lambda net: weakref.ref(net),
    "a weak proxy in a closure": lambda net: (lambda layer: lambda x: layer(x))(weakref.proxy(net.second)),
    "in a list of functions": lambda net: [closure(net)],
    "in a dict of weak references": lambda net: {"up": weakref.ref(net.second)},
    "a parameter in a closure": lambda net: (lambda weight: lambda x: x @ weight)(net.first.weight),
    "in an object": lambda net: types.SimpleNamespace(inner=closure(net)),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_copies_by_reference_and_leads_back_is_refused(holder):
    net = Net()
    net.second.helper = HOLDERS[holder](net)
    with pytest.raises(ValueError, match=r"the module 'second' \(Linear\) keeps .* of the model in 'helper'"):
        independent_copy(net)


def test_a_hook_that_leads_back_is_refused():
    net = Net()
    net.first.register_forward_hook(lambda module, args, out: net.second(out))
    with pytest.raises(ValueError, match="'_forward_hooks'"):
        independent_copy(net)


def test_harmless_helpers_are_copied():
    net, seen = Net(), []
    net.activation = torch.relu
    net.scale = lambda x: 2 * x
    vars(net)["owner"] = net  # rebound by deepcopy
    net.encode = net.first.forward  # a bound method too
    net.gone = [weakref.ref(nn.Linear(1, 1)), weakref.proxy(net.second)]
    net.first.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    made = independent_copy(net)
    made(torch.randn(2, 3))
    assert made.owner is made and made.encode.__self__ is made.first and seen


def test_compiled_networks_are_copied():
    net, x = Net(), torch.randn(5, 3)
    made = independent_copy(torch.compile(net, backend="eager"))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert not made(x).any() and net(x).any()


def test_a_table_of_the_users_own_is_no_cache():
    net = Net()
    net._cached_table = torch.randn(3)
    assert torch.equal(independent_copy(net)._cached_table, net._cached_table)


class Uncopied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.product = self.weight * 2  # no leaf


def test_what_cannot_be_copied_is_named():
    with pytest.raises(ValueError, match=r"Sequential.1 \(Uncopied\) cannot be copied"):
        independent_copy(nn.Sequential(nn.Linear(2, 2), Uncopied()))


CACHED = {
    "GCNConv": lambda: GCNConv(3, 2, cached=True),
    "SGConv": lambda: SGConv(3, 2, K=2, cached=True),
    "SSGConv": lambda: SSGConv(3, 2, alpha=0.1, K=2, cached=True),
    "APPNP": lambda: APPNP(K=2, alpha=0.1, cached=True),
    "GCN2Conv": lambda: GCN2Conv(3, alpha=0.1, cached=True),
    "FAConv": lambda: FAConv(3, cached=True),
}


@pytest.mark.parametrize("name", CACHED)
def test_a_copy_has_not_seen_the_graph_that_the_original_cached(name):
    conv = CACHED[name]()
    run = (lambda c, arcs: c(x, x, arcs)) if name in ("GCN2Conv", "FAConv") else (lambda c, arcs: c(x, arcs))
    x, few = torch.randn(4, 3), ARCS[:, :1]
    bare = copy.deepcopy(conv)
    bare.cached = False
    expected = run(bare, few)
    run(conv, ARCS)
    made, other = independent_copy(conv), copy.deepcopy(conv)
    uncached_(other)
    torch.testing.assert_close(run(made, few), expected)
    run(other, ARCS)
    torch.testing.assert_close(run(other, few), expected)
    assert conv.cached and not torch.allclose(run(conv, few), expected)  # the original is as it was
    forget_caches_(conv)
    torch.testing.assert_close(run(conv, few), expected)
