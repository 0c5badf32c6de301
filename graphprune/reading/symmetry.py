"""How symmetric a map over pixels is."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor


@dataclass(frozen=True)
class Symmetry:
    """Correlation of a map with its mirror images, from -1 to 1; NaN for a map that is the same everywhere.

    Attributes:
        left_right: with left and right exchanged.
        up_down: with top and bottom exchanged.
    """

    left_right: float
    up_down: float


def symmetry(image: Tensor) -> Symmetry:
    """Pearson's correlation of a map with its mirror images.

    Args:
        image: shape ``(H, W)`` or ``(C, H, W)``; channels count as more pixels.

    Raises:
        ValueError: another shape, no pixels, or values that are not finite.
    """
    if image.ndim not in (2, 3) or not image.numel():
        raise ValueError(f"a map over pixels has shape (H, W) or (C, H, W), got {tuple(image.shape)}")
    values = image.detach().double()
    if not bool(values.isfinite().all()):
        raise ValueError("the map has values that are not finite")
    return Symmetry(_correlation(values, values.flip(-1)), _correlation(values, values.flip(-2)))


def _correlation(one: Tensor, other: Tensor) -> float:
    if bool((one == one.flatten()[0]).all()):  # its deviation is 0 but for rounding
        return nan
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])
