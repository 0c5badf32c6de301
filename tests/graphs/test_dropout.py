"""Dropout from words of 16 bits."""

import pytest
import torch
from scipy.stats import binom

from graphprune.graphs.dropout import dropout


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(3001,), (501, 3), (1000, 4)])
def test_entries_are_dropped_with_the_probability_and_others_scaled(p, shape) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).abs() + 1
    out = dropout(x, p)
    exact = round(p * 65536) / 65536
    there = out != 0
    torch.testing.assert_close(out[there], x[there] / (1 - exact))
    assert 1e-6 < binom.cdf(int(there.sum()), x.numel(), 1 - exact) < 1 - 1e-6


def test_draws_are_independent_of_place() -> None:
    """Of the four words of a draw each is uniform, and neighbours know nothing of each other."""
    torch.manual_seed(0)
    kept = (dropout(torch.ones(100_000, 4), 0.5) != 0).double()
    assert (kept.mean(0) - 0.5).abs().max() < 0.01
    assert (torch.corrcoef(kept.t()) - torch.eye(4)).abs().max() < 0.02
    assert abs(float(torch.corrcoef(torch.stack([kept.flatten()[:-1], kept.flatten()[1:]]))[0, 1])) < 0.01


def test_the_generator_s_state_decides() -> None:
    x = torch.ones(50, 3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = dropout(x, 0.3)
    assert not torch.equal(first, dropout(x, 0.3))
    torch.set_rng_state(state)
    assert torch.equal(first, dropout(x, 0.3))


def test_gradients_are_those_of_the_mask() -> None:
    x = torch.rand(30, 5, requires_grad=True)
    out = dropout(x, 0.4)
    (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    torch.testing.assert_close(out, x * grad)


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True), (1e-9, True), (1.0, True)])
def test_where_there_is_nothing_to_draw_it_is_torch_s(p, training) -> None:
    x = torch.ones(20, 3)
    assert torch.equal(dropout(x, p, training), torch.nn.functional.dropout(x, p, training))
    assert dropout(torch.ones(0, 3), 0.5).shape == (0, 3)
    assert dropout(torch.ones(8, dtype=torch.bfloat16), 0.5).dtype == torch.bfloat16


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(p) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        dropout(torch.ones(3), p)
