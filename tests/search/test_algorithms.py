import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from graphprune.search import Archive, FloatArray, IntArray, Space, memetic, nsga2, random_search

pytest.importorskip("pymoo")

SPACE = Space(tuple("abcdef"), (0,) * 6, (9,) * 6)
SEARCHES: dict[str, Callable[..., Archive]] = {
    "memetic": partial(memetic, population=8),
    "no portfolio": partial(memetic, population=8, portfolio=False),
    "no surrogate": partial(memetic, population=8, surrogate=False),
    "nsga2": partial(nsga2, population=8),
    "random": random_search,
}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=list(SEARCHES))


def valley(points: IntArray) -> FloatArray:
    """A ZDT1-like trade-off: the first gene decides between the objectives, the others are to be small."""
    first, rest = points[:, 0] / 9, 1 + points[:, 1:].mean(axis=1)
    return np.stack([first, rest * (1 - np.sqrt(first / rest))], axis=1)


@every_search
def test_the_budget_is_spent_on_distinct_points(search: Callable[..., Archive]) -> None:
    archive = search(valley, SPACE, budget=50)
    assert len(archive) == 50 and archive.left == 0
    assert len(np.unique(archive.x, axis=0)) == 50
    np.testing.assert_array_equal(archive.f, valley(archive.x))


@every_search
def test_a_space_smaller_than_the_budget_is_searched_whole(search: Callable[..., Archive]) -> None:
    small = Space(("a", "b", "fixed"), (0, 0, 3), (5, 6, 3))
    archive = search(valley, small, budget=1000)
    assert len(archive) == small.size == 42


@every_search
def test_a_killed_search_is_replayed(search: Callable[..., Archive]) -> None:
    """The same seed and answers give the same points, whatever numpy's global state, which is left alone."""
    whole = search(valley, SPACE, budget=60, seed=3)
    journal: dict[bytes, FloatArray] = {}

    def recorded(points: IntArray, calls: list[int], most: int) -> FloatArray:
        for point in points:
            if point.tobytes() not in journal:
                if len(calls) == most:
                    raise KeyboardInterrupt
                calls.append(0)
                journal[point.tobytes()] = valley(point[None])[0]
        return np.stack([journal[point.tobytes()] for point in points])

    with pytest.raises(KeyboardInterrupt):
        search(partial(recorded, calls=[], most=33), SPACE, budget=60, seed=3)
    assert len(journal) == 33
    np.random.seed(7)
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    calls: list[int] = []
    resumed = search(partial(recorded, calls=calls, most=10**9), SPACE, budget=60, seed=3)
    np.testing.assert_array_equal(resumed.x, whole.x)
    assert len(calls) == 60 - 33
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], state)
    assert not np.array_equal(search(valley, SPACE, budget=60, seed=4).x, whole.x)


@every_search
def test_initial_points_come_first(search: Callable[..., Archive]) -> None:
    initial = np.array([[1] * 6, [2] * 6, [1] * 6, [0] * 6])
    assert search(valley, SPACE, budget=20, initial=initial).x[:3].tolist() == [[1] * 6, [2] * 6, [0] * 6]
    many = SPACE.every()[:15]
    np.testing.assert_array_equal(search(valley, SPACE, budget=20, initial=many).x[:15], many)


@every_search
def test_batches_are_whole_generations(search: Callable[..., Archive]) -> None:
    sizes: list[int] = []

    def evaluate(points: IntArray) -> FloatArray:
        sizes.append(len(points))
        return valley(points)

    search(evaluate, SPACE, budget=50)
    assert sum(sizes) == 50 and sizes[0] >= 8


def test_the_parts_make_the_search_better() -> None:
    found = {
        name: np.mean([search(valley, SPACE, budget=120, seed=seed).hypervolume([1.1, 6]) for seed in range(3)])
        for name, search in SEARCHES.items()
    }
    assert found["memetic"] > found["nsga2"] > found["random"]
    assert found["no portfolio"] > found["nsga2"]


def test_without_its_parts_it_is_nsga2() -> None:
    bare = memetic(valley, SPACE, budget=60, population=8, portfolio=False, surrogate=False, seed=1)
    np.testing.assert_array_equal(bare.x, nsga2(valley, SPACE, budget=60, population=8, seed=1).x)


def test_three_objectives() -> None:
    archive = memetic(lambda points: np.concatenate([valley(points), points[:, 5:]], axis=1), SPACE, budget=60)
    assert archive.f.shape == (60, 3)


@every_search
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_stop_the_search_and_name_the_point(
    search: Callable[..., Archive], bad: float
) -> None:
    def evaluate(points: IntArray) -> FloatArray:
        values = valley(points)
        values[points[:, 0] == 4, 1] = bad
        return values

    with pytest.raises(ValueError, match=rf"evaluate returned \[0.4.*, {bad}\] for {{'a': 4, 'b': "):
        search(evaluate, SPACE, budget=60)


@every_search
def test_a_changing_number_of_objectives_is_refused(search: Callable[..., Archive]) -> None:
    def evaluate(points: IntArray) -> FloatArray:
        return valley(points)[:, :1]

    with pytest.raises(ValueError, match="two objectives or more"):
        search(evaluate, SPACE, budget=60)


@pytest.mark.parametrize("search", [memetic, nsga2])
def test_a_budget_below_the_population_is_refused(search: Callable[..., Archive]) -> None:
    with pytest.raises(ValueError, match="must pay for a population: 7 evaluations, 8 points"):
        search(valley, SPACE, budget=7, population=8)
    with pytest.raises(ValueError, match="two points or more, got 1"):
        search(valley, SPACE, budget=7, population=1)
    with pytest.raises(ValueError, match="must pay for the initial points: 8 evaluations, 9 points"):
        search(valley, SPACE, budget=8, population=8, initial=SPACE.every()[:9])
    with pytest.raises(ValueError, match=r"gene 'f' must be in \[0, 9\], got 10"):
        search(valley, SPACE, budget=8, population=8, initial=[[0, 0, 0, 0, 0, 10]])


@pytest.mark.parametrize("package", ["pymoo", "moocore"])
def test_without_a_package_the_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "graphprune.search.evolve", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'graphprune\[search\]'"):
        memetic(valley, SPACE, budget=30)
    assert len(random_search(valley, SPACE, budget=20)) == 20
