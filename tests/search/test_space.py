import numpy as np
import pytest

from graphprune.search import Space

SPACE = Space(("a", "b", "c"), (0, -2, 5), (3, 2, 5))


@pytest.mark.parametrize(
    ("names", "lower", "upper", "message"),
    [
        ((), (), (), "no genes"),
        (("a", "b"), (0, 0), (1,), "2 names, 2 lower and 1 upper"),
        (("a", "a"), (0, 0), (1, 1), "names of their own"),
        (("a", "b"), (0, 4), (1, 3), "gene 'b' has no values: its bounds are 4 and 3"),
        (("a",), (2,), (2,), "each gene has a single value, {'a': 2}"),
        (("a", "b"), (2, 3), (2, 3), "single value"),
    ],
)
def test_a_space_with_nothing_to_search_is_refused(
    names: tuple[str, ...], lower: tuple[int, ...], upper: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Space(names, lower, upper)


def test_every_point_once_and_samples_inside() -> None:
    assert len(SPACE) == 3 and SPACE.size == 20
    points = SPACE.every()
    assert len(np.unique(points, axis=0)) == 20
    drawn = SPACE.sample(500, np.random.default_rng(0))
    assert {tuple(point) for point in drawn.tolist()} == {tuple(point) for point in points.tolist()}
    assert SPACE.check(drawn).dtype == np.int64


def test_points_in_the_unit_cube() -> None:
    assert SPACE.unit(np.array([[0, -2, 5], [3, 2, 5]])).tolist() == [[0, 0, 0], [1, 1, 0]]
    assert SPACE.named(np.array([1, 2, 5])) == {"a": 1, "b": 2, "c": 5}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([1, 1, 5], r"shape \(n, 3\), got \(3,\)"),
        ([[1, 1]], r"shape \(n, 3\), got \(1, 2\)"),
        ([[1.5, 1, 5]], "integers"),
        ([[1, 1, 5], [0, 3, 5]], r"gene 'b' must be in \[-2, 2\], got 3"),
    ],
)
def test_points_that_are_none_are_refused(points: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPACE.check(np.asarray(points))
