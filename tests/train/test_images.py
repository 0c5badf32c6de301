"""Trainings over images, and the options that networks over images are trained with."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphprune.data.images import Augment, ImageData
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult
from graphprune.models import LeNet300, ResNet20
from graphprune.train import Fit, evaluate
from tests.train.tiny import pictures, smooth, tiny


def network(data: ImageData, kind: type[nn.Module] = LeNet300) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return kind.for_data(data, hidden=12)


def job_for(data: ImageData, model: nn.Module | None = None) -> FitJob:
    model = network(data) if model is None else model
    return FitJob(model, data, MaskSet.dense(model))


def same(one: FitResult, other: FitResult) -> bool:
    return all(torch.equal(one.last[name], other.last[name]) for name in one.last)


@pytest.mark.parametrize("kind", [LeNet300, ResNet20])
def test_learns(kind: type[nn.Module]) -> None:
    data = pictures()
    job = job_for(data, network(data, kind))
    result = Fit(epochs=8, lr=0.05, batch_size=16, optimizer="nesterov")(job)
    assert result.val_metric > 0.9
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert evaluate(job.model, data.test, data) == result.test_metric > 0.9


def test_pruned_weights_stay_zero_with_everything_switched_on() -> None:
    data = pictures(augment=Augment(pad=1, flip=False))
    model = network(data, ResNet20)
    masks = MaskSet.dense(model)
    masks = masks.tighten({name: model.get_parameter(name).abs() for name in masks}, 0.3)
    options = {"milestones": (0.5, 0.75), "label_smoothing": 0.1, "weight_decay": 5e-4, "optimizer": "nesterov"}
    for precision in ("32-true", "bf16-mixed"):
        trained = copy.deepcopy(model)
        Fit(epochs=4, lr=0.1, batch_size=16, precision=precision, **options)(FitJob(trained, data, masks))
        masks.verify(trained)


def test_augmented_images_are_drawn_by_the_seed_alone_and_only_in_training() -> None:
    fit = Fit(epochs=2, batch_size=16)
    still, moving = pictures(), pictures(augment=Augment(pad=1, flip=False))
    first = fit(job_for(moving))
    torch.rand(3)
    before = torch.get_rng_state()
    assert same(first, fit(job_for(moving)))
    assert torch.equal(before, torch.get_rng_state())
    assert not same(first, fit(job_for(still)))
    assert not same(first, Fit(epochs=2, batch_size=16, seed=1)(job_for(moving)))


@pytest.mark.parametrize(
    ("epochs", "milestones", "dropped"),
    [(8, (0.5, 0.75), [4, 6]), (5, (), []), (10, (0.29, 0.7), [3, 7]), (2, (0.5,), [1])],
)
def test_the_options_of_the_published_trainings_by_hand(
    epochs: int, milestones: tuple[float, ...], dropped: list[int]
) -> None:
    """Full batches of a network without noise: Nesterov's momentum, decay, steps of the rate, smoothed labels."""
    data = pictures()
    model = network(data)
    mine = copy.deepcopy(model)
    options = {"optimizer": "nesterov", "weight_decay": 5e-4, "label_smoothing": 0.1}
    fit = Fit(epochs=epochs, lr=0.1, milestones=milestones, **options)
    result = fit(job_for(data, model))

    state = {name: torch.zeros_like(value) for name, value in mine.named_parameters()}
    batch = data.train.batch(range(len(data.train)))
    for number in range(epochs):
        lr = 0.1 * 0.1 ** sum(number >= epoch for epoch in dropped)
        out = mine(batch.x).log_softmax(1)
        target = functional.one_hot(batch.y, 4) * 0.9 + 0.1 / 4
        grads = torch.autograd.grad(-(target * out).sum(1).mean(), list(mine.parameters()))
        with torch.no_grad():
            for (name, weight), grad in zip(mine.named_parameters(), grads, strict=True):
                grad = grad + 5e-4 * weight
                state[name] = 0.9 * state[name] + grad
                weight -= lr * (grad + 0.9 * state[name])
    torch.testing.assert_close(result.last, dict(mine.state_dict()), rtol=1e-4, atol=1e-6)


def test_every_group_is_slowed_down_and_a_second_training_starts_anew() -> None:
    seen: list[list[float]] = []

    class Watching(FitJob):
        def attach(self, optimizer: torch.optim.Optimizer, *, steps: int | None = None):
            optimizer.register_step_post_hook(lambda step, *_: seen.append([g["lr"] for g in step.param_groups]))
            return super().attach(optimizer, steps=steps)

    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = smooth(data)

        def forward(self, batch: object) -> Tensor:
            return self.net(batch)

        def param_groups(self, lr: float) -> list[dict[str, object]]:
            return [
                {"params": list(self.net.first.parameters()), "lr": lr},
                {"params": list(self.net.second.parameters()), "lr": 1.0},
            ]

    data = tiny()
    fit = Fit(epochs=4, lr=0.5, milestones=(0.25, 0.5))
    expected = [[0.5, 1.0], [0.05, 0.1], [0.005, 0.01], [0.005, 0.01]]
    for _ in range(2):
        model = Grouped()
        seen.clear()
        fit(Watching(model, data, MaskSet.dense(model)))
        assert [pytest.approx(rates) for rates in expected] == seen


@pytest.mark.parametrize("batch_size", [1, 7, 16, 59, 60, 100])
def test_a_pruner_is_told_how_many_steps_there_will_be(batch_size: int) -> None:
    class Counting(FitJob):
        def attach(self, optimizer: torch.optim.Optimizer, *, steps: int | None = None):
            told.append(steps)
            optimizer.register_step_post_hook(lambda *_: taken.append(1))
            return super().attach(optimizer, steps=steps)

    told: list[int | None] = []
    taken: list[int] = []
    data = pictures()
    model = network(data)
    Fit(epochs=2, batch_size=batch_size)(Counting(model, data, MaskSet.dense(model)))
    assert told == [len(taken)]


def test_a_diverged_training_is_named() -> None:
    data = pictures()
    with pytest.raises(ArithmeticError, match=r"epoch \d"):
        Fit(epochs=3, lr=1e30, batch_size=8)(job_for(data))


def test_a_search_sees_no_test_image() -> None:
    data = pictures()
    model = network(data)
    assert math.isnan(Fit(epochs=1)(FitJob(model, data, MaskSet.dense(model), phase="search")).test_metric)
