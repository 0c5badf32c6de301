"""Learning rates over a training, against what they are by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult
from graphprune.train import Fit
from tests.train.tiny import smooth, tiny


class Watching(FitJob):
    """Notes the learning rate of every step."""

    def attach(self, optimizer: Optimizer, *, steps: int | None = None):
        self.model.told, self.model.rates = steps, []
        optimizer.register_step_pre_hook(lambda step, *_: self.model.rates.append(step.param_groups[0]["lr"]))
        return super().attach(optimizer, steps=steps)


def trained(task: str = "multiclass", **options: object) -> tuple[list[float], FitResult]:
    data = tiny(task)  # 24 graphs: 3 batches of 8
    model = smooth(data)
    result = Fit(**{"epochs": 8, "lr": 0.1, "batch_size": 8} | options)(Watching(model, data, MaskSet.dense(model)))
    assert model.told == len(model.rates)
    return model.rates, result


def warmed(step: int, steps: int) -> float:
    return min((step + 1) / steps, 1.0) if steps else 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25, 0.99])
def test_cosine_after_a_linear_warm_up(warmup: float) -> None:
    rates, _ = trained(schedule="cosine", warmup=warmup)
    first = min(round(warmup * 24), 23)
    for step, rate in enumerate(rates):
        behind = max(step - first, 0) / (24 - first)
        assert rate == pytest.approx(0.1 * warmed(step, first) * (1 + math.cos(math.pi * behind)) / 2)
    assert max(rates) == pytest.approx(0.1) and (not first or rates[0] == pytest.approx(0.1 / first))


def test_a_warm_up_before_constant_rates_and_milestones() -> None:
    assert trained(warmup=0.25)[0] == pytest.approx([0.1 * warmed(step, 6) for step in range(24)])
    rates, _ = trained(warmup=0.25, milestones=(0.5, 0.75))
    assert rates == pytest.approx([0.1 * warmed(step, 6) / 10 ** ((step >= 12) + (step >= 18)) for step in range(24)])
    assert rates[17] == 0.1 / 10 and rates[23] == 0.1 / 10 / 10


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize(("warmup", "every"), [(0.0, 1), (0.2, 1), (0.0, 3)])
def test_plateau_follows_the_metric_that_selects(task: str, warmup: float, every: int) -> None:
    options = {"plateau_factor": 0.5, "plateau_patience": 1, "validate_every": every, "epochs": 20, "warmup": warmup}
    rates, result = trained(task, schedule="plateau", **options)
    higher, first = tiny(task).higher_is_better, round(warmup * 60)
    expected, rate, best, waited = [], 0.1, -math.inf if higher else math.inf, 0
    for epoch, row in enumerate(result.history):
        expected += [0.1 * warmed(step, first) if step < first else rate for step in range(3 * epoch, 3 * epoch + 3)]
        value = row["val_metric"]
        if math.isnan(value) or 3 * (epoch + 1) < first:
            continue
        if value > best if higher else value < best:
            best, waited = value, 0
        else:
            waited += 1
        if waited > 1:
            rate, waited = rate / 2, 0
    assert rates == pytest.approx(expected)
    assert rate < 0.1, "the test shows nothing"


def test_any_scheduler_of_torchs_by_a_function() -> None:
    def cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
        return OneCycleLR(optimizer, max_lr=0.2, total_steps=steps, cycle_momentum=False)

    mine = torch.optim.Adam(smooth(tiny()).parameters(), lr=0.1)
    schedule, expected = cycle(mine, 24), []
    for _ in range(24):
        expected.append(mine.param_groups[0]["lr"])
        mine.step()
        schedule.step()
    assert trained(schedule=cycle)[0] == expected

    followed, _ = trained("regression", schedule=lambda optimizer, steps: ReduceLROnPlateau(optimizer, patience=0))
    assert followed[0] == 0.1 and all(len(set(followed[i : i + 3])) == 1 for i in range(0, 24, 3))
    with pytest.raises(TypeError, match=r"schedule must return a torch\.optim\.lr_scheduler\.LRScheduler, got 0\.1"):
        trained(schedule=lambda optimizer, steps: 0.1)
    with pytest.raises(TypeError, match=r"schedule is called with the optimizer and the number of its steps, .* 1 pos"):
        trained(schedule=lambda optimizer: optimizer)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"warmup": 5}, "warmup must be a share .* below 1, got 5: of 8 epochs, one is 0.12"),
        ({"warmup": 1.0}, "warmup must be a share"),
        ({"warmup": -0.1}, "warmup must be a share"),
        ({"warmup": math.nan}, "warmup must be a share"),
        ({"milestones": (0.5, 30)}, "milestones must be shares of the epochs"),
        ({"warmup": 0.6, "milestones": (0.5,)}, "milestones=.* begin before warmup=0.6 has ended"),
        ({"schedule": "cosine", "milestones": (0.5,)}, "milestones=.* are a schedule of their own, beside 'cosine'"),
        ({"schedule": "cosin"}, "schedule must be one of .* got 'cosin'"),
        ({"schedule": lambda optimizer, steps: None, "warmup": 0.1}, "warmup=0.1 cannot be added to a schedule"),
        ({"plateau_factor": 1.0}, "plateau_factor must lie between 0 and 1"),
        ({"plateau_patience": -1}, "plateau_patience must be a whole number of at least 0"),
    ],
)
def test_schedules_that_cannot_be_are_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Fit(**{"epochs": 8} | wrong)


def test_each_training_begins_its_schedule_anew() -> None:
    seen: list[Callable[[], object]] = [lambda: trained(schedule="cosine", warmup=0.1)[0]] * 2
    assert seen[0]() == seen[1]()
