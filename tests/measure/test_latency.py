import math
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.measure.latency import Clock, Latency, break_even, time_calls
from graphprune.measure.modes import using_threads


def ticking(seconds: Iterable[float]) -> Clock:
    """A clock between whose readings, two by two, these seconds pass."""
    now, readings = 0.0, []
    for each in seconds:
        readings += [now, now + each]
        now += each + 100.0
    return iter(readings).__next__


def test_median_and_quartiles() -> None:
    found = time_calls(lambda: None, repeats=5, clock=ticking([3.0, 1.0, 2.0, 5.0, 4.0]))
    assert found == Latency(median=3.0, low=2.0, high=4.0, repeats=5)
    assert found / 2 == Latency(median=1.5, low=1.0, high=2.0, repeats=5)


def test_warming_up_is_not_timed() -> None:
    calls = []
    found = time_calls(lambda: calls.append(1), repeats=2, warmup=4, clock=ticking([1.0, 1.0]))
    assert (len(calls), found.median) == (6, 1.0)


@pytest.mark.parametrize("options", [{"repeats": 0}, {"warmup": -1}])
def test_bad_numbers_of_calls(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a whole number"):
        time_calls(lambda: None, **options)


def test_break_even_by_hand() -> None:
    assert break_even(10.0, 3.0, 1.0) == 5.0
    assert break_even(0.0, 3.0, 1.0) == 0.0
    assert break_even(1.0, 1.0, 1.0) == break_even(0.0, 1.0, 2.0) == math.inf


SECONDS = st.floats(1e-6, 1e3)


@given(SECONDS, SECONDS, SECONDS)
def test_behind_the_break_even_pruned_graphs_have_taken_less_time(scoring: float, full: float, pruned: float) -> None:
    often = break_even(scoring, full, pruned)
    if math.isinf(often):
        assert pruned >= full
    else:
        assert scoring + often * pruned == pytest.approx(often * full)
        assert scoring + 2 * often * pruned < 2 * often * full


@pytest.mark.parametrize("seconds", [(-1.0, 1.0, 1.0), (1.0, math.nan, 1.0), (1.0, 1.0, math.inf)])
def test_seconds_that_are_none(seconds: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        break_even(*seconds)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), using_threads(before + 1) as number:
        assert number == torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
    with using_threads(None) as number:
        assert number == before
    with pytest.raises(ValueError, match="threads must be"), using_threads(0):
        pass
