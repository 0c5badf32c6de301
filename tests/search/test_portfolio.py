import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.search.portfolio import Portfolio, floored, quotas
from graphprune.search.rules import RULES
from graphprune.search.volume import fronts_of


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(0, 50))
def test_quotas_add_up_and_are_rounded_shares(parts: list[float], count: int) -> None:
    shares = np.array(parts) / sum(parts)
    found = quotas(shares, count)
    assert found.sum() == count
    assert (np.abs(found - shares * count) < 1).all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda parts: sum(parts) > 0.1))
def test_no_share_falls_below_the_floor(parts: list[float]) -> None:
    floor = 0.25 / len(parts)
    found = floored(np.array(parts), floor)
    assert found.sum() == pytest.approx(1)
    assert (found >= floor - 1e-12).all()


def test_rules_fill_their_shares() -> None:
    portfolio = Portfolio()
    f = np.random.default_rng(0).random((40, 2))
    portfolio.credit = np.array([0.1, 0.2, 0.3, 0.4])
    kept = portfolio.share(f, fronts_of(f, 20), 20, np.random.default_rng(0))
    assert len(kept) == 20
    assert np.bincount(list(kept.values())).tolist() == [2, 4, 6, 8]


def test_a_single_rule_keeps_its_own_order() -> None:
    f = np.random.default_rng(0).random((40, 2))
    fronts = fronts_of(f, 20)
    low, high = f[fronts[0]].min(axis=0), f[fronts[0]].max(axis=0)
    best = RULES["density"]((f - low) / (high - low), fronts, np.random.default_rng(0))[:20]
    kept = Portfolio({"density": RULES["density"]}).share(f, fronts, 20, np.random.default_rng(0))
    assert list(kept) == best.tolist()


def test_success_is_credited_to_the_keepers_of_the_parents() -> None:
    portfolio = Portfolio()
    portfolio.reward(np.array([[0, 0], [0, 1], [2, 2], [2, 2]]), np.array([0.2, 0.0, 0.2, 0.2]))
    success = np.array([0.2 / 1.5, 0, 0.2, 0])  # a child for every two parents; less than one child counts as one
    assert portfolio.credit == pytest.approx(0.8 * 0.25 + 0.2 * success / success.sum())


def test_without_success_nothing_changes_and_with_much_the_floor_holds() -> None:
    portfolio = Portfolio()
    portfolio.reward(np.array([[0, 1]]), np.array([0.0]))
    assert portfolio.credit.tolist() == [0.25] * 4
    for _ in range(50):
        portfolio.reward(np.array([[3, 3]]), np.array([1.0]))
    assert portfolio.credit == pytest.approx([1 / 16, 1 / 16, 1 / 16, 13 / 16])
