"""Batch norm over weighted rows."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphprune.graphs.norms import RowNorm


def made(columns: int, **options: object) -> RowNorm:
    """A norm in double precision with a scale and a shift of its own."""
    norm = RowNorm(columns, **options).double()  # type: ignore[arg-type]
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@settings(max_examples=40)
@given(st.integers(0, 1000), st.lists(st.integers(0, 4), min_size=2, max_size=8), st.booleans(), st.booleans())
def test_weights_that_are_counts_are_copies_of_rows(
    seed: int, counts: list[int], affine: bool, cumulative: bool
) -> None:
    """Outputs, gradients and running statistics are those of torch's norm over the copies."""
    if sum(counts) < 2:
        return
    torch.manual_seed(seed)
    norm = made(3, affine=affine, momentum=None if cumulative else 0.1)
    torchs = nn.BatchNorm1d(3, affine=affine, momentum=norm.momentum).double()
    torchs.load_state_dict(norm.state_dict())
    for _ in range(2):
        rows = torch.randn(len(counts), 3, dtype=torch.float64, requires_grad=True)
        which = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        direction = torch.randn(len(which), 3, dtype=torch.float64)
        found = norm(rows, torch.tensor(counts).double())[which]
        mine = torch.autograd.grad((found * direction).sum(), [rows, *norm.parameters()])
        wanted = torchs(rows[which])
        theirs = torch.autograd.grad((wanted * direction).sum(), [rows, *torchs.parameters()])
        torch.testing.assert_close(found, wanted)
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other)
    for name, value in torchs.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


@pytest.mark.parametrize("affine", [True, False])
def test_gradients_reach_rows_and_weights(affine: bool) -> None:
    """By finite differences, also at a weight of 0."""
    torch.manual_seed(0)
    norm = made(2, affine=affine, track_running_stats=False)
    rows = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.3, 1.7, 0.0, 1.0, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows, weight: norm(rows, weight), (rows, weight))
    assert (
        torch.autograd.gradcheck(
            lambda scale: torch.func.functional_call(norm, {"weight": scale}, (rows, weight)), norm.weight
        )
        if affine
        else True
    )


def test_rows_that_are_gated_off_have_no_say() -> None:
    """The same statistics as without them."""
    norm = made(4)
    other = copy.deepcopy(norm)
    rows = torch.randn(6, 4, dtype=torch.float64)
    gate = torch.tensor([1.0, 0, 1, 1, 0, 1])
    found, left = norm(rows, gate), other(rows[gate > 0])
    torch.testing.assert_close(found[gate > 0], left)
    torch.testing.assert_close(norm.running_var, other.running_var)


@pytest.mark.parametrize("weight", [None, torch.tensor([0.4]), torch.tensor([1.0])])
def test_a_single_row_has_the_running_statistics(weight: torch.Tensor | None) -> None:
    """Nor does it move them."""
    norm = made(3)
    norm.running_mean += 1
    before = copy.deepcopy(norm.state_dict())
    row = torch.randn(1, 3, dtype=torch.float64)
    found = norm(row, weight)
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    torch.testing.assert_close(found, norm.eval()(row))


def test_without_weights_it_is_torchs_norm_bit_for_bit() -> None:
    """In both modes, and in evaluation whatever the weights."""
    norm, rows = made(3), torch.randn(5, 3, dtype=torch.float64)
    torchs = nn.BatchNorm1d(3).double()
    torchs.load_state_dict(norm.state_dict())
    assert torch.equal(norm(rows), torchs(rows))
    assert torch.equal(norm.eval()(rows, torch.rand(5)), torchs.eval()(rows))


def test_half_precision_is_normalised_in_single() -> None:
    """The output has the dtype of the rows."""
    norm, rows = RowNorm(3), torch.randn(64, 3)
    found = norm(rows.bfloat16(), torch.ones(64))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), nn.BatchNorm1d(3)(rows), atol=0.05, rtol=0.05)


def test_gradients_where_eps_is_much_of_the_variance() -> None:
    """Also of the weights, on which it depends."""
    torch.manual_seed(0)
    norm = made(2, eps=0.5, track_running_stats=False)
    rows = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.3, 1.7, 0.0, 1.0, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows, weight: norm(rows, weight), (rows, weight))


@pytest.mark.parametrize("affine", [True, False])
def test_second_derivatives(affine: bool) -> None:
    """As torch's norm has them."""
    torch.manual_seed(0)
    norm = made(2, affine=affine, track_running_stats=False)
    rows = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.3, 1.7, 0.0, 1.0, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda rows, weight: norm(rows, weight), (rows, weight))


def test_mixed_precision_leaves_the_norm_alone() -> None:
    """Statistics, outputs and gradients are those without autocast, bit for bit, in the backward pass too."""
    rows, weight = torch.randn(40, 3) + 5, torch.rand(40)
    for second in (False, True):
        results = []
        for mixed in (False, True):
            norm = RowNorm(3)
            leaves = [rows.clone().requires_grad_(), weight.clone().requires_grad_(), *norm.parameters()]
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                out = norm(*leaves[:2])
                grads = torch.autograd.grad(out.square().sum(), leaves, create_graph=second)
            assert norm.running_mean is not None and norm.running_var is not None
            results.append([out, norm.running_mean, norm.running_var, *grads])
        assert all(map(torch.equal, *results))


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(0, 99))
def test_running_variances_are_bounded_by_the_rows(weights: list[float], seed: int) -> None:
    """However little more than 1 the weights add up to."""
    torch.manual_seed(seed)
    norm, rows = RowNorm(2, momentum=1.0), torch.randn(len(weights), 2)
    norm.running_var.zero_()  # type: ignore[union-attr]
    norm(rows, torch.tensor(weights))
    apart = (rows.amax(0) - rows.amin(0)).square()
    assert bool((norm.running_var <= apart / 2 * 1.001 + 1e-6).all())  # type: ignore[operator]
