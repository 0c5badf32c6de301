import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from graphprune.report.extreme import extreme_ticket
from graphprune.report.stats import (
    MIN_PAIRS,
    RESAMPLES,
    at_sparsity,
    compare,
    interval,
    tail,
)

FINITE = st.floats(-100, 100).map(lambda value: round(value, 3))
SAMPLES = st.lists(FINITE, min_size=2, max_size=12)
FEW = settings(max_examples=25)


# ---------------------------------------------------------------------- intervals


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_an_interval_is_scipys_at_the_level_of_students_width(n: int) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    wide = 2 * scipy_stats.norm.cdf(scipy_stats.t.ppf(0.975, n - 1) * math.sqrt(n / (n - 1))) - 1
    expected = scipy_stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=wide,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    found = interval(values)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-6)
    assert found.mean == pytest.approx(values.mean())
    assert (found.n, found.level) == (n, 0.95)


def test_the_widening_vanishes_with_many_values() -> None:
    assert tail(10_000) == pytest.approx(0.025, abs=1e-4)
    assert [tail(n) for n in (3, 5, 10, 30)] == sorted(tail(n) for n in (3, 5, 10, 30))


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    found = [interval(random.normal(1.5, 1, 10)) for _ in range(300)]
    covered = sum(one.low <= 1.5 <= one.high for one in found) / len(found)
    assert 0.91 <= covered <= 0.985
    narrow = [interval(random.normal(1.5, 1, 10), level=0.5) for _ in range(300)]
    assert 0.4 <= sum(one.low <= 1.5 <= one.high for one in narrow) / len(narrow) <= 0.6


@FEW
@given(SAMPLES)
def test_an_interval_holds_its_mean_and_stays_among_the_values(values: list[float]) -> None:
    found = interval(values)
    tiny = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - tiny <= found.low <= found.mean + tiny
    assert found.mean - tiny <= found.high <= max(values) + tiny


@FEW
@given(SAMPLES, FINITE)
def test_an_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    here, there = interval(values), interval([value + shift for value in values])
    np.testing.assert_allclose((there.low, there.high), (here.low + shift, here.high + shift), atol=1e-7)


def test_intervals_of_hardly_any_values() -> None:
    nothing, single = interval([]), interval([2.0, math.nan])
    assert (nothing.n, single.n, single.mean) == (0, 1, 2.0)
    assert all(math.isnan(value) for value in (nothing.mean, nothing.low, single.low, single.high))
    same = interval([0.1, 0.1, 0.1])
    assert (same.low, same.mean, same.high) == (0.1, 0.1, 0.1)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="level"):
            interval([1, 2], level)


# ---------------------------------------------------------------------- comparisons


def by_seed(*values: float) -> dict[tuple[int, int], float]:
    return {(seed, 0): value for seed, value in enumerate(values)}


def test_a_comparison_is_paired_over_common_repetitions() -> None:
    a = by_seed(0.9, 0.5, 0.7, 0.8, 0.6, 0.4, math.nan)
    b = {rep: value - 0.01 * (1 + rep[0] % 2) for rep, value in a.items()} | {(99, 0): 0.0}
    found = compare(a, b, higher_is_better=True)
    assert found.difference.n == 6
    assert found.difference.mean == pytest.approx(0.015)
    assert found.verdict == found.text == "better"  # although the seeds scatter twenty times as far
    assert compare(b, a, True).verdict == "worse"
    assert compare(a, b, False).verdict == "worse"


def test_hardly_any_pairs_claim_nothing() -> None:
    found = compare(by_seed(0.9, 0.9, 0.9), by_seed(0.1, 0.1, 0.1), True)
    assert found.verdict == "too few"
    assert found.text == f"too few runs (3 of at least {MIN_PAIRS})"
    assert compare({}, by_seed(1.0), True).text == f"too few runs (0 of at least {MIN_PAIRS})"


def test_differences_around_zero_show_nothing() -> None:
    a = by_seed(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert compare(a, {rep: 0.35 for rep in a}, True).verdict == "no difference shown"
    assert compare(a, a, True).verdict == "no difference shown"


@FEW
@given(st.lists(st.tuples(FINITE, FINITE), min_size=MIN_PAIRS, max_size=9), st.booleans())
def test_exchanging_the_methods_turns_the_sign(pairs: list[tuple[float, float]], higher: bool) -> None:
    a, b = by_seed(*(pair[0] for pair in pairs)), by_seed(*(pair[1] for pair in pairs))
    here, there = compare(a, b, higher), compare(b, a, higher)
    np.testing.assert_allclose(
        (here.difference.mean, here.difference.low), (-there.difference.mean, -there.difference.high), atol=1e-9
    )
    opposite = {"better": "worse", "worse": "better"}
    assert there.verdict == opposite.get(here.verdict, here.verdict)


# ---------------------------------------------------------------------- equal sparsity

CURVES = st.lists(st.tuples(st.floats(0, 1), FINITE), min_size=1, max_size=8, unique_by=lambda point: point[0])


@given(CURVES, st.floats(-0.2, 1.2))
def test_interpolation_is_numpys_inside_the_range_and_nothing_outside(
    points: list[tuple[float, float]], target: float
) -> None:
    found, (x, y) = at_sparsity(points, target), zip(*sorted(points), strict=True)
    if x[0] <= target <= x[-1]:
        assert found == pytest.approx(np.interp(target, x, y), abs=1e-9)
    else:
        assert math.isnan(found)


def test_interpolation_by_hand() -> None:
    curve = [(0.2, 0.8), (0.4, 0.6), (0.4, 0.7), (0.6, math.nan), (0.8, 0.1)]
    assert at_sparsity(curve, 0.2) == 0.8
    assert at_sparsity(curve, 0.3) == pytest.approx(0.75)  # of one sparsity the later round counts
    assert math.isnan(at_sparsity(curve, 0.5))
    assert math.isnan(at_sparsity(curve, 0.7))
    assert at_sparsity(curve, 0.8) == 0.1
    assert math.isnan(at_sparsity([], 0.5))


# ---------------------------------------------------------------------- extreme tickets

Curves = dict[tuple[int, int], list[tuple[float, float]]]


def falling(losses: list[float], seeds: int = 8, noise: float = 0.01) -> tuple[Curves, Mapping[tuple[int, int], float]]:
    """Curves that lose so much of the dense metric at sparsities 0.1, 0.2, ..."""
    random = np.random.default_rng(0)
    dense = by_seed(*(0.8 + random.normal(0, 0.05, seeds)))
    curves = {
        rep: [(0.1 * (1 + k), value - loss + random.normal(0, noise)) for k, loss in enumerate(losses)]
        for rep, value in dense.items()
    }
    return curves, dense


def test_the_extreme_ticket_is_the_last_that_may_be_as_good_as_dense() -> None:
    found = extreme_ticket(*falling([0, 0, 0.1, 0.2]), True)
    assert (found.round, found.n, found.gap, found.text) == (2, 8, False, "")
    assert found.sparsity is not None
    assert found.sparsity == pytest.approx(0.2)
    assert found.low <= found.sparsity <= found.high < 0.3
    assert found.difference is not None
    assert found.difference.low <= 0 <= found.difference.high


def test_its_range_tells_how_sure_the_round_is() -> None:
    sure = extreme_ticket(*falling([0, 0, 0.1, 0.2], noise=0.001), True)
    unsure = extreme_ticket(*falling([0, 0.01, 0.02, 0.03], noise=0.03), True)
    assert sure.high - sure.low < unsure.high - unsure.low


def test_a_metric_to_be_small_turns_everything_round() -> None:
    curves, dense = falling([0, 0, 0.1])
    turned = {rep: [(sparsity, -value) for sparsity, value in curve] for rep, curve in curves.items()}
    here, there = (
        extreme_ticket(curves, dense, True),
        extreme_ticket(turned, {rep: -value for rep, value in dense.items()}, False),
    )
    assert here == there


def test_a_better_ticket_counts_as_one() -> None:
    assert extreme_ticket(*falling([-0.1, -0.2, -0.3]), True).round == 3


def test_a_round_that_fell_short_before_is_told() -> None:
    found = extreme_ticket(*falling([0.1, 0.0, 0.1]), True)
    assert (found.round, found.gap) == (2, True)


def test_no_ticket_and_too_few_repetitions() -> None:
    none = extreme_ticket(*falling([0.2, 0.3]), True)
    assert (none.sparsity, none.round, none.low) == (None, None, 0.0)
    assert none.text == "none: every round is shown to be worse than dense"
    few = extreme_ticket(*falling([0, 0.1], seeds=3), True)
    assert few.text == f"too few runs (3 of at least {MIN_PAIRS})"
    assert few.sparsity is None
    assert extreme_ticket({}, {}, True).n == 0


def test_rounds_that_few_repetitions_have_reached_do_not_count() -> None:
    curves, dense = falling([0, 0, 0])
    shorter = {rep: curve if rep[0] < 3 else curve[:2] for rep, curve in curves.items()}
    found = extreme_ticket(shorter, dense, True)
    assert (found.round, found.n) == (2, 8)


def test_rounds_that_remove_nothing_are_no_tickets() -> None:
    curves, dense = falling([0, 0, 0])
    nothing = {rep: [(0.0, value) for _, value in curve] for rep, curve in curves.items()}
    assert extreme_ticket(nothing, dense, True).sparsity is None


def test_a_zero_has_no_sign_whichever_was_asked_for_first() -> None:
    for values in ([-0.0] * 3, [0.0] * 3, [-0.0, 0.0, -0.0]):
        found = interval(values)
        assert [math.copysign(1, end) for end in (found.mean, found.low, found.high)] == [1, 1, 1]
