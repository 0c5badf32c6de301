"""How many weights each layer keeps: uniform and Erdős-Rényi-kernel densities as exact counts."""

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from typing import Literal, get_args

Shapes = Mapping[str, tuple[int, ...]]
Distribution = Literal["erk", "uniform"]


def counts(distribution: Distribution, shapes: Shapes, density: float) -> dict[str, int]:
    """Entries to keep in each layer, :func:`erk` or :func:`uniform` by name.

    Raises:
        ValueError: another name, or a density outside [0, 1].
    """
    if distribution not in get_args(Distribution):
        raise ValueError(f"distribution must be one of {get_args(Distribution)}, got {distribution!r}")
    return erk(shapes, density) if distribution == "erk" else uniform(shapes, density)


def uniform(shapes: Shapes, density: float) -> dict[str, int]:
    """The same density in every layer, up to rounding; see :func:`erk`."""
    return erk(shapes, density, power=0.0)


def erk(shapes: Shapes, density: float, power: float = 1.0) -> dict[str, int]:
    """Erdős-Rényi-kernel densities (Evci et al., ICML 2020): small layers are denser than large ones.

    A layer's density is in proportion to ``(sum(shape) / prod(shape)) ** power``. Layers that would be more than dense
    are dense, and the others share what is left. The counts are rounded by largest remainder (among equal ones the
    earlier layer is rounded up), so each is within 1 of the solution in real numbers.

    Args:
        shapes: shape of each layer's weights.
        density: share of all weights that is kept, in [0, 1].
        power: how much the shape matters, in [0, 1]; 1 is the published distribution, 0 the uniform one.

    Returns:
        Weights to keep of each layer, at most its size; together exactly ``round(density * total)``.

    Raises:
        ValueError: a density or power outside [0, 1].
    """
    for argument, value in (("density", density), ("power", power)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{argument} must be in [0, 1], got {value}")
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    # Written as a product, powers 0 and 1 are exact, so that equal shares are ties. A scalar has no sum of its own.
    shares = {
        name: Fraction(sizes[name] ** (1.0 - power) * max(sum(shape), 1) ** power) for name, shape in shapes.items()
    }
    return _rounded(_filled(sizes, shares, round(density * sum(sizes.values()))))


def _filled(sizes: Mapping[str, int], shares: Mapping[str, Fraction], budget: int) -> dict[str, Fraction]:
    """The budget in proportion to the shares, no more than its size to each; exact."""
    filled = {name: Fraction(0) for name, size in sizes.items() if not size}
    while len(filled) < len(sizes):
        unfilled = [name for name in sizes if name not in filled]
        scale = (budget - sum(filled.values())) / sum((shares[name] for name in unfilled), Fraction())
        full = [name for name in unfilled if scale * shares[name] > sizes[name]]
        if not full:
            filled |= {name: scale * shares[name] for name in unfilled}
        filled |= {name: Fraction(sizes[name]) for name in full}
    return {name: filled[name] for name in sizes}


def _rounded(real: Mapping[str, Fraction]) -> dict[str, int]:
    """Integers of the same sum, by largest remainder."""
    down = {name: int(value) for name, value in real.items()}
    # The sort is stable: equal remainders stay in order.
    by_remainder = sorted(real, key=lambda name: down[name] - real[name])
    up = set(by_remainder[: int(sum(real.values())) - sum(down.values())])
    return {name: count + (name in up) for name, count in down.items()}
