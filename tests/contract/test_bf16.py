"""Trainings in half precision: counts are as exact, and what is pruned is exactly zero."""

import pytest
import torch

from tests.contract import counting
from tests.contract.methods import KINDS, Case, units
from tests.contract.nets import NETWORKS
from tests.contract.runs import run

slow = pytest.mark.slow


@pytest.mark.parametrize("network", [pytest.param("gin", marks=slow), "user", "conv"])
@pytest.mark.parametrize("place", [pytest.param(0, id="single"), pytest.param(-1, id="coupled", marks=slow)])
@pytest.mark.parametrize("name", KINDS)
def test_counts_are_exact_and_zeros_are_zeros(name: str, place: int, network: str) -> None:
    unit = units(KINDS[name])[place]
    case = Case(name, "clean", unit, network)
    whole, half = run(case), run(case, precision="bf16-mixed")
    assert len(half.tickets) == len(whole.tickets) and str(half.refusal) == str(whole.refusal)
    for full, ticket in zip(whole.tickets, half.tickets, strict=True):
        assert counting.pruned_to_zero(ticket, half.of(ticket))
        assert all(value.dtype == full.trained[key].dtype for key, value in ticket.trained.items())
        assert all(bool(value.isfinite().all()) for value in ticket.trained.values() if value.is_floating_point())
        if unit is not None:
            kept, total = counting.weight_units(ticket.masks, unit, NETWORKS[network].together)
            assert counting.asked_weights(half.method, ticket, total) in (None, kept)
        for split in half.data.splits if half.network.edges else ():
            assert counting.edges_as_asked(half.method, ticket, half.data, split)


def test_it_was_half_precision_indeed() -> None:
    """Products in bfloat16 have other bits."""
    case = Case("dense", "clean", "weight", "conv")
    (full,), (half,) = run(case).tickets, run(case, precision="bf16-mixed").tickets
    assert not torch.equal(full.trained["conv2.weight"], half.trained["conv2.weight"])
