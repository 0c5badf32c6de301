from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.masks.distribution import counts, erk, uniform

Shapes = dict[str, tuple[int, ...]]

SHAPES = st.lists(
    st.one_of(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(*[st.integers(1, 6)] * 4)),
    min_size=1,
    max_size=8,
).map(lambda shapes: {f"layer{i}": shape for i, shape in enumerate(shapes)})
SHARES = st.floats(0, 1)


def by_bisection(shapes: Shapes, budget: int, power: float) -> dict[str, float]:
    """The real-valued solution: the scale at which the clamped layers together hold the budget."""
    raw = {name: (sum(shape) / prod(shape)) ** power for name, shape in shapes.items()}
    low, high = 0.0, 1 / min(raw.values())
    for _ in range(200):
        scale = (low + high) / 2
        held = {name: prod(shape) * min(1.0, scale * raw[name]) for name, shape in shapes.items()}
        low, high = (scale, high) if sum(held.values()) < budget else (low, scale)
    return held


@given(SHAPES, SHARES, st.sampled_from([0.0, 0.5, 1.0]))
def test_exact_total_close_to_the_real_valued_solution(shapes: Shapes, density: float, power: float) -> None:
    budget = round(density * sum(map(prod, shapes.values())))
    kept = erk(shapes, density, power)
    real = by_bisection(shapes, budget, power)
    assert list(kept) == list(shapes)
    assert sum(kept.values()) == budget
    for name, shape in shapes.items():
        assert 0 <= kept[name] <= prod(shape)
        assert abs(kept[name] - real[name]) < 1 + 1e-6


@given(SHAPES, SHARES)
def test_uniform_keeps_the_same_share_of_each(shapes: Shapes, density: float) -> None:
    kept = uniform(shapes, density)
    total = sum(map(prod, shapes.values()))
    assert sum(kept.values()) == round(density * total)
    for name, shape in shapes.items():
        assert abs(kept[name] - prod(shape) * sum(kept.values()) / total) < 1


@given(SHAPES, SHARES, SHARES)
def test_more_density_takes_nothing_but_a_rounded_weight_from_a_layer(shapes: Shapes, one: float, other: float) -> None:
    fewer, more = (erk(shapes, density) for density in sorted((one, other)))
    assert all(more[name] >= fewer[name] - 1 for name in shapes)


def test_erk_of_lenet_by_hand() -> None:
    # 266,200 weights at 2 %: 5,324. Shares 1084, 400 and 110 add up to 1,594: no layer is clamped.
    shapes = {"one": (300, 784), "two": (100, 300), "three": (10, 100)}
    assert erk(shapes, 0.02) == {"one": 3621, "two": 1336, "three": 367}
    # At 20 % the last one would hold 3,674 of its 1,000: it is dense, and 52,240 are left for 1084 and 400.
    assert erk(shapes, 0.2) == {"one": 38159, "two": 14081, "three": 1000}


def test_equal_remainders_round_up_the_earlier_layer() -> None:
    shapes = {"b": (2, 3), "a": (2, 3), "c": (2, 3)}
    assert erk(shapes, 4 / 18) == {"b": 2, "a": 1, "c": 1}
    assert uniform(shapes, 5 / 18) == {"b": 2, "a": 2, "c": 1}


def test_borders() -> None:
    shapes: Shapes = {"scalar": (), "empty": (0, 4), "matrix": (3, 5)}
    for distribution in ("erk", "uniform"):
        assert counts(distribution, shapes, 0.0) == {"scalar": 0, "empty": 0, "matrix": 0}
        assert counts(distribution, shapes, 1.0) == {"scalar": 1, "empty": 0, "matrix": 15}
        assert counts(distribution, {}, 0.5) == {}


def test_bad_input() -> None:
    for density in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="density must be in"):
            erk({"w": (2, 2)}, density)
    with pytest.raises(ValueError, match="power must be in"):
        erk({"w": (2, 2)}, 0.5, power=2.0)
    with pytest.raises(ValueError, match=r"distribution must be one of .* got 'er'"):
        counts("er", {"w": (2, 2)}, 0.5)  # type: ignore[arg-type]
