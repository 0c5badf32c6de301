"""Heads: the weights behind which no other one acts on its way to the output."""

import copy

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GAT, GIN, GATv2Conv, GCNConv, TransformerConv, global_add_pool

from graphprune import prunable
from graphprune.masks.heads import HEADS, heads_of, keep_heads_

GRAPH = Data(x=torch.rand(5, 3, requires_grad=True), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]))
X = torch.rand(4, 3, requires_grad=True)


class Residual(nn.Module):
    """Two maps that are summed into the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.skip, self.last = nn.Linear(3, 6), nn.Linear(3, 2, bias=False), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(self.inner(x).relu()) + self.skip(x)


class Tied(nn.Module):
    """The first map and the head are one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.middle(self.first(x)).relu())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.variance = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x):
        x = self.body(x).relu()
        return {"mean": self.mean(x), "variance": (self.variance(x).exp(), None)}


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Parameter(torch.rand(3, 4))
        self.out = nn.Parameter(torch.rand(4, 2))

    def forward(self, x):
        return torch.einsum("ni,io->no", (x @ self.body).relu(), 2 * self.out).log_softmax(-1)


class OnGraphs(nn.Module):
    def __init__(self, net: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, data):
        x = self.net(data.x, data.edge_index)
        x = self.head(x, data.edge_index) if isinstance(self.head, GCNConv | GATv2Conv) else self.head(x)
        return global_add_pool(x, data.batch)


CASES = {
    "mlp": (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), {"2.weight"}),
    "norm and softmax behind": (
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2), nn.LogSoftmax(-1)),
        {"2.weight"},
    ),
    "convolutions": (
        nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 1), nn.ReLU(), nn.Conv1d(4, 2, 3), nn.Flatten()),
        {"3.weight"},
    ),
    "two maps into one sum": (Residual(), {"skip.weight", "last.weight"}),
    "tied": (Tied(), {"first.weight"}),
    "several outputs": (Twice(), {"mean.weight", "variance.weight"}),
    "functional": (Functional(), {"out"}),
    "one layer": (nn.Linear(3, 2), {"weight"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_leaves_the_model_is_found(case):
    model, expected = CASES[case]
    assert set(heads_of(model, model(X))) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (OnGraphs(GIN(3, 8, 2), nn.Linear(8, 2)), {"head.weight"}),
        (OnGraphs(GAT(3, 8, 2, jk="cat"), nn.Linear(8, 2)), {"head.weight"}),
        (OnGraphs(GIN(3, 8, 2), GCNConv(8, 2)), {"head.lin.weight"}),
        (OnGraphs(TransformerConv(3, 8), GATv2Conv(8, 2)), {"head.att", "head.lin_l.weight"}),
    ],
)
def test_networks_over_graphs(model, expected):
    assert expected <= set(heads_of(model, model(GRAPH))) <= expected | {"head.lin_r.weight", "head.att"}


class Counted(nn.Module):
    """Its first map reads what has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(torch.ones_like(x.detach())).relu())


def test_features_without_gradients_hide_no_product():
    model = Counted()
    for x in (X, X.detach()):
        assert heads_of(model, model(x)) == ("last.weight",)


def test_a_method_of_the_same_name_as_ever_is_no_mark():
    class Named(Residual):
        def head_parameters(self):
            return list(self.last.parameters())

    assert set(prunable()(Named()).selected) == {"inner.weight", "skip.weight", "last.weight"}


def test_what_is_detached_or_frozen_has_no_heads():
    model = CASES["mlp"][0]
    assert heads_of(model, model(X).detach()) == ()
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert heads_of(frozen, frozen(X.detach())) == ()


def test_heads_are_protected_in_the_model_and_its_copies_and_the_table_says_why():
    model = copy.deepcopy(CASES["two maps into one sum"][0])
    keep_heads_(model, heads_of(model, model(X)))
    for each in (model, copy.deepcopy(model), nn.ModuleDict({"inside": model})):
        found = prunable()(each)
        assert [name.rpartition("inside.")[2] for name in found.selected] == ["inner.weight"]
        assert "protected: head: it gives what leaves the model" in found.describe()
    assert prunable(include=["last.*"])(model).selected == ("inner.weight", "last.weight", "last.bias")
    assert HEADS not in model.state_dict()


def test_shared_heads_are_protected_under_each_name():
    model = copy.deepcopy(CASES["tied"][0])
    keep_heads_(model, heads_of(model, model(X)))
    assert prunable()(model).selected == ("middle.weight",)


def test_batches_of_graphs_are_as_single_ones():
    model, _ = OnGraphs(GIN(3, 8, 2), nn.Linear(8, 2)), None
    batch = Batch.from_data_list([GRAPH.clone().apply(torch.Tensor.detach, "x") for _ in range(2)])
    assert heads_of(model, model(batch)) == ("head.weight",)
