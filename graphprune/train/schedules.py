"""How learning rates change over a training: torch's schedulers, from the words and numbers of the options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Literal, get_args

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

ScheduleName = Literal["constant", "cosine", "plateau"]
# From the optimiser and the number of its steps in the training.
MakesSchedule = Callable[[Optimizer, int], LRScheduler]
Schedule = ScheduleName | MakesSchedule


@dataclass(frozen=True)
class Rates:
    """What the options say of the learning rates.

    Attributes:
        schedule: see :class:`graphprune.train.Fit`, and so for all others.
        epochs: of the training.
        warmup: share of the steps.
        milestones: shares of the epochs.
        plateau_factor: of each reduction.
        plateau_patience: validations without a better metric.

    Raises:
        ValueError: a number out of range, options of different schedules, or more than fits into the epochs.
    """

    schedule: Schedule
    epochs: int
    warmup: float
    milestones: Sequence[float]
    plateau_factor: float
    plateau_patience: int

    def __post_init__(self) -> None:
        if not callable(self.schedule) and self.schedule not in get_args(ScheduleName):
            raise ValueError(f"schedule must be one of {get_args(ScheduleName)} or a function, got {self.schedule!r}")
        if not 0 <= self.warmup < 1:
            raise ValueError(
                f"warmup must be a share of the training of at least 0 and below 1, got {self.warmup}: "
                f"of {self.epochs} epochs, one is {1 / self.epochs:.2g}"
            )
        if isinstance(self.milestones, str | Real) or not all(
            isinstance(share, Real) and 0 < share < 1 for share in self.milestones
        ):
            raise ValueError(f"milestones must be shares of the epochs between 0 and 1, got {self.milestones}")
        reached = [0, *self.drops, self.epochs]
        if not all(earlier < later for earlier, later in pairwise(reached)):
            raise ValueError(
                f"milestones must rise and lie after different epochs before the last: {self.milestones} of "
                f"{self.epochs} epochs are after epochs {reached[1:-1]}"
            )
        if self.milestones and self.schedule != "constant":
            raise ValueError(f"milestones={self.milestones} are a schedule of their own, beside {self.schedule!r}")
        if self.milestones and self.drops[0] < self.warmup * self.epochs:
            raise ValueError(f"milestones={self.milestones} begin before warmup={self.warmup} has ended")
        if callable(self.schedule) and self.warmup:
            raise ValueError(f"warmup={self.warmup} cannot be added to a schedule of your own: make it part of it")
        if not 0 < self.plateau_factor < 1:
            raise ValueError(f"plateau_factor must lie between 0 and 1, got {self.plateau_factor}")

    @property
    def drops(self) -> list[int]:
        """The epochs after which the rates are divided by 10."""
        return [round(share * self.epochs) for share in self.milestones]

    def of(self, optimizer: Optimizer, steps: int, higher_is_better: bool) -> Scheduler:
        """The schedule of one training.

        Args:
            optimizer: with its first learning rates.
            steps: that it will take.
            higher_is_better: of the validation metric, which ``"plateau"`` follows.

        Raises:
            TypeError: a callable returned no scheduler of torch's.
        """
        if callable(self.schedule):
            try:
                made = self.schedule(optimizer, steps)
            except TypeError as error:
                raise TypeError(
                    f"schedule is called with the optimizer and the number of its steps, {steps}, here: {error}"
                ) from error
            if not isinstance(made, LRScheduler):
                raise TypeError(f"schedule must return a torch.optim.lr_scheduler.LRScheduler, got {made!r}")
            return Scheduler(None, made) if isinstance(made, ReduceLROnPlateau) else Scheduler(made, None)
        by_metric, warmup = None, min(round(self.warmup * steps), steps - 1)
        if self.schedule == "plateau":
            by_metric = ReduceLROnPlateau(
                optimizer,
                "max" if higher_is_better else "min",
                factor=self.plateau_factor,
                patience=self.plateau_patience,
                threshold=0.0,  # better is what the selection of epochs takes for better
            )
        if not (warmup or self.milestones or self.schedule == "cosine"):
            return Scheduler(None, by_metric)
        drops = [epoch * (steps // self.epochs) for epoch in self.drops]

        def rate(first: float, step: int) -> float:
            if step < warmup:
                return first * (step + 1) / warmup
            for _ in range(sum(drop <= step for drop in drops)):
                first /= 10
            if self.schedule == "cosine":
                return first * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
            return first

        return Scheduler(ByStep(optimizer, rate, warmup if by_metric else steps), by_metric, warmup)


class ByStep(LRScheduler):
    """Each group's learning rate as a function of its first one and of the steps taken.

    Unlike a chain of torch's own schedulers, which multiply what the one before left, it does not depend on rounding.

    Args:
        optimizer: of the groups.
        rate: from a group's first learning rate and the steps taken to the learning rate of the step that follows.
        until: steps after which the rates are left to others.
    """

    def __init__(self, optimizer: Optimizer, rate: Callable[[float, int], float], until: int) -> None:
        self._rate, self._until = rate, until
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the step that follows."""
        if self.last_epoch > self._until:
            return [group["lr"] for group in self.optimizer.param_groups]
        return [self._rate(float(first), self.last_epoch) for first in self.base_lrs]


@dataclass
class Scheduler:
    """The schedulers of one training, and when each is due.

    Attributes:
        by_step: moves with each step of the optimiser.
        by_metric: moves with each validation after the warm-up.
        warmup: steps.
    """

    by_step: LRScheduler | None
    by_metric: ReduceLROnPlateau | None
    warmup: int = 0

    def stepped(self) -> None:
        """After a step of the optimiser."""
        if self.by_step is not None:
            self.by_step.step()

    def validated(self, metric: float) -> None:
        """After a validation."""
        if self.by_metric is not None and (self.by_step is None or self.by_step.last_epoch >= self.warmup):
            self.by_metric.step(metric)
