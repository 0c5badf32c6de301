import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphprune.search import Archive, FloatArray, IntArray, Space, hypervolume, non_dominated
from graphprune.search.archive import gain
from graphprune.search.rules import fronts_of

GRID = 6

SPACE = Space(("a", "b"), (0, 0), (4, 4))


def opposed(points: IntArray) -> FloatArray:
    """A trade-off in a; b is to be small."""
    a, b = points.T.astype(np.float64)
    return np.stack([a + b, 4 - a + b], axis=1)


def test_no_point_is_evaluated_twice() -> None:
    asked: list[list[int]] = []

    def evaluate(points: IntArray) -> FloatArray:
        asked.extend(points.tolist())
        return opposed(points)

    archive = Archive(evaluate, SPACE, 10)
    first = archive.ask([[1, 2], [3, 4], [1, 2]])
    again = archive.ask([[3, 4], [0, 0]])
    assert asked == archive.x.tolist() == [[1, 2], [3, 4], [0, 0]]
    assert first.tolist() == [[3, 5], [7, 5], [3, 5]] and again.tolist() == [[7, 5], [0, 4]]
    assert len(archive) == 3 and archive.left == 7
    assert np.array([0, 0]) in archive and np.array([0, 1]) not in archive
    assert archive.front.tolist() == [2]


def test_progress_is_the_hypervolume_of_every_beginning() -> None:
    archive = Archive(opposed, SPACE, 25)
    archive.ask(SPACE.sample(40, np.random.default_rng(0)))
    progress = archive.progress([7, 7])
    assert progress.tolist() == pytest.approx([hypervolume(archive.f[: n + 1], [7, 7]) for n in range(len(archive))])
    assert archive.hypervolume([7, 7]) == progress[-1] > 0


def test_what_comes_out_cannot_change_the_archive() -> None:
    archive = Archive(opposed, SPACE, 5)
    archive.ask([[1, 2]])
    archive.x[:] = 0
    archive.f[:] = 0
    archive.ask([[1, 2]])[:] = 0
    assert archive.x.tolist() == [[1, 2]] and archive.f.tolist() == [[3, 5]]


def test_unseen_points_are_distinct_and_new_until_there_are_no_more() -> None:
    archive = Archive(opposed, SPACE, 25)
    rng = np.random.default_rng(0)
    for left in (25, 15, 5, 0):
        points = archive.unseen(10, rng)
        assert len(points) == len(np.unique(points, axis=0)) == min(left, 10)
        assert not any(point in archive for point in points)
        archive.ask(points)
    large = Archive(opposed, Space(("a", "b"), (0, 0), (10**6, 10**6)), 100)
    assert len(np.unique(large.unseen(100, rng), axis=0)) == 100


def test_the_budget_is_the_end() -> None:
    archive = Archive(opposed, SPACE, 2)
    archive.ask([[0, 0]])
    with pytest.raises(RuntimeError, match="2 new points asked for, 1 evaluations are left"):
        archive.ask([[0, 0], [0, 1], [0, 2]])
    assert len(archive) == 1
    assert Archive(opposed, SPACE, 10**9).left == 25
    with pytest.raises(ValueError, match="budget must be a whole number of at least 1, got 0"):
        Archive(opposed, SPACE, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(2), r"must return \(2, objectives\) for 2 points: \(2,\)"),
        (np.zeros((3, 2)), r"for 2 points: \(3, 2\)"),
        (np.zeros((0, 2)), r"for 2 points: \(0, 2\)"),
        (np.zeros((2, 1)), r"two objectives or more, evaluate returned \(2, 1\)"),
        (np.zeros((2, 3)), "returned 2 objectives before and 3 now"),
        (np.array([[0, 0], [0, np.nan]]), r"returned \[0.0, nan\] for {'a': 2, 'b': 3}"),
        (np.array([[0, -np.inf], [0, 0]]), r"returned \[0.0, -inf\] for {'a': 1, 'b': 1}"),
    ],
)
def test_values_that_are_none_are_refused(values: FloatArray, message: str) -> None:
    answers = iter([np.zeros((1, 2)), values])
    archive = Archive(lambda points: next(answers), SPACE, 9)
    archive.ask([[0, 0]])
    with pytest.raises(ValueError, match=message):
        archive.ask([[1, 1], [2, 3]])
    assert len(archive) == 1


def fronts(most: int = 8) -> st.SearchStrategy[FloatArray]:
    """Points on a small grid, so that ties and duplicates happen."""
    shapes = st.tuples(st.integers(1, most), st.integers(2, 4))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(0, GRID).map(float)))


def cells(f: FloatArray) -> float:
    """The hypervolume by counting the grid's cells below the reference."""
    grids = np.meshgrid(*[np.arange(GRID)] * f.shape[1], indexing="ij")
    corners = np.stack(grids, axis=-1).reshape(-1, f.shape[1])
    return float(sum((f <= corner).all(axis=1).any() for corner in corners))


@given(fronts())
def test_volume_is_the_number_of_dominated_cells(f: FloatArray) -> None:
    assert hypervolume(f, np.full(f.shape[1], GRID)) == pytest.approx(cells(f))


@given(fronts())
def test_gain_is_the_difference_of_two_volumes(f: FloatArray) -> None:
    reference = np.full(f.shape[1], float(GRID))
    assert gain(f[0], f[1:], reference) == pytest.approx(hypervolume(f, reference) - hypervolume(f[1:], reference))


@given(st.integers(0, 999), st.integers(2, 4))
def test_what_is_dominated_adds_nothing_at_all(seed: int, objectives: int) -> None:
    f = np.random.default_rng(seed).random((12, objectives))
    beaten = np.flatnonzero(~non_dominated(f))
    assert [gain(f[place], f[non_dominated(f)], np.full(objectives, 1.1)) for place in beaten] == [0.0] * len(beaten)


@given(fronts())
def test_non_dominated_by_pairs(f: FloatArray) -> None:
    beaten = [any((other <= row).all() and (other < row).any() for other in f) for row in f]
    assert non_dominated(f).tolist() == [not lost for lost in beaten]


@given(fronts(), st.integers(1, 8))
def test_fronts_peel_the_points(f: FloatArray, count: int) -> None:
    found = fronts_of(f, count)
    places = np.concatenate(found)
    assert len(np.unique(places)) == len(places) >= min(count, len(f)) > sum(map(len, found[:-1]))
    for rank, front in enumerate(found):
        rest = np.concatenate([front, np.setdiff1d(np.arange(len(f)), np.concatenate(found[: rank + 1]))])
        assert non_dominated(f[rest]).nonzero()[0].tolist() == list(range(len(front)))


@pytest.mark.parametrize("reference", [[1.0], [1.0, np.inf], [1.0, 1.0, 1.0]])
def test_a_reference_that_is_none_is_refused(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="the reference must be 2 finite numbers"):
        hypervolume(np.zeros((1, 2)), reference)
