import numpy as np
import pytest

from graphprune.search import Archive, FloatArray, IntArray, Space, hypervolume

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
    with pytest.raises(ValueError, match="at least one evaluation, got 0"):
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
