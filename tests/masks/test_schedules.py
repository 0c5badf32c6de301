from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.masks import Cubic


@given(st.integers(0, 20), st.integers(1, 60), st.integers(1, 25))
def test_cubic_descends_from_initial_to_final_and_always_arrives(start: int, length: int, every: int) -> None:
    schedule = Cubic(initial=0.9, final=0.1, start=start, stop=start + length, every=every)
    densities = [schedule.density(step) for step in range(start + length + 5)]
    assert densities[: start + 1] == [0.9] * (start + 1)
    assert densities[start + length :] == pytest.approx([0.1] * 5)
    assert all(after <= before for before, after in pairwise(densities))
    due = [step for step in range(start + length + 5) if schedule.due(step)]
    assert due[0] == start and due[-1] == start + length
    assert all(step == start + length or (step - start) % every == 0 for step in due)


def test_cubic_follows_its_formula() -> None:
    schedule = Cubic(initial=1.0, final=0.2, start=10, stop=20, every=1)
    assert schedule.density(15) == pytest.approx(0.2 + 0.8 * 0.5**3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Cubic(1.0, -0.1, 0, 10, 1), "final"),
        (lambda: Cubic(0.1, 0.5, 0, 10, 1), "final must not be above initial"),
        (lambda: Cubic(1.0, 0.1, 10, 10, 1), "start < stop"),
        (lambda: Cubic(1.0, 0.1, 0, 10, 0), "every"),
    ],
)
def test_bad_settings_are_named(make: Callable[[], Cubic], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
