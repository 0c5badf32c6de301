"""What options may be, and that an error names them as a user writes them."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import pytest

from graphprune.masks import Channel
from graphprune.methods.core import validators


def checked(validator: validators.Validator, value: Any) -> None:
    attrs.make_class("Some", {"num": attrs.field(alias="option", validator=validator)})(option=value)


@pytest.mark.parametrize(
    ("validator", "good", "bad"),
    [
        (validators.share, (0, 0.5, 1, np.float32(0.5)), (-0.1, 1.1, math.nan, "0.5", None, True)),
        (validators.rate, (0, 0.99), (1, -1e-9, math.nan)),
        (validators.density, (1e-9, 1), (0, 1.01, math.inf)),
        (validators.part, (0.5,), (0, 1, math.nan)),
        (validators.positive, (1e-9, 3), (0, math.inf, "x")),
        (validators.penalty, (0, 10), (-1, math.inf, math.nan)),
        (validators.count, (1, 20), (0, 1.0, True, "1")),
        (validators.whole(), (-3, 0), (0.0, "a")),
        (validators.first_step, (0, 5), (-1, 2.5)),
        (validators.switch, (True, False), (0, "no")),
        (validators.one_of("one", None), ("one", None), ("two", 3)),
        (validators.scope, ("global", "layer"), ("block",)),
        (validators.unit, ("weight", "coupled", Channel()), ("layer", None)),
    ],
)
def test_values_and_the_name_of_the_option(validator: Any, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        checked(validator, value)
    for value in bad:
        with pytest.raises(ValueError, match=r"^option must .*, got "):
            checked(validator, value)
