"""How soft gates are while they train."""

from __future__ import annotations

from dataclasses import dataclass

from graphprune.checks import whole


@dataclass(frozen=True)
class Temperature:
    """A temperature that goes from ``start`` to ``stop``, by the same factor each step.

    Attributes:
        start: before the first step, above 0.
        stop: from step ``steps`` on, above 0.
        steps: length of the way, in training steps.

    Raises:
        ValueError: a temperature of 0 or less, or no steps.
    """

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse what is no temperature."""
        for name, value in (("start", self.start), ("stop", self.stop)):
            if not 0.0 < value < float("inf"):
                raise ValueError(f"the temperature's {name} must be above 0 and finite, got {value}")
        whole("steps", self.steps, 1)

    @classmethod
    def of(cls, value: float | Temperature) -> Temperature:
        """A constant as such a way, or the way itself."""
        return value if isinstance(value, Temperature) else cls(value, value, 1)

    def at(self, step: int) -> float:
        """The temperature at a step."""
        return float(self.start * (self.stop / self.start) ** min(step / self.steps, 1.0))
