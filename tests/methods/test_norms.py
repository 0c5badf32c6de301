"""Batch norms counted anew: over parts that are alike, and nothing else of the network is touched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphprune.methods.norms import alike, recalibrate_


@given(st.integers(1, 400), st.integers(1, 60))
def test_parts_are_of_one_size_and_spread_over_all_samples(count: int, most: int) -> None:
    parts = alike(range(count), most)  # type: ignore[arg-type]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most and max(sizes) - min(sizes) <= 1
    for part in parts:  # none lies to one side
        assert abs(float(part.double().mean()) - (count - 1) / 2) <= len(parts) / 2


def test_samples_that_are_stored_by_class_have_the_statistics_of_all() -> None:
    samples = torch.cat([torch.randn(300, 4), torch.randn(300, 4) + 5])
    norm = nn.BatchNorm1d(4)
    recalibrate_(norm, [samples[part] for part in alike(samples, 64)])  # type: ignore[arg-type]
    torch.testing.assert_close(norm.running_mean, samples.mean(0))
    torch.testing.assert_close(norm.running_var, samples.var(0), rtol=0.02, atol=0)


def test_a_network_that_fails_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3), nn.Dropout()).train()
    with pytest.raises(RuntimeError, match="shapes"):
        recalibrate_(model, [torch.ones(2, 5)])
    assert model[1].momentum == 0.3 and all(module.training for module in model.modules())
    with pytest.raises(ValueError, match="without a batch"):
        recalibrate_(model, [])
    recalibrate_(nn.Linear(2, 2), [])  # nothing to count
