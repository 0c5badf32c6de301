"""Losses other than a task's own: by name, by torch's modules, by functions, and with weights of labels."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from graphprune.data import GraphData
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult
from graphprune.runs.identity import identity
from graphprune.train import Fit
from graphprune.train.tasks import Losses
from tests.train.tiny import pictures, smooth, tiny


def trained(data: GraphData, **options: Any) -> FitResult:
    model = smooth(data)
    return Fit(**{"epochs": 3, "batch_size": 64, "optimizer": "sgd", "lr": 0.05} | options)(
        FitJob(model, data, MaskSet.dense(model))
    )


def by_hand(data: GraphData, loss: nn.Module, epochs: int = 3) -> tuple[dict[str, Tensor], list[float]]:
    """Full batches, of known labels alone; the loss is a mean of torch's own."""
    model, seen = smooth(data), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    batch = data.train.batch(torch.arange(len(data.train)))
    known = ~batch.y.isnan() if batch.y.is_floating_point() else slice(None)
    for _ in range(epochs):
        optimizer.zero_grad()
        value = loss(model(batch)[known], batch.y[known])
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
    return dict(model.state_dict()), seen


CASES = [
    ("regression", "mse", nn.MSELoss()),
    ("regression", "mae", nn.L1Loss()),
    ("regression", "smooth_l1", nn.SmoothL1Loss()),
    ("regression", nn.HuberLoss(delta=0.3), nn.HuberLoss(delta=0.3)),
    ("regression", nn.SmoothL1Loss(reduction="sum", beta=0.2), nn.SmoothL1Loss(beta=0.2)),
    ("regression", partial(functional.huber_loss, delta=0.4, reduction="none"), nn.HuberLoss(delta=0.4)),
    ("binary", "bce", nn.BCEWithLogitsLoss()),
    ("binary", lambda out, y: (out.sigmoid() - y) ** 2, lambda out, y: ((out.sigmoid() - y) ** 2).mean()),
    ("multiclass", "cross_entropy", nn.CrossEntropyLoss()),
    ("multiclass", nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.1)),
    (
        "multiclass",
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0]), label_smoothing=0.2),
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0]), label_smoothing=0.2),
    ),
]


@pytest.mark.parametrize(("task", "loss", "reference"), CASES)
def test_a_loss_is_its_mean_over_the_known_labels(task: str, loss: Any, reference: Any) -> None:
    data = tiny(task)
    result = trained(data, loss=loss)
    state, seen = by_hand(data, reference)
    torch.testing.assert_close(result.last, state, rtol=1e-4, atol=1e-6)
    assert [row["loss"] for row in result.history] == pytest.approx(seen, rel=1e-5)
    if isinstance(loss, nn.Module):
        assert loss.reduction in ("mean", "sum"), "the user's module was changed"


@pytest.mark.parametrize("weights", [[0.5, 4.0], "balanced"])
def test_class_weights_are_torchs(weights: Any) -> None:
    data = tiny()
    counts = torch.bincount(data.train.graph["y"], minlength=2)
    ours = torch.tensor(weights) if weights != "balanced" else len(data.train) / (2 * counts.float())
    state, seen = by_hand(data, nn.CrossEntropyLoss(weight=ours))
    result = trained(data, class_weights=weights)
    torch.testing.assert_close(result.last, state, rtol=1e-4, atol=1e-6)
    assert [row["loss"] for row in result.history] == pytest.approx(seen, rel=1e-5)


@pytest.mark.parametrize("weights", [[0.5, 4.0], "balanced"])
def test_positive_labels_weigh_more_and_missing_ones_nothing(weights: Any) -> None:
    data = tiny("binary", train=40)
    y = data.train.graph["y"]
    ours = torch.tensor(weights) if weights != "balanced" else (y == 0).sum(0) / (y == 1).sum(0)

    def reference(model: nn.Module) -> Tensor:
        batch = data.train.batch(torch.arange(len(data.train)))
        each = nn.BCEWithLogitsLoss(pos_weight=ours, reduction="none")(model(batch), batch.y.nan_to_num(0))
        return each[~batch.y.isnan()].mean()

    result = trained(data, pos_weight=weights, epochs=1)
    model = smooth(data)
    assert result.history[0]["loss"] == pytest.approx(float(reference(model).detach()), rel=1e-5)
    loss = reference(model)
    for parameter, grad in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        parameter.data -= 0.05 * grad
    torch.testing.assert_close(result.last, dict(model.state_dict()), rtol=1e-4, atol=1e-6)
    module = nn.BCEWithLogitsLoss(pos_weight=torch.as_tensor(ours, dtype=torch.float32))
    torch.testing.assert_close(trained(data, loss=module, epochs=1).last, result.last, rtol=1e-5, atol=1e-7)


CLASS_LOSSES = {
    "cross-entropy": partial(nn.CrossEntropyLoss, label_smoothing=0.1),
    "nll": nn.NLLLoss,
    "margin": partial(nn.MultiMarginLoss, margin=2.0),  # whose mean torch divides by the number, weights or not
}


@pytest.mark.parametrize("kind", CLASS_LOSSES)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([None, 0, 1, 3]))
def test_losses_of_classes_are_divided_as_torch_does(kind: str, seed: int, weighed: bool, ignored: int | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (9,), generator=generator)
    options: dict[str, Any] = {"weight": torch.rand(4, generator=generator) + 0.1} if weighed else {}
    if kind != "margin" and ignored is not None:
        options["ignore_index"] = ignored
    module, data = CLASS_LOSSES[kind](**options), tiny()
    objective = Losses(loss=module).on(data)
    out = torch.randn(9, 4, generator=generator, requires_grad=True)
    other = out.detach().clone().requires_grad_()
    total, count = objective.total(out, y), objective.count(y)
    if not count:
        assert total == 0
        return
    expected = module(other, y)
    torch.testing.assert_close((total / count).float(), expected)
    (total / count).backward()
    expected.backward()
    torch.testing.assert_close(out.grad, other.grad)


GAPS = {
    "relative": lambda out, y: ((out - y) / y).abs(),
    "logarithms": lambda out, y: (out.exp().log() - y.abs().log()) ** 2,
    "powers": lambda out, y: (out - y).abs() / y.abs().sqrt(),
    "root": lambda out, y: (out - y).abs().sqrt(),
    "infinite at one": lambda out, y: (out - y) ** 2 / (y - 1),
    "huber": nn.HuberLoss(),
}


@pytest.mark.parametrize("name", GAPS)
def test_labels_that_are_missing_spoil_no_gradient_whatever_the_loss_does_there(name: str) -> None:
    objective = Losses(loss=GAPS[name]).on(tiny("regression"))
    y = torch.tensor([[0.5, torch.nan], [torch.nan, -2.0], [torch.nan, torch.nan]])
    out = torch.tensor([[0.1, 1.0], [1.0, 0.3], [0.0, 7.0]], requires_grad=True)
    objective.total(out, y).backward()
    known = ~y.isnan()
    alone = out.detach()[known].requires_grad_()
    Losses(loss=GAPS[name]).on(tiny("regression")).total(alone[:, None], y[known][:, None]).backward()
    assert torch.equal(out.grad[known], alone.grad) and bool(alone.grad.isfinite().all())
    assert not out.grad[~known].any()
    data = tiny("regression", train=40)
    assert data.train.graph["y"].isnan().any()
    state = trained(data, loss=GAPS[name], epochs=1, lr=1e-6).last
    assert all(bool(value.isfinite().all()) for value in state.values())


@pytest.mark.parametrize("made", [np.array, torch.tensor, tuple, lambda each: [np.float64(value) for value in each]])
def test_weights_may_be_arrays_and_are_the_same_training(made: Any) -> None:
    data, weights = tiny(), [0.5, 4.0]
    fit = Fit(class_weights=made(weights))
    assert list(fit.class_weights) == weights and identity(fit) == identity(Fit(class_weights=weights))
    expected = trained(data, class_weights=weights, epochs=1).last
    found = trained(data, class_weights=made(weights), epochs=1).last
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_options_behind_the_batch_size_have_names() -> None:
    assert Fit(3, 0.1, 4) == Fit(epochs=3, lr=0.1, batch_size=4)
    with pytest.raises(TypeError, match="positional"):
        Fit(3, 0.1, 4, 0.0)  # type: ignore[misc]


def test_labels_are_balanced_by_the_training_split_alone() -> None:
    data = tiny(train=30)
    other = data.with_splits(val=data.val.with_graph(y=torch.zeros(len(data.val), dtype=torch.long)))
    objectives = [Losses(class_weights="balanced").on(each) for each in (data, other)]
    assert torch.equal(objectives[0].weight, objectives[1].weight)
    assert Fit(epochs=1, class_weights=[1, 2, 3, 4])(image_job()).history[0]["loss"] > 0


def image_job() -> FitJob:
    data = pictures()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    return FitJob(model, data, MaskSet.dense(model))


@pytest.mark.parametrize(
    ("task", "options", "text"),
    [
        ("regression", {"loss": nn.functional.mse_loss}, r"returned \(\) for labels of shape .* one loss for each"),
        ("regression", {"loss": lambda out, y: (out - y).abs().mean(1)}, r"returned \(24,\) for labels of shape \(24"),
        ("multiclass", {"loss": lambda out, y: out}, r"returned \(24, 2\) for labels of shape \(24,\)"),
        ("multiclass", {"loss": lambda out, y: 0.5}, "returned float for labels"),
        ("multiclass", {"loss": nn.BCEWithLogitsLoss()}, r"loss fails on .* multiclass task, of shapes \(24, 2\)"),
        (
            "multiclass",
            {"loss": lambda out: out},
            "loss fails on the outputs and labels .* takes 1 positional argument",
        ),
        ("regression", {"loss": "bce"}, "loss='bce' is not for a regression task: there are mse, mae, smooth_l1"),
        ("multiclass", {"loss": "mae"}, "loss='mae' is not for a multiclass task: there are cross_entropy"),
        ("multiclass", {"class_weights": [1, 2, 3]}, "class_weights has 3 numbers, there are 2"),
        ("binary", {"pos_weight": [1.0]}, "pos_weight has 1 numbers, there are 2"),
        ("multiclass", {"pos_weight": "balanced"}, "pos_weight=balanced is for labels of yes or no, this is a multicl"),
        ("binary", {"class_weights": "balanced"}, "class_weights=balanced is for classes, this is a binary task"),
        ("regression", {"label_smoothing": 0.1}, "label_smoothing=0.1 is for classes"),
    ],
)
def test_losses_that_do_not_suit_the_data_are_named(task: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        trained(tiny(task), **options)


def test_what_the_training_split_lacks_cannot_be_balanced() -> None:
    data = tiny()
    ones = data.with_splits(train=data.train.with_graph(y=torch.ones(len(data.train), dtype=torch.long)))
    with pytest.raises(ValueError, match=r"class_weights='balanced', but of \[0\] the training split has no label"):
        trained(ones, class_weights="balanced")
    data = tiny("binary")
    y = data.train.graph["y"].clone()
    y[:, 1] = 1
    with pytest.raises(ValueError, match=r"pos_weight='balanced', but of \[1\]"):
        trained(data.with_splits(train=data.train.with_graph(y=y)), pos_weight="balanced")


class Learnt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"loss": "l1"}, "loss must be one of .* got 'l1'"),
        ({"loss": 3}, "loss must be one of .* got 3"),
        ({"loss": nn.L1Loss}, r"loss is the class L1Loss: give an instance, L1Loss\(\)"),
        ({"loss": Learnt()}, r"loss has parameters \['scale'\] of its own"),
        ({"loss": "mae", "label_smoothing": 0.1}, "label_smoothing is part of loss='cross_entropy', it cannot be with"),
        ({"loss": nn.CrossEntropyLoss(), "class_weights": [1, 2]}, "class_weights is part of loss='cross_entropy'"),
        ({"pos_weight": [1], "class_weights": [1, 2]}, "class_weights and pos_weight belong to different tasks"),
        ({"class_weights": "balance"}, "class_weights must be 'balanced', or numbers above 0"),
        ({"class_weights": []}, "class_weights must be 'balanced'"),
        ({"class_weights": [1, 0]}, "class_weights must be 'balanced'"),
        ({"pos_weight": [math.nan]}, "pos_weight must be 'balanced'"),
        ({"class_weights": [np.float32(-1), 1]}, "class_weights must be 'balanced', or numbers above 0"),
        ({"class_weights": ["a", "b"]}, "class_weights must be 'balanced'"),
        ({"class_weights": ["1", "2"]}, "class_weights must be 'balanced'"),
        ({"class_weights": torch.tensor([1.0, torch.inf])}, "class_weights must be 'balanced'"),
        ({"class_weights": np.ones((2, 2))}, "class_weights must be 'balanced'"),
        ({"class_weights": torch.tensor(1.0)}, "class_weights must be 'balanced'"),
        ({"class_weights": 0}, "class_weights must be 'balanced'"),
        ({"pos_weight": [None]}, "pos_weight must be 'balanced'"),
    ],
)
def test_wrong_losses_are_named(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Fit(**wrong)
