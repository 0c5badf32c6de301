"""The `repr` of `Sparsify` tells all that a scorer of the user's holds."""

import copy
import functools
import math
import os
import subprocess
import sys
import threading

import numpy as np
import torch
from torch import nn

from graphprune import Sparsify


class Keeps(nn.Module):
    """Scores by whatever it keeps, in a module within."""

    def __init__(self, thing):
        super().__init__()
        self.inner = nn.Module()
        self.inner.thing = thing

    def forward(self, data):
        return data.edge_index[0].double()


class Power:
    def __init__(self, power):
        self.power = power

    def __repr__(self):
        return "Power()"


def kept_things():
    """Things of which no two are the same."""
    first, second = torch.arange(3.0), torch.arange(3)
    plain = [
        None,
        1,
        1.0,
        True,
        "1",
        b"1",
        [1.0, 2.0],
        [2.0, 1.0],
        (1.0, 2.0),
        [[1.0], 2.0],
        {1: 2},
        {2: 1},
        {"1": [2]},
    ]
    arrays = [first, second, [first], first[:2], first + 1e-6, first.numpy(), np.arange(2000), np.arange(2000) % 1999]
    objects = [
        {3, 1, 2},
        {3, 1},
        frozenset({1}),
        Power(2),
        Power(3),
        [Power(2)],
        np.float32(1),
        torch.float32,
        nn.ELU(),
        nn.ELU(2.0),
    ]
    calls = [torch.relu, torch.sin, math.sin, np.sin, nn.functional.elu, Power]
    return (
        plain
        + arrays
        + objects
        + calls
        + [functools.partial(torch.add, alpha=2), functools.partial(torch.add, alpha=3)]
    )


def test_all_that_a_scorer_holds_is_in_the_repr():
    things = kept_things()
    texts = [repr(Sparsify(Keeps(thing), keep=0.4)) for thing in things]
    assert len(set(texts)) == len(texts)
    again = [repr(Sparsify(Keeps(thing), keep=0.4)) for thing in copy.deepcopy(things)]
    assert [text for text, other in zip(texts, again, strict=True) if text != other] == []
    weights, module = nn.Linear(2, 2), Keeps(None)
    module.register_buffer("seen", torch.zeros(2), persistent=False)
    before = repr(Sparsify(module, keep=0.4))
    module.seen += 1
    assert repr(Sparsify(module, keep=0.4)) != before
    texts = [repr(Sparsify(Keeps(thing), keep=0.4)) for thing in (weights, copy.deepcopy(weights), nn.Linear(2, 2))]
    assert texts[0] == texts[1] != texts[2]
    weights.around = module.around = [weights, module]  # which hold each other
    assert repr(Sparsify(weights, keep=0.4)) == repr(Sparsify(weights, keep=0.4)) != repr(Sparsify(module, keep=0.4))


def test_what_has_no_name_is_never_taken_for_the_same():
    def named(data):
        return data

    class NoCopy:
        __slots__ = ()

        def __reduce_ex__(self, protocol):
            raise TypeError("not to be copied")

    things = [lambda data: data, lambda data: data, named, (value for value in ()), threading.Lock(), threading.Lock()]
    thin = [Sparsify(Keeps(thing), keep=0.4) for thing in things]
    texts = [repr(each) for each in thin]
    assert len(set(texts)) == len(texts) and texts[:4] == [repr(each) for each in thin[:4]]
    assert repr(copy.deepcopy(thin[0])) == texts[0]  # the same function
    met = {repr(Sparsify(Keeps(eval("lambda data: data")), keep=0.4)) for _ in range(50)}  # whose place is taken again
    assert len(met) == 50
    first, second = (np.frompyfunc(function, 1, 1) for function in (things[0], things[1]))  # of one name
    assert repr(Sparsify(Keeps(first), keep=0.4)) != repr(Sparsify(Keeps(second), keep=0.4))
    slotted = Sparsify(Keeps(NoCopy()), keep=0.4)
    assert repr(slotted) != repr(slotted)


SAID = """
import torch
from torch_geometric.nn import GATConv, GCNConv
from graphprune import EdgePredictor, Sparsify
torch.manual_seed(0)
module = torch.nn.Sequential(GCNConv(2, 2), GATConv(2, 2))
module.kinds, module.act = {"a", "b", "c"}, torch.relu
print(Sparsify(module, keep=0.4), Sparsify(EdgePredictor(4, hidden=8), keep=0.4))
module.act = lambda values: values
print(Sparsify(module, keep=0.4))
"""


def test_the_next_process_says_the_same():
    texts = [
        subprocess.run(
            [sys.executable, "-c", SAID],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert texts[0][0] == texts[1][0] and texts[0][1] != texts[1][1]
