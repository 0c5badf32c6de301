import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from graphprune.models import MODELS
from graphprune.train import evaluate, predict
from tests.train.tiny import pictures, smooth, task_loss, tiny


def test_multiclass_is_cross_entropy() -> None:
    out, y = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    total, known = task_loss("multiclass", out, y)
    assert known == 5
    torch.testing.assert_close(total / known, functional.cross_entropy(out, y))


@given(st.integers(0, 10_000), st.floats(0, 0.9))
def test_smoothed_labels_are_cross_entropy_with_soft_targets(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    out, y = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    y[0] = -100
    total, known = task_loss("multiclass", out, y, share)
    assert known == 5
    target = functional.one_hot(y[1:], 4) * (1 - share) + share / 4
    torch.testing.assert_close(total, -(target * out[1:].log_softmax(1)).sum())


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_only_classes_are_smoothed(task: str) -> None:
    with pytest.raises(ValueError, match=rf"label_smoothing=0.1 is for classes, this is a {task} task"):
        task_loss(task, torch.zeros(2, 1), torch.zeros(2, 1), 0.1)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_missing_labels_neither_count_nor_get_a_gradient(seed: int, missing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(6, 3, generator=generator) < missing
    for task, reference in (
        ("binary", functional.binary_cross_entropy_with_logits),
        ("regression", functional.mse_loss),
    ):
        out = torch.randn(6, 3, generator=generator, requires_grad=True)
        y = torch.randint(2, (6, 3), generator=generator).float()
        total, known = task_loss(task, out, y.masked_fill(hidden, torch.nan))
        assert known == (~hidden).sum()
        total.backward()
        assert not out.grad[hidden].any()
        if known:
            torch.testing.assert_close(total / known, reference(out[~hidden], y[~hidden]))
        else:
            assert total == 0


@pytest.mark.parametrize(
    ("task", "shape", "y"),
    [
        ("multiclass", (4,), torch.zeros(4, dtype=torch.long)),
        ("multiclass", (3, 2), torch.zeros(4, dtype=torch.long)),
        ("binary", (4,), torch.zeros(4, 1)),
        ("regression", (4, 1), torch.zeros(4, 2)),
    ],
)
def test_outputs_that_do_not_fit_are_named(task: str, shape: tuple[int, ...], y: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"the model returned shape .* for 4 labels, expected"):
        task_loss(task, torch.zeros(shape), y)


def test_predictions_come_in_the_order_of_the_graphs_whatever_the_batch_size() -> None:
    data = tiny()
    model = smooth(data)
    single = torch.cat([model(data.train.batch(torch.tensor([i]))) for i in range(len(data.train))])
    for batch_size in (1, 5, 100):
        torch.testing.assert_close(predict(model, data.train, batch_size), single)


@pytest.mark.parametrize("name", ["lenet-300-100", "resnet-20"])
def test_images_are_predicted_in_their_order_whatever_the_batch_size(name: str) -> None:
    data = pictures()
    torch.manual_seed(0)
    model = MODELS[name].for_data(data, hidden=6)
    expected = model.eval()(data.test.batch(range(20)).x)
    for batch_size in (1, 7, 100):
        torch.testing.assert_close(predict(model, data.test, batch_size), expected, rtol=1e-4, atol=1e-5)
    right = (expected.argmax(1) == data.test.y).float().mean()
    assert evaluate(model, data.test, data, batch_size=7) == pytest.approx(float(right))


def test_prediction_gives_each_module_its_mode_back_even_after_an_error() -> None:
    data = tiny()
    model = nn.Sequential(smooth(data, dropout=0.9), nn.BatchNorm1d(2), nn.Identity())
    model.train()
    model[1].eval()  # frozen by its owner
    assert torch.equal(predict(model, data.val), predict(model, data.val))
    model[2].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(model, data.val)
    assert [module.training for module in model] == [True, False, True]
    assert all(not parameter.grad for parameter in model.parameters())


def test_evaluation_is_the_metric_of_the_data_set() -> None:
    data = tiny("regression")
    model = smooth(data)
    error = (predict(model, data.test) - data.test.graph["y"]).square()
    expected = torch.stack([column[~column.isnan()].mean().sqrt() for column in error.unbind(1)]).mean()
    assert evaluate(model, data.test, data) == pytest.approx(float(expected), rel=1e-5)


def test_outputs_that_are_not_finite_give_nan() -> None:
    data = tiny()
    model = smooth(data)
    nn.init.constant_(model.second.bias, torch.nan)
    assert math.isnan(evaluate(model, data.test, data))
