"""What a method asks of a training loop, and what it gets back. Any function from FitJob to FitResult will do."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from graphprune.data.labelled import LabelledData
from graphprune.masks import Handle, MaskSet, Pruning
from graphprune.masks.networks import TrainingDiverged
from graphprune.masks.parameters import came_back, in_words
from graphprune.methods.core.handed import check_fit, check_state
from graphprune.methods.core.share import part_of_step

State = dict[str, Tensor]
AnyData = LabelledData[Any]  # of graphs or of images


class Pruner(Protocol):
    """What prunes in the middle of a training, such as :class:`graphprune.FGGP`."""

    def attach(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int | None = None) -> Pruning:
        """Prune from the next step of the optimiser on."""


@dataclass(frozen=True)
class FitJob:
    """One training that a method asks for.

    Attributes:
        model: to be trained in place; ``model(batch)`` (of images: ``model(batch.x)``) gives logits of shape
            ``(B, data.num_outputs)``. In the phase ``"search"`` of ICPG this is model and edge predictor in one module:
            in ``train()`` mode edges are weighed,
            in ``eval()`` mode they are removed, so that an ordinary loop does the right thing.
        data: pruned ``train``, ``val`` and ``test`` graphs, or images. Only ``val`` may select anything. Graphs may
            bring along what was counted on their edges (``original_units``, ``graphprune_walks``).
        masks: which weights stay; attach them to the optimiser.
        round: number of the round, 0 for a dense training.
        phase: ``"search"`` or ``"ticket"``; a search needs no test metric.
        pruner: prunes further while the model trains; None: the masks stay as they are.
    """

    model: nn.Module
    data: AnyData
    masks: MaskSet
    round: int = 0
    phase: str = "ticket"
    pruner: Pruner | None = None
    _runs: list[Pruning] = field(default_factory=list, init=False, repr=False, compare=False)

    def attach(self, optimizer: torch.optim.Optimizer, *, steps: int | None = None) -> Handle[MaskSet] | Pruning:
        """Keep pruned weights at zero through every step of this optimiser (a context manager).

        A method that prunes while the model trains starts with it here. What a search trains beside the parameters (the
        edge masks of UGS) follows the optimiser from here on.

        Args:
            optimizer: owns all parameters that can be pruned.
            steps: how many steps the training will take, if that is known: pruning that cannot be finished within them
                is then refused at once.

        Raises:
            ValueError: what :meth:`graphprune.MaskSet.attach` and the method's own ``attach`` raise.
        """
        follow = getattr(self.model, "follow", None)
        if follow is not None:
            follow(optimizer)
        if self.pruner is None:
            return self.masks.attach(self.model, optimizer)
        run = self.pruner.attach(self.model, optimizer, steps=steps)
        self._runs.append(run)
        return run

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameter groups for any optimiser; the edge predictor's group may have a learning rate of its own."""
        groups = getattr(self.model, "param_groups", None)
        if groups is None:
            return [{"params": list(self.model.parameters()), "lr": lr}]
        return groups(lr)  # type: ignore[no-any-return]

    def part(self, share: float) -> AbstractContextManager[None]:
        """For loops that accumulate gradients: inside, a batch goes through that is so large a part of a step.

        Losses that a method adds to the loop's own (GSAT's information, UGS's penalty, CLAD's distillation) then count
        once a step, as with one large batch, and not once a batch.

        Args:
            share: of the step's examples, for example ``1 / batches``.
        """
        return part_of_step(share)

    def seed(self, base: int) -> int:
        """A seed of this job's own, so that a resumed run draws what an uninterrupted one draws."""
        return derive_seed(base, self.round, self.phase)

    def run(self, fit: Fit) -> FitResult:
        """Do this training with a training function.

        Raises:
            TypeError: no function of a job, or one that returned something else than a :class:`FitResult`.
            RuntimeError: states in which pruned weights are not zero, or no masks of a training that prunes.
        """
        check_fit(fit)
        result = fit(self)
        if not isinstance(result, FitResult):
            raise TypeError(f"fit must return a FitResult, such as job.track().result(), got {type(result).__name__}")
        if self.pruner is None:
            _check_state("best", result.best, self.masks)
            _check_state("last", result.last, self.masks)
        elif result.masks is None:
            raise RuntimeError(
                "the training returned no masks: return job.track().result(), or of a state that is not the model's, "
                "such as an average: keep the masks, `with job.attach(optimizer) as pruning:`, apply them, "
                "pruning.masks.apply_(average), and return FitResult(..., masks=pruning.masks)"
            )
        else:  # the last state may have other masks
            _check_state("best", result.best, result.masks)
        return result

    def track(self) -> Track:
        """A record of the training that keeps the best and the last state."""
        return Track(self.model, self.data.higher_is_better, self._now if self.pruner else None)

    def _now(self) -> Pruning:
        if not self._runs:
            raise RuntimeError("nothing prunes: attach the optimizer with job.attach(optimizer) before the first epoch")
        return self._runs[-1]


@dataclass(frozen=True)
class FitResult:
    """What a training found.

    Attributes:
        best: state of the model at the selected epoch.
        last: state after the last epoch.
        epoch: the selected epoch, counted from 1.
        val_metric: validation metric there.
        test_metric: test metric there; NaN where none was asked for.
        history: one row an epoch.
        seconds: wall-clock time of the whole training.
        masks: which weights the best state has, where the training itself pruned.
        cpu_seconds: processor time of the whole training, of all threads of this process.
    """

    best: State
    last: State
    epoch: int
    val_metric: float
    test_metric: float = math.nan
    history: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    masks: MaskSet | None = None
    cpu_seconds: float = 0.0


Fit = Callable[[FitJob], FitResult]


@dataclass
class Track:
    """Follows a training: call :meth:`epoch` after each epoch and return :meth:`result`.

    While the model is still being pruned no epoch is selected: an early one would be better, and denser.
    """

    model: nn.Module
    higher_is_better: bool
    pruning: Callable[[], Pruning] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: State = field(default_factory=dict)
    best_epoch: int = 0
    masks: MaskSet | None = None
    started: Stopwatch = field(default_factory=lambda: Stopwatch())

    def epoch(self, val: float | None = None, **numbers: float) -> bool:
        """Record an epoch; its state is kept where ``val`` is better than ever before (the first of equals).

        Args:
            val: validation metric; None: not measured after this epoch, which then is not selected.
            numbers: anything else worth a column, such as ``loss``.

        Returns:
            Whether this epoch is the best so far.

        Raises:
            TrainingDiverged: ``val`` or a number is NaN or infinite.
        """
        number = len(self.history) + 1
        for name, value in (numbers if val is None else {"val": val, **numbers}).items():
            if not math.isfinite(value):
                raise TrainingDiverged(f"epoch {number}: {name} is {value}; lower the learning rate or check the data")
        best = self.history[self.best_epoch - 1]["val_metric"] if self.best_epoch else None
        row = {"epoch": number, "val_metric": math.nan if val is None else float(val), **numbers}
        run = None if self.pruning is None else self.pruning()
        if run is not None:
            row["density"] = run.density
        self.history.append(row)
        if val is None or (run is not None and not run.finished):
            return False
        if best is not None and not (val > best if self.higher_is_better else val < best):
            return False
        self.best, self.best_epoch = snapshot(self.model), number
        self.masks = None if run is None else run.masks
        return True

    def stale(self, patience: int) -> bool:
        """Whether the best epoch lies so many epochs back."""
        return self.best_epoch > 0 and len(self.history) - self.best_epoch >= patience

    def result(self, test: Callable[[], float] | None = None) -> FitResult:
        """The finished record; the model is left in its best state.

        Args:
            test: called once, with the best state loaded.

        Raises:
            ValueError: no epoch was recorded, or none after the last weight was pruned.
        """
        if not self.history:
            raise ValueError("no epoch was recorded: call track.epoch(val=...) after each epoch")
        if not self.best_epoch:
            raise ValueError(
                f"in none of the {len(self.history)} epochs the final density was reached and a validation metric "
                "measured: lower stop, train longer, or validate more often"
            )
        last = snapshot(self.model)
        self.model.load_state_dict(self.best)
        return FitResult(
            self.best,
            last,
            self.best_epoch,
            self.history[self.best_epoch - 1]["val_metric"],
            math.nan if test is None else float(test()),
            tuple(self.history),
            masks=self.masks,
            **self.started.spent(),
        )


@dataclass(frozen=True)
class Stopwatch:
    """What something takes, from its making on."""

    clock: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def spent(self) -> dict[str, float]:
        """``seconds`` by the clock, and ``cpu_seconds`` of all threads of this process (of no other one)."""
        return {"seconds": time.perf_counter() - self.clock, "cpu_seconds": time.process_time() - self.cpu}


def _check_state(name: str, state: State, masks: MaskSet) -> None:
    back = came_back({each: mask for each, mask in masks.items() if each in state}, state)
    if back:
        raise RuntimeError(
            f"in the {name} state of the training pruned weights are not zero, {in_words(back)}: the masks were lost; "
            "train inside of `with job.attach(optimizer):`, and return job.track().result()"
        )


def snapshot(model: nn.Module) -> State:
    """A copy of a model's state on the CPU; raises as :func:`check_state`."""
    check_state(model)
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, shapes and bytes of a state."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name}\0{tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Gives back torch's random state, of the CPU and of all accelerators."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


def derive_seed(base: int, *parts: int | str) -> int:
    """A 63-bit seed from a base seed and anything that tells draws apart."""
    digest = hashlib.sha256(repr((base, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
