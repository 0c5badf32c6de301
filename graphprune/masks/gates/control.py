"""From a wanted density to the weight of the gates' penalty: an integral controller that follows a falling target."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True)
class DensityControl:
    """How the penalty is steered to a density.

    The target falls from 1 to the wanted density, on a logarithmic scale and ever slower:
    ``target = density ** (1 - (1 - t) ** power)``. The penalty is ``price * (1 + proportional * error)`` times the
    expected over the wanted units, where ``error`` is the log of kept over wanted ones, cut at 5 %; the log of the
    price grows by ``gain * error`` each step. So the price of a unit finds its level, whatever the size of the model
    and the scale of the loss, and where too few are kept the penalty becomes a reward: a loss that is small already
    would open no gate again.

    What has closed rarely opens again, so that early choices stay. With ``cycles`` the target falls in the first half
    of the steps, and then rises to ``swell`` times the density and falls back so many times: what is kept has to prove
    itself against others, again and again.

    Attributes:
        steps: steps over which the target falls; about 0.8 of the training leaves time to settle. 0: at once.
        power: how much the fall slows down, at least 1.
        gain: of the price, per step, above 0.
        proportional: weight of the error itself, at least 0.
        price: at the start, above 0.
        cycles: how often the target rises again, at least 0.
        swell: to how many times the density it rises, above 1.

    Raises:
        ValueError: a number outside its range.
    """

    steps: int = 0
    power: float = 3.0
    gain: float = 0.05
    proportional: float = 300.0
    price: float = 0.05
    cycles: int = 0
    swell: float = 4.0

    def __post_init__(self) -> None:
        """Refuse numbers that steer nothing."""
        for name, good in (
            ("steps", self.steps >= 0),
            ("power", self.power >= 1),
            ("gain", self.gain > 0),
            ("proportional", self.proportional >= 0),
            ("price", self.price > 0),
            ("cycles", self.cycles >= 0),
            ("swell", self.swell > 1),
        ):
            if not good:
                raise ValueError(f"{name} is out of range: {getattr(self, name)}")

    def target(self, step: int, density: float) -> float:
        """The density wanted at a step."""
        falling = self.steps / 2 if self.cycles else self.steps
        if step < falling:
            return float(density ** (1.0 - (1.0 - step / falling) ** self.power))
        if step >= self.steps:
            return density
        within = (step - falling) / (self.steps - falling) * self.cycles % 1.0
        return min(density * float(self.swell ** max(0.0, 1.0 - within / _FALL)), 1.0)

    def error(self, kept: int, wanted: float) -> float:
        """``log(kept / wanted)``, cut at 5 % on both sides."""
        return min(max(log(max(kept, 0.5) / wanted), -_BOUND), _BOUND)

    def moved(self, log_price: float, error: float) -> float:
        """The log of the price after a step."""
        return min(max(log_price + self.gain * error, _LOWEST), _HIGHEST)

    def scale(self, log_price: float, error: float) -> float:
        """What the expected over the wanted units are multiplied with; negative for a reward."""
        return exp(log_price) * (1.0 + self.proportional * error)


_BOUND = 0.05
_FALL = 0.7  # share of a cycle in which the target falls back; in the rest gates settle
_LOWEST, _HIGHEST = log(1e-6), log(1e3)
