"""Numbers of users are Python's or NumPy's, whatever takes them."""

from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.checks import real, share, whole
from graphprune.graphs import EdgePredictor, EdgeRule
from graphprune.train import Fit

WHOLE = [np.int64(3), np.int32(3), np.uint8(3), 3]


@pytest.mark.parametrize("value", WHOLE)
def test_whole_numbers_become_pythons(value: Any) -> None:
    method = gp.FGGP(density=0.5, stop=value, every=value, seed=value)
    made = [
        *(whole("it", value), method.stop, method.every, method.seed),
        *(gp.IMP(rounds=value).last_round, Fit(epochs=value).epochs, EdgeRule(min_degree=value).min_degree),
        *(gp.Encodings(value).walks, EdgePredictor([value], 8).config()["hidden"] - 5),
    ]
    assert made == [3] * len(made)
    assert {type(each) for each in made} == {int}


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), 0.5])
def test_real_numbers_become_pythons(value: Any) -> None:
    method = gp.FGGP(density=value, stop=value, every=2, candidate_ratio=value)
    made = [real("it", value), share("it", value), method.density, method.stop, method.candidate_ratio]
    made += [
        gp.IMP(weight_rate=value).weight_rate,
        *gp.GICP(predictor=EdgePredictor(1), densities=value, stop=3).densities,
    ]
    assert made == [0.5] * len(made)
    assert {type(each) for each in made} == {float}


@pytest.mark.parametrize("value", [True, np.True_, "3", 3.0, np.float64(3), None])
def test_nothing_else_is_a_whole_number(value: Any) -> None:
    for call in (
        lambda: whole("rounds", value),
        lambda: gp.IMP(rounds=value),
        lambda: gp.FGGP(density=0.5, stop=3, every=value),
        lambda: EdgeRule(min_degree=value),
        lambda: gp.Encodings(value),
    ):
        with pytest.raises(ValueError, match=r"(rounds|every|min_degree|walks) must be"):
            call()
