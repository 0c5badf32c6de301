"""Averaged weights, against what they are by hand, and all options of a training in the methods' hands."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import graphprune as gp
from graphprune.data import GraphData
from graphprune.methods import FitJob, FitResult
from graphprune.methods.core.fit import state_digest
from graphprune.train import Fit, evaluate
from graphprune.train.averaging import Average
from tests.train.tiny import Ends, job_for, pictures, smooth, thinned, tiny


class Normed(nn.Module):
    """With running statistics and a tied weight."""

    def __init__(self, data: GraphData) -> None:
        super().__init__()
        self.net, self.norm = smooth(data), nn.BatchNorm1d(data.num_outputs)
        self.again = self.net.second

    def forward(self, batch: Any) -> Tensor:
        return self.norm(self.again(self.net.dropout(self.net(batch) @ self.again.weight)) + self.net(batch))


def test_the_average_is_that_of_every_step_with_statistics_and_validates() -> None:
    data, states = tiny(), []

    class Noting(FitJob):
        def attach(self, optimizer: Optimizer, *, steps: int | None = None):
            handle = super().attach(optimizer, steps=steps)
            optimizer.register_step_post_hook(lambda *_: states.append(copy.deepcopy(self.model.state_dict())))
            return handle

    seen: list[dict[str, Tensor]] = []
    model = Normed(data)
    masks = thinned(model)
    job = Noting(model, data, masks)
    fit = Fit(
        epochs=4,
        lr=0.05,
        batch_size=8,
        ema=0.7,
        on_epoch=lambda job, row: seen.append(copy.deepcopy(job.model.state_dict())),
    )
    result = fit(job)
    mean = {name: value.double() for name, value in states[0].items()}
    every = [mean]
    for step, state in enumerate(states[1:], start=1):
        decay = min(0.7, (1 + step) / (10 + step))
        mean = {name: decay * value + (1 - decay) * state[name].double() for name, value in mean.items()}
        every.append(mean)
    for name, value in result.last.items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 12
            continue
        torch.testing.assert_close(value.double(), every[-1][name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(result.best[name].double(), every[3 * result.epoch - 1][name], rtol=1e-5, atol=1e-6)
    # Between the epochs the training goes on with the weights that it has.
    assert all(torch.equal(value, states[3 * i + 2][name]) for i, now in enumerate(seen) for name, value in now.items())
    assert (
        evaluate(model, data.val, data) == result.val_metric and evaluate(model, data.test, data) == result.test_metric
    )
    for state in (result.best, result.last):
        assert all(not state[name][~keep].any() for name, keep in masks.items())


class Copying(Normed):
    """Whose state is given away as copies, as wrappers do that gather or convert it."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {name: value.clone() for name, value in super().state_dict(*args, **kwargs).items()}


class Scratch(Normed):
    """With a buffer that is not kept."""

    def __init__(self, data: GraphData) -> None:
        super().__init__(data)
        self.register_buffer("scratch", torch.zeros(()), persistent=False)

    def forward(self, batch: Any) -> Tensor:
        if self.training:
            self.scratch += 1
        return super().forward(batch)


@pytest.mark.parametrize("kind", [Copying, Scratch])
def test_the_average_is_of_the_networks_own_tensors(kind: type[Normed]) -> None:
    data, results = tiny(), []
    for made in (Normed, kind):
        model = made(data)
        fit = Fit(epochs=3, lr=0.05, batch_size=8, ema=0.7)
        results.append(fit(FitJob(model, data, thinned(model))))
    for name, value in results[0].last.items():
        assert torch.equal(value, results[1].last[name]), name
    assert [row["val_metric"] for row in results[0].history] == [row["val_metric"] for row in results[1].history]
    assert not hasattr(model, "scratch") or int(model.scratch) == 9


def test_an_average_follows_a_tensor_that_comes_in_place_of_another() -> None:
    model = nn.BatchNorm1d(2)
    average = Average(model, 0.5)
    average.update({})
    model.running_mean, model.weight = torch.full((2,), 4.0), nn.Parameter(torch.full((2,), 3.0))
    average.update({})
    average.swap()
    share = 9 / 11  # of the second state
    assert model.running_mean.tolist() == pytest.approx([4 * share] * 2)
    assert model.weight.tolist() == pytest.approx([1 + 2 * share] * 2)
    average.swap()
    assert model.running_mean.tolist() == [4.0, 4.0] and model.weight.tolist() == [3.0, 3.0]


def test_an_average_changes_no_step_and_no_order_of_validations() -> None:
    data = tiny()
    states = []
    for options in ({}, {"ema": 0.9}, {"ema": 0.9, "validate_every": 3}):
        raw: list[str] = []
        fit = Fit(
            epochs=5, batch_size=8, on_epoch=lambda job, _, raw=raw: raw.append(state_digest(job.model.state_dict()))
        )
        result = replace(fit, **options)(job_for(data, smooth(data, dropout=0.2)))
        states.append((raw, state_digest(result.last)))
    assert states[0][0] == states[1][0] == states[2][0]
    assert states[0][1] != states[1][1] == states[2][1]


PRUNERS = {
    "fggp": gp.FGGP(density=0.3, stop=12, every=3),
    "gmp": gp.GMP(density=0.3, stop=12, every=3),
    "granet": gp.GraNet(density=0.3, stop=12, every=3, start_density=0.6, end=20),
    "rigl": gp.RigL(density=0.3, stop=15, every=3),
    "set": gp.SET(density=0.3, stop=15, every=3),
    "gumbel": gp.Gumbel(density=0.5, stop=10),
}


@pytest.mark.parametrize("name", PRUNERS)
def test_what_goes_or_comes_back_in_a_training_is_zero_in_the_average(name: str) -> None:
    data = tiny(train=40)
    model = smooth(data)
    fit = Fit(epochs=8, lr=0.03, batch_size=10, ema=0.9, clip=1.0, schedule="cosine")
    tickets = [list(PRUNERS[name].rounds(model, data, fit)) for _ in range(2)]
    (ticket,), (again,) = tickets
    assert ticket.masks.kept == round(PRUNERS[name].density * ticket.masks.total)
    assert all(not ticket.trained[each][~keep].any() for each, keep in ticket.masks.items())
    for state in (ticket.trained, ticket.last):  # the last one may have other masks, of as many weights
        assert sum(int(state[each].count_nonzero()) for each in ticket.masks) <= ticket.masks.kept
    assert state_digest(ticket.trained) == state_digest(again.trained)
    if name in ("fggp", "gmp", "gumbel"):  # whose masks stay from some step on: the weights that train decide them
        (raw,) = PRUNERS[name].rounds(model, data, replace(fit, ema=0.0))
        assert raw.masks.digest() == ticket.masks.digest()
    assert evaluate(ticket.build(model), data.test, data) == ticket.row["test_metric"]


def edge_methods(data: GraphData) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        predictor = gp.EdgePredictor.for_data(data, hidden=8)
        plain = Ends()
    rates = {"rounds": 2, "edge_rate": 0.2}
    return {
        "icpg": gp.ICPG(predictor=predictor, weight_rate=0.3, **rates),
        "icpg-gumbel": gp.ICPG(predictor=plain, weight_rate=0.3, edge_gates="gumbel", **rates),
        "icpg-global": gp.ICPG(
            predictor=predictor, protocol=gp.Protocol(rule=gp.graphs.EdgeRule(budget="global")), **rates
        ),
        "gsat": gp.GSAT(predictor=predictor, **rates),
        "pg-explainer": gp.PGExplainer(predictor=predictor, **rates),
        "ugs": gp.UGS(weight_rate=0.3, unseen="random", **rates),
        "imp": gp.IMP(rounds=2, weight_rate=0.3),
        "gicp": gp.GICP(predictor=predictor, densities=(0.8, 0.5), weight_density=0.5, stop=9, every=3),
    }


NAMES = ("icpg", "icpg-gumbel", "icpg-global", "gsat", "pg-explainer", "ugs", "imp", "gicp")


@pytest.mark.parametrize("name", NAMES)
def test_methods_work_with_all_options_and_go_on_after_a_round_bit_for_bit(name: str) -> None:
    data = tiny(train=40)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = gp.models.GIN.for_data(data, hidden=8, layers=2, dropout=0.2)
    fit = Fit(
        epochs=5,
        lr=0.02,
        batch_size=10,
        schedule="cosine",
        warmup=0.2,
        clip=0.5,
        ema=0.8,
        accumulate=2,
        class_weights="balanced",
        weight_decay=1e-3,
    )
    method = edge_methods(data)[name]
    tickets = list(method.rounds(model, data, fit))
    assert len(tickets) == 2
    (behind,) = edge_methods(data)[name].rounds(model, data, fit, after=tickets[0])
    for state in ("trained", "last"):
        assert state_digest(getattr(behind, state)) == state_digest(getattr(tickets[1], state))
    assert behind.masks.digest() == tickets[1].masks.digest()
    assert behind.prune(data.test).digest() == tickets[1].prune(data.test).digest()
    for ticket in tickets:
        ticket.masks.verify(ticket.build(model))
        found = evaluate(ticket.build(model), ticket.prune(data.test), data)
        assert found == pytest.approx(ticket.row["test_metric"])
        assert 0 < ticket.row["cpu_seconds"] < 60 and ticket.row["seconds"] > 0


def test_clad_distils_into_a_network_that_is_averaged() -> None:
    data = pictures(train=40)
    model = gp.models.ResNet20.for_data(data, hidden=8)
    method = gp.CLAD(target=0.6, criterion="l1")
    fit = Fit(epochs=3, lr=0.02, batch_size=10, ema=0.8, clip=1.0, accumulate=2, schedule="cosine")
    first, again = (next(iter(method.rounds(model, data, fit))) for _ in range(2))
    first.masks.verify(first.build(model))
    assert state_digest(first.trained) == state_digest(again.trained)
    assert evaluate(first.build(model), data.test, data) == first.row["test_metric"]


@pytest.mark.parametrize("ema", [1.0, -0.1, float("nan")])
def test_a_decay_is_below_one(ema: float) -> None:
    with pytest.raises(ValueError, match="ema must be a decay of at least 0"):
        Fit(ema=ema)


def test_a_result_knows_its_seconds() -> None:
    result: FitResult = Fit(epochs=3)(job_for(tiny()))
    assert 0 < result.cpu_seconds < 60 and 0 < result.seconds < 60
