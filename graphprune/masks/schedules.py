"""How dense the masks are at each step, and at which steps they change."""

from dataclasses import dataclass

from graphprune.checks import whole


@dataclass(frozen=True)
class Cubic:
    """Fast at first, then ever slower: ``final + (initial - final) * (1 - t) ** 3`` (Zhu & Gupta, 2017).

    Attributes:
        initial: density before ``start``, in [0, 1].
        final: density from ``stop`` on, at most ``initial``.
        start: first step of the descent, in optimiser steps.
        stop: last step of the descent, after ``start``.
        every: steps between two changes of the masks.
    """

    initial: float
    final: float
    start: int
    stop: int
    every: int

    def __post_init__(self) -> None:
        """Refuse densities, steps or intervals that describe no descent."""
        for name, value in (("initial", self.initial), ("final", self.final)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be a density in [0, 1], got {value}")
        if self.final > self.initial:
            raise ValueError(f"final must not be above initial, got {self.final} > {self.initial}")
        if not 0 <= self.start < self.stop:
            raise ValueError(f"start and stop must satisfy 0 <= start < stop, got {self.start} and {self.stop}")
        whole("every", self.every, 1)

    def density(self, step: int) -> float:
        """``initial`` up to ``start``, ``final`` from ``stop``, the cubic in between."""
        done = min(max((step - self.start) / (self.stop - self.start), 0.0), 1.0)
        return float(self.final + (self.initial - self.final) * (1.0 - done) ** 3)

    def due(self, step: int) -> bool:
        """Every ``every`` steps from ``start``, and at ``stop`` itself: ``final`` is always reached."""
        return self.start <= step <= self.stop and ((step - self.start) % self.every == 0 or step == self.stop)

    def latest(self, step: int) -> int:
        """The last step up to ``step`` at which the masks changed; ``start`` before any."""
        if step >= self.stop:
            return self.stop
        return self.start + max(step - self.start, 0) // self.every * self.every
