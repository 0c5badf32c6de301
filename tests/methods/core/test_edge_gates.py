"""Gates under a loss of their own: its value and gradient, the noise, and what an epoch is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphprune.methods.core.edge_gates import ConcreteGates, entropy, with_loss

numbers = st.lists(st.floats(-30, 30), min_size=1, max_size=6)


def none_asked() -> Tensor:
    raise AssertionError("concrete gates do not ask how many stay")


def free(logits: Tensor, epoch: int) -> Tensor:
    return logits.new_zeros(())


def gated(gates: ConcreteGates, logits: Tensor) -> Tensor:
    return gates(logits, torch.tensor([len(logits)]), none_asked)


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_entropy_is_that_of_coins(logits: list[float]) -> None:
    chances = [1 / (1 + math.exp(-logit)) for logit in logits]
    coins = [-sum(p * math.log(p) for p in (q, 1 - q) if p > 0) for q in chances]
    found = float(entropy(torch.tensor(logits, dtype=torch.float64)))
    assert found == pytest.approx(sum(coins) / len(coins), abs=1e-9)


def test_entropy_of_decided_coins_is_0_with_a_gradient() -> None:
    logits = torch.tensor([1e4, -1e4, 200.0], requires_grad=True)
    entropy(logits).backward()
    assert float(entropy(logits.detach())) == 0
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_a_loss_joins_whatever_backward_pass_comes_through() -> None:
    first, second = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    values = first.clone().requires_grad_()
    joined = with_loss(values, (values**3).sum())
    assert torch.equal(joined, values)
    (joined * second).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, second + 3 * first**2)
    with torch.no_grad():
        assert not with_loss(values, values.sum()).requires_grad


def test_a_gradient_scaler_cannot_know_of_it() -> None:
    values = torch.zeros(3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16), pytest.raises(RuntimeError, match="float16 autocast"):
        with_loss(values, values.sum())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(with_loss(values, values.sum()), values)


@pytest.mark.parametrize("margin", [1e-10, 0.01])
def test_samples_are_logistic_noise_on_the_logits(margin: float) -> None:
    logits = torch.tensor([-2.0, 0.0, 1.0]).repeat(40_000)
    torch.manual_seed(0)
    found = gated(ConcreteGates(lambda epoch: 2.0, free, 1, margin), logits)
    assert bool(((found > 0) & (found < 1)).all())
    noise = 2 * found.double().logit() - logits
    uniform = noise.sigmoid()
    assert float(uniform.min()) >= margin - 1e-6 and float(uniform.max()) <= 1 - margin + 1e-6
    for part in uniform.view(-1, 3).T:
        assert abs(float(part.mean()) - 0.5) < 0.01
        assert abs(float(part.var()) - (1 - 2 * margin) ** 2 / 12) < 0.005
    torch.manual_seed(0)
    assert torch.equal(gated(ConcreteGates(lambda epoch: 2.0, free, 1, margin), logits), found)
    assert not torch.equal(gated(ConcreteGates(lambda epoch: 2.0, free, 1, margin), logits), found)


def test_the_lowest_uniform_number_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for drawn in (0.0, 1 - 2**-24):
        monkeypatch.setattr(torch, "rand_like", lambda like, drawn=drawn: torch.full_like(like, drawn))
        logits = torch.zeros(2, requires_grad=True)
        gates = ConcreteGates(lambda epoch: 1.0, lambda noisy, epoch: entropy(noisy), 2)
        gated(gates, logits).sum().backward()
        assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_an_epoch_is_as_many_edges_as_the_training_graphs_have() -> None:
    met: list[tuple[str, int]] = []

    def temperature(epoch: int) -> float:
        met.append(("temperature", epoch))
        return 1.0

    def loss(logits: Tensor, epoch: int) -> Tensor:
        met.append(("loss", epoch))
        return logits.sum()

    gates = ConcreteGates(temperature, loss, 10)
    for size in (4, 0, 6, 7, 3, 10, 1):  # a batch without edges asks for nothing
        gated(gates, torch.zeros(size, requires_grad=True))
    epochs = [0, 0, 1, 1, 2, 3]
    assert met == [(name, epoch) for epoch in epochs for name in ("temperature", "loss")]
    with torch.no_grad():  # a look at the network is no training
        gated(gates, torch.zeros(100))
    met.clear()
    gated(gates, torch.zeros(1, requires_grad=True))
    assert met == [("temperature", 3), ("loss", 3)]


def test_half_precision_is_sampled_in_single() -> None:
    logits = torch.zeros(2000, dtype=torch.bfloat16, requires_grad=True)
    gates = ConcreteGates(lambda epoch: 1.0, lambda noisy, epoch: noisy.square().mean(), 2000)
    found = gated(gates, logits)
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
