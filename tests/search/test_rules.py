import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.search import FloatArray, hypervolume
from graphprune.search.rules import (
    RULES,
    Portfolio,
    contribution,
    crowding,
    density,
    floored,
    fronts_of,
    quotas,
    room,
    scalarised,
    tchebycheff,
)


def pool(seed: int, count: int, objectives: int) -> FloatArray:
    return np.random.default_rng(seed).random((count, objectives)).round(1)


@pytest.mark.parametrize("name", RULES)
@given(st.integers(0, 99), st.integers(1, 20), st.integers(2, 3), st.integers(1, 20))
def test_every_rule_orders_each_point_of_the_fronts_once(name: str, seed: int, n: int, m: int, count: int) -> None:
    f = pool(seed, n, m)
    fronts = fronts_of(f, count)
    order = RULES[name](f, fronts, np.random.default_rng(seed))
    assert sorted(order.tolist()) == sorted(np.concatenate(fronts).tolist())


@pytest.mark.parametrize("rule", [crowding, density, contribution])
def test_better_fronts_come_first(rule: type) -> None:
    f = pool(0, 30, 2)
    fronts = fronts_of(f, 30)
    order = iter(rule(f, fronts, np.random.default_rng(0)).tolist())
    for front in fronts:
        assert {next(order) for _ in front} == set(front.tolist())


@pytest.mark.parametrize("rule", [crowding, density, contribution])
def test_the_point_in_a_crowd_goes_last(rule: type) -> None:
    f = np.array([[0, 1], [0.25, 0.7], [0.5, 0.5], [0.51, 0.49], [0.52, 0.48], [0.75, 0.25], [1, 0]])
    assert rule(f, fronts_of(f, 7), np.random.default_rng(0))[-1] == 3


@given(st.integers(0, 99), st.integers(2, 3))
def test_contribution_drops_what_costs_least_volume(seed: int, m: int) -> None:
    f = pool(seed, 12, m)
    f = f[fronts_of(f, 1)[0]]
    reference = f.max(axis=0) + 0.1 * np.maximum(np.ptp(f, axis=0), 1e-12)
    order = contribution(f, [np.arange(len(f))], np.random.default_rng(0))
    for kept in range(len(f), 1, -1):
        left = order[:kept]
        volumes = [hypervolume(f[np.delete(left, drop)], reference) for drop in range(kept)]
        assert volumes[-1] == pytest.approx(max(volumes))


def test_tchebycheff_finds_the_ends_and_the_knee_by_turns() -> None:
    f = np.array([[0.0, 1.0], [0.1, 0.1], [1.0, 0.0], [0.9, 0.9]])
    fronts = fronts_of(f, 4)
    orders = [tchebycheff(f, fronts, np.random.default_rng(seed)).tolist() for seed in range(60)]
    assert {order[0] for order in orders} == {0, 1, 2}
    assert all(order.index(1) < order.index(3) for order in orders)


def test_scalarised_by_hand() -> None:
    value = scalarised(np.array([[0.5, 0.2]]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert value[:, 0] == pytest.approx([0.25 + 0.05 * 0.35, 0.2 + 0.05 * 0.2])


def test_room_of_a_front_by_hand() -> None:
    assert room(np.array([[0, 4], [1, 2], [4, 0]])).tolist() == [np.inf, 2.0, np.inf]
    assert room(np.array([[1, 1]])).tolist() == [np.inf]


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
