import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from graphprune.report.stats import critical_difference, rank_intervals

FEW = settings(max_examples=20)


def once(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, dict[int, float]]]:
    """One run of each method in each setting."""
    return {setting: {name: {0: value} for name, value in values.items()} for setting, values in table.items()}


@FEW
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=6), st.booleans())
def test_ranks_are_scipys_with_ties_shared(rows: list[list[int]], higher: bool) -> None:
    table = {str(number): dict(zip("abc", map(float, row), strict=True)) for number, row in enumerate(rows)}
    expected = np.array([scipy_stats.rankdata([-value if higher else value for value in row]) for row in rows])
    found = rank_intervals(once(table), higher)
    np.testing.assert_allclose([found[name].mean for name in "abc"], expected.mean(0))
    assert {rank.n for rank in found.values()} == {len(rows)}


def test_settings_without_all_methods_are_left_out() -> None:
    found = rank_intervals(once({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 3.0}, "z": {"a": 4.0, "b": math.nan}}))
    assert {name: (rank.mean, rank.n) for name, rank in found.items()} == {"a": (2.0, 1), "b": (1.0, 1)}
    nowhere = rank_intervals(once({"x": {"a": 1.0}, "y": {"b": 1.0}}))
    assert {rank.n for rank in nowhere.values()} == {0}
    assert math.isnan(nowhere["a"].mean)
    assert rank_intervals({}) == {}


RUNS = st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=2, max_size=5)


@FEW
@given(RUNS, st.booleans())
def test_intervals_of_ranks_lie_among_the_places_and_follow_the_means(rows: list[list[int]], higher: bool) -> None:
    table = {
        number: {name: dict(enumerate(map(float, row[3 * place :][:3]))) for place, name in enumerate("abc")}
        for number, row in enumerate(rows)
    }
    found = rank_intervals(table, higher)
    sums = np.array([[sum(row[3 * place :][:3]) for place in range(3)] for row in rows])
    means = dict(zip("abc", scipy_stats.rankdata(-sums if higher else sums, axis=1).mean(0), strict=True))
    for name in "abc":
        assert found[name].mean == pytest.approx(means[name])
        assert 1 <= found[name].low <= found[name].high <= 3
        assert found[name].n == len(rows)
    assert found == rank_intervals(table, higher)


def test_methods_that_never_change_places_have_no_uncertainty() -> None:
    row = {"a": {0: 0.9, 1: 0.8}, "b": {0: 0.7, 1: 0.6}, "c": {0: 0.7, 1: 0.6}}
    found = rank_intervals({1: row, 2: row})
    assert {name: (rank.low, rank.mean, rank.high) for name, rank in found.items()} == {
        "a": (1, 1, 1),
        "b": (2.5, 2.5, 2.5),
        "c": (2.5, 2.5, 2.5),
    }


def test_runs_that_not_all_methods_have_do_not_rank() -> None:
    lucky = {"a": {0: 0.5, 1: math.nan, 7: 9.0}, "b": {0: 0.6, 1: 0.1, 8: 9.0}}
    found = rank_intervals({1: lucky, 2: lucky, 3: {"a": {0: 1.0}}, 4: {"a": {0: 1.0}, "b": {1: 0.0}}})
    assert {name: (rank.mean, rank.n) for name, rank in found.items()} == {"a": (2, 2), "b": (1, 2)}
    alone = rank_intervals({1: lucky})["a"]
    assert (alone.mean, alone.n, math.isnan(alone.low)) == (2, 1, True)
    assert rank_intervals({}) == {}


def test_seeds_count_as_well_as_settings() -> None:
    sure = {"a": dict.fromkeys(range(4), 1.0), "b": dict.fromkeys(range(4), 0.0)}
    torn = {"a": {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.1}, "b": {0: 0.0, 1: 1.0, 2: 0.0, 3: 1.0}}
    assert rank_intervals(dict.fromkeys(range(6), sure))["a"].high == 1
    assert rank_intervals(dict.fromkeys(range(6), torn))["a"].high > 1  # the same in all settings: only seeds differ


def test_the_critical_difference_is_demsars() -> None:
    # Demšar, JMLR 2006, section 3.2.2: four classifiers on 14 data sets, q = 2.569.
    assert critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
