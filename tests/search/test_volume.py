import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphprune.search import FloatArray, hypervolume, non_dominated
from graphprune.search.volume import fronts_of, gain

GRID = 6


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
