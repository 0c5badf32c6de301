"""What is handed in as a network or an optimiser: what is none is named, with the right call."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, Sequential, global_mean_pool

import graphprune as gp
from graphprune.data.evaluation import evaluate
from graphprune.masks.networks import check_forward, logits_of
from graphprune.measure import report
from tests.train.tiny import tiny

DATA = tiny()
FIT = gp.train.Fit(epochs=1, batch_size=8)


class Net(nn.Module):
    """Plain PyG, called with one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = GCNConv(4, 8), nn.Linear(8, DATA.num_outputs)

    def logits(self, x: Tensor, edge_index: Tensor, batch: Tensor | None) -> Tensor:
        return self.head(global_mean_pool(self.conv(x, edge_index).relu(), batch))

    def forward(self, data: Any) -> Any:
        return self.logits(data.x, data.edge_index, data.batch)


class Usual(Net):
    def forward(self, x, edge_index, batch):
        return self.logits(x, edge_index, batch)


class Optional(Net):
    def forward(self, x, edge_index, edge_attr=None, batch=None):
        return self.logits(x, edge_index, batch)


class Named(Net):
    def forward(self, x, *, edge_index, batch=None):
        return self.logits(x, edge_index, batch)


class Nothing(Net):
    def forward(self):
        return torch.zeros(1)


class Pair(Net):
    def forward(self, data):
        return super().forward(data), None


class Mapped(Net):
    def forward(self, data):
        return {"out": super().forward(data)}


WRAPPED = {
    Usual: r"returns super\(\).forward\(data.x, data.edge_index, data.batch\)",
    Optional: r"forward\(data.x, data.edge_index, edge_attr=data.edge_attr, batch=data.batch\)",
    Named: r"forward\(data.x, data.edge_index, batch=data.batch\)",
    Nothing: r"\(\) is called with one batch",
}
PREDICTOR = gp.EdgePredictor.for_data(DATA, hidden=4)
METHODS = {
    "dense": gp.Dense(),
    "imp": gp.IMP(rounds=1),
    "fggp": gp.FGGP(density=0.5, stop=1, every=1),
    "icpg": gp.ICPG(rounds=1, predictor=PREDICTOR),
    "snip": gp.SNIP(density=0.5),
}
CALLS = {name: lambda net, method=method: list(method.rounds(net, DATA, FIT)) for name, method in METHODS.items()} | {
    "evaluate": lambda net: evaluate(net, DATA.val, DATA),
    "report": lambda net: report(net, DATA.val),
    "compact": lambda net: gp.compact(net, DATA.train.batch(range(4))),
    "check_removal": lambda net: gp.check_removal(net, DATA),
    "at_init": lambda net: gp.SNIP(density=0.5).masks(net, [DATA.train.batch(range(4))]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", WRAPPED)
def test_networks_with_other_arguments_are_told_how_to_be_wrapped(kind: type[Net], call: str) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__}.forward.*{WRAPPED[kind]}"):
        CALLS[call](kind())


def test_the_lines_that_wrap_a_network_are_right() -> None:
    torch.manual_seed(0)

    class Wrapped(Usual):
        def forward(self, data):
            return super().forward(data.x, data.edge_index, data.batch)

    own = Wrapped()
    plain = Net()
    plain.load_state_dict(own.state_dict())  # the names of weights stay
    assert evaluate(own, DATA.val, DATA) == evaluate(plain, DATA.val, DATA)
    (ticket,) = METHODS["imp"].rounds(own, DATA, FIT)
    assert ticket.row["weight_sparsity"] > 0


def test_a_sequential_of_pyg_is_told_too() -> None:
    net = Sequential(
        "x, edge_index, batch", [(GCNConv(4, 2), "x, edge_index -> x"), (global_mean_pool, "x, batch -> x")]
    )
    with pytest.raises(TypeError, match=r"returns super\(\).forward\(data.x, data.edge_index, data.batch\)"):
        check_forward(net)


@pytest.mark.parametrize("call", [*METHODS, "evaluate", "at_init"])
@pytest.mark.parametrize(("kind", "told"), [(Pair, r"returns a tuple.*\[0\]"), (Mapped, r"returns a dict.*\['out'\]")])
def test_networks_that_return_more_than_logits_are_told(kind: type[Net], told: str, call: str) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} {told}"):
        CALLS[call](kind())


@pytest.mark.parametrize("found", [None, [torch.ones(1)], 3.0, {}, ()])
def test_what_is_no_tensor_is_no_logits(found: Any) -> None:
    with pytest.raises(TypeError, match=f"returns a {type(found).__name__}, expected its logits alone"):
        logits_of(Net(), found)


def test_a_pair_in_a_loop_of_ones_own_is_nobody_elses_business() -> None:
    def fit(job):
        optimizer, track = torch.optim.SGD(job.param_groups(lr=0.1), lr=0.1), job.track()
        with job.attach(optimizer):
            logits, _ = job.model(batch := job.data.train.batch(range(8)))
            nn.functional.cross_entropy(logits, batch.y).backward()
            optimizer.step()
        track.epoch(val=0.5)
        return track.result(test=lambda: 0.5)

    (ticket,) = METHODS["imp"].rounds(Pair(), DATA, fit)
    assert ticket.row["val_metric"] == 0.5


NONE = [gp.models.GIN, None, "gin", len, DATA]
TAKES_A_MODEL = {name: call for name, call in CALLS.items() if name != "check_removal"} | {
    "masks": gp.MaskSet.dense,
    "from_zeros": gp.MaskSet.from_zeros,
    "selector": gp.prunable(),
    "apply": lambda net: gp.MaskSet.dense(Net()).apply_(net),
    "attach": lambda net: gp.MaskSet.dense(Net()).attach(net, torch.optim.SGD(Net().parameters(), lr=1)),
    "method": lambda net: gp.FGGP(density=0.5, stop=1, every=1).attach(net, torch.optim.SGD(Net().parameters(), lr=1)),
}


@pytest.mark.parametrize("call", TAKES_A_MODEL)
@pytest.mark.parametrize("value", NONE, ids=str)
def test_what_is_no_network_is_named(value: Any, call: str) -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, such as .*; got "):
        TAKES_A_MODEL[call](value)


def test_a_class_in_place_of_a_network_is_called_a_class() -> None:
    with pytest.raises(TypeError, match="got the class GIN itself"):
        gp.MaskSet.dense(gp.models.GIN)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [torch.optim.Adam, None, [], "adam", Net()])
def test_what_is_no_optimiser_is_named(value: Any) -> None:
    net = Net()
    for attach in (gp.MaskSet.dense(net).attach, gp.FGGP(density=0.5, stop=1, every=1).attach):
        with pytest.raises(TypeError, match=r"optimizer must be an optimizer, such as torch.optim.Adam.*; got"):
            attach(net, value)


@pytest.mark.parametrize("example", [[1], None, "x", DATA, DATA.train])
def test_what_is_no_example_is_named(example: Any) -> None:
    with pytest.raises(TypeError, match=r"example must be a tensor, a Data or Batch.*data.train.batch"):
        gp.compact(Net(), example)
