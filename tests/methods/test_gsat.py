"""GSAT: its information term against a direct formula, and the fall of its prior."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import graphprune as gp
from graphprune.methods import gsat
from graphprune.methods.gsat import information
from graphprune.train import Fit
from tests.methods.graphs import narrow_gcn, small_data, walking_predictor


def coin(p: float, r: float) -> float:
    return sum(a * math.log(a / b) for a, b in ((p, r), (1 - p, 1 - r)) if a > 0)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-25, 25), min_size=1, max_size=6), st.sampled_from([0.05, 0.5, 0.7, 0.9]))
def test_the_information_term_is_the_divergence_from_the_prior(logits: list[float], prior: float) -> None:
    values = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    found = information(values.detach(), prior)
    expected = [coin(1 / (1 + math.exp(-logit)), prior) for logit in logits]
    assert float(found) == pytest.approx(sum(expected) / len(expected), abs=1e-9)
    assert float(found) > -1e-12
    assert torch.autograd.gradcheck(lambda z: information(z, prior), (values,))


def test_the_prior_falls_by_steps_and_then_stays() -> None:
    usual = gp.GSAT(edge_rate=0.0)
    expected = [0.9] * 10 + [0.8] * 10 + [0.7] * 15
    assert [usual.prior_at(epoch) for epoch in range(35)] == pytest.approx(expected)
    other = gp.GSAT(edge_rate=0.0, prior=0.55, prior_start=0.8, prior_fall=0.2, prior_every=2)
    assert [other.prior_at(epoch) for epoch in range(6)] == pytest.approx([0.8, 0.8, 0.6, 0.6, 0.55, 0.55])


@pytest.mark.parametrize("batch_size", [5, 12])
def test_the_prior_falls_with_the_epochs_of_any_loop(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[float] = []

    def watched(logits: Tensor, prior: float) -> Tensor:
        met.append(prior)
        return information(logits, prior)

    monkeypatch.setattr(gsat, "information", watched)
    data = small_data()
    made = gp.GSAT(rounds=1, prior_every=2, predictor=walking_predictor(data))
    next(made.rounds(narrow_gcn(data), data, Fit(epochs=5, batch_size=batch_size)))
    steps = math.ceil(len(data.train) / batch_size)
    assert met == pytest.approx([r for r in (0.9, 0.9, 0.8, 0.8, 0.7) for _ in range(steps)])
