import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.reading import symmetry


@given(st.integers(0, 999), st.sampled_from([(5, 7), (2, 4, 6)]))
def test_it_is_the_correlation_with_the_mirror_image(seed: int, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = symmetry(image)
    for value, axis in ((found.left_right, -1), (found.up_down, -2)):
        values = image.numpy()
        assert value == pytest.approx(np.corrcoef(values.ravel(), np.flip(values, axis).ravel())[0, 1])


def test_a_mirrored_map_is_symmetric() -> None:
    half = torch.arange(12.0).view(3, 4)
    whole = torch.cat([half, half.flip(1)], 1)
    assert symmetry(whole).left_right == pytest.approx(1)
    assert symmetry(torch.cat([half, -half.flip(0)], 0)).up_down == pytest.approx(-1)
    assert symmetry(whole).up_down < 0.5
    assert symmetry(whole.long()) == symmetry(whole)


def test_a_map_that_is_the_same_everywhere_has_no_symmetry() -> None:
    found = symmetry(torch.full((3, 3), 0.1))
    assert math.isnan(found.left_right)
    assert math.isnan(found.up_down)


@pytest.mark.parametrize("image", [torch.zeros(4), torch.zeros(0, 3), torch.tensor([[1.0, math.nan]])])
def test_what_is_no_map_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="map"):
        symmetry(image)
