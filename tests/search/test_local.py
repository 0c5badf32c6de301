import numpy as np
import pytest

from graphprune.search import Archive, FloatArray, IntArray, Space
from graphprune.search.local import GaussianProcesses, LocalSearch, neighbours

SPACE = Space(tuple("abcdef"), (0,) * 6, (9,) * 6)


def test_the_model_follows_smooth_values_and_averages_noise() -> None:
    rng = np.random.default_rng(0)
    x, other = rng.random((120, 4)), rng.random((50, 4))

    def smooth(x: FloatArray) -> FloatArray:
        values: FloatArray = 3 + 5 * x[:, 0] - x[:, 1] + np.sin(3 * x[:, 2]) + x[:, 3] ** 2
        return values

    values = np.stack([smooth(x), smooth(x) + rng.normal(0, 0.3, len(x))], axis=1)
    model = GaussianProcesses(x, values)
    assert model.predict(x)[:, 0] == pytest.approx(smooth(x), abs=1e-2)
    exact, noisy = np.abs(model.predict(other) - smooth(other)[:, None]).T
    assert exact.max() < 0.05
    assert noisy.mean() < 0.15


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_model_of_few_or_equal_values(count: int) -> None:
    x = np.random.default_rng(0).random((count, 4))
    model = GaussianProcesses(x, np.stack([np.full(count, 2.5), np.arange(count)], axis=1))
    assert model.predict(x)[:, 0] == pytest.approx(np.full(count, 2.5))
    assert np.isfinite(model.predict(1 - x)).all()


def test_neighbours_are_steps_of_a_gene_and_transfers_inside_the_bounds() -> None:
    point = np.array([0, 9, 4, 4, 4, 4])
    moves = neighbours(point, SPACE, 200, np.random.default_rng(0)) - point
    assert SPACE.check(point + moves) is not None
    genes = (moves != 0).sum(axis=1)
    assert set(genes.tolist()) == {1, 2}
    assert (moves[genes == 2].sum(axis=1) == 0).all() and np.abs(moves[genes == 2]).max() == 1
    single = moves[genes == 1]
    assert len(np.unique(single, axis=0)) == len(single)
    assert sorted(single[:, 0][single[:, 0] != 0].tolist()) == [1, 2, 4, 8]
    assert sorted(single[:, 2][single[:, 2] != 0].tolist()) == [-4, -2, -1, 1, 2, 4]


def bowls(points: IntArray) -> FloatArray:
    """Distances to two corners."""
    return np.stack([(points**2).sum(axis=1), ((9 - points) ** 2).sum(axis=1)], axis=1).astype(np.float64)


def test_proposals_are_new_and_better_than_random() -> None:
    archive = Archive(bowls, SPACE, 200)
    rng = np.random.default_rng(0)
    archive.ask(SPACE.sample(60, rng))
    before = archive.hypervolume([500, 500])
    points = LocalSearch(searches=5).propose(archive, rng)
    assert 1 <= len(points) <= 5
    assert len(archive.new(points)) == len(points)
    archive.ask(points)
    local = archive.hypervolume([500, 500]) - before
    other = Archive(bowls, SPACE, 200)
    other.ask(archive.x[:60])
    other.ask(other.unseen(len(points), rng))
    assert local > other.hypervolume([500, 500]) - before


def test_nothing_new_near_by_is_no_proposal() -> None:
    small = Space(("a", "b"), (0, 0), (2, 2))
    archive = Archive(bowls, small, 9)
    archive.ask(small.every())
    assert LocalSearch(searches=3).propose(archive, np.random.default_rng(0)).shape == (0, 2)
