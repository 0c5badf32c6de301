"""Losses other than a task's own: by name, by torch's modules, by functions, and with weights of labels."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphprune.data import GraphData
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult
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
    given = torch.tensor(weights) if weights != "balanced" else len(data.train) / (2 * counts.float())
    state, seen = by_hand(data, nn.CrossEntropyLoss(weight=given))
    result = trained(data, class_weights=weights)
    torch.testing.assert_close(result.last, state, rtol=1e-4, atol=1e-6)
    assert [row["loss"] for row in result.history] == pytest.approx(seen, rel=1e-5)


@pytest.mark.parametrize("weights", [[0.5, 4.0], "balanced"])
def test_positive_labels_weigh_more_and_missing_ones_nothing(weights: Any) -> None:
    data = tiny("binary", train=40)
    y = data.train.graph["y"]
    given = torch.tensor(weights) if weights != "balanced" else (y == 0).sum(0) / (y == 1).sum(0)

    def reference(model: nn.Module) -> Tensor:
        batch = data.train.batch(torch.arange(len(data.train)))
        each = nn.BCEWithLogitsLoss(pos_weight=given, reduction="none")(model(batch), batch.y.nan_to_num(0))
        return each[~batch.y.isnan()].mean()

    result = trained(data, pos_weight=weights, epochs=1)
    model = smooth(data)
    assert result.history[0]["loss"] == pytest.approx(float(reference(model).detach()), rel=1e-5)
    loss = reference(model)
    for parameter, grad in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        parameter.data -= 0.05 * grad
    torch.testing.assert_close(result.last, dict(model.state_dict()), rtol=1e-4, atol=1e-6)
    module = nn.BCEWithLogitsLoss(pos_weight=torch.as_tensor(given, dtype=torch.float32))
    torch.testing.assert_close(trained(data, loss=module, epochs=1).last, result.last, rtol=1e-5, atol=1e-7)


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
        ({"loss": Learnt()}, r"loss has parameters \['scale'\] of its own"),
        ({"loss": "mae", "label_smoothing": 0.1}, "label_smoothing is part of loss='cross_entropy', it cannot be with"),
        ({"loss": nn.CrossEntropyLoss(), "class_weights": [1, 2]}, "class_weights is part of loss='cross_entropy'"),
        ({"pos_weight": [1], "class_weights": [1, 2]}, "class_weights and pos_weight belong to different tasks"),
        ({"class_weights": "balance"}, "class_weights must be 'balanced', or numbers above 0"),
        ({"class_weights": []}, "class_weights must be 'balanced'"),
        ({"class_weights": [1, 0]}, "class_weights must be 'balanced'"),
        ({"pos_weight": [math.nan]}, "pos_weight must be 'balanced'"),
    ],
)
def test_wrong_losses_are_named(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Fit(**wrong)
