"""The reference training: one model on one data set with its masks, on any device that Lightning Fabric knows."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from graphprune.data.base import LabelledData
from graphprune.data.evaluation import evaluate, outputs
from graphprune.methods.core.fit import FitJob, FitResult, TrainingDiverged, derive_seed
from graphprune.train.tasks import task_loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

OptimizerName = Literal["adam", "adamw", "sgd", "nesterov"]
Accelerator = Literal["cpu", "cuda", "auto"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
Strategy = Literal["auto", "ddp", "ddp_find_unused_parameters_true"]
OnEpoch = Callable[[FitJob, Mapping[str, Any]], None]

# Fused: a step of Adam over a small GIN's 33 tensors then takes 0.16 ms on a CPU instead of 1.33 ms.
OPTIMIZERS: dict[OptimizerName, Callable[..., Optimizer]] = {
    "adam": partial(Adam, fused=True),
    "adamw": partial(AdamW, fused=True),
    "sgd": partial(SGD, momentum=0.9, fused=True),
    "nesterov": partial(SGD, momentum=0.9, nesterov=True, fused=True),
}


@dataclass(frozen=True)
class Fit:
    """Trains a :class:`~graphprune.FitJob`: ``fit(job)``. The same job on the same machine gives the same bits.

    Every epoch is validated (or as ``validate_every`` says), and the best one (the first of equals) is what the test
    metric is computed for, once.
    The random states of the caller are left as they were.

    Under ``torchrun --nproc-per-node N`` (or ``fabric run``) with ``devices=N`` each process takes its part of every
    batch; gradients are averaged over all labels of the batch, so that a model without batch norm is trained as by
    one process. Batch norm uses each process's own part.

    Args:
        epochs: passes over the training graphs or images (ICPG authors: 100; FGGP and GraNet authors: 160).
        lr: learning rate (ICPG authors: 1e-3; FGGP and GraNet authors: 0.1).
        batch_size: graphs or images a step, over all processes (ICPG and GraNet authors: 128; FGGP authors: 64).
        weight_decay: of the optimiser (FGGP and GraNet authors: 5e-4).
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"`` (momentum 0.9) or ``"nesterov"`` (Nesterov's momentum of 0.9, as
            the FGGP and GraNet authors).
        milestones: shares of the epochs, rounded to whole ones, after which all learning rates are divided by 10 (FGGP
            and GraNet authors: 0.5 and 0.75).
        label_smoothing: share of a class label that the training loss spreads evenly over all classes (Szegedy et al.,
            CVPR 2016; FGGP authors: 0.1); multiclass only.
        validate_every: epochs from one validation to the next; the last epoch is always validated. Only epochs that
            are can be selected.
        patience: stop the training this many epochs after the best one; 0: never. Methods that prune while the model
            trains have their final density by then.
        eval_batch_size: graphs or images a batch without gradients; bounds the memory.
        seed: of the order of the graphs or images and of dropout; every job mixes its round and phase into it.
        accelerator: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it is there.
        precision: ``"32-true"``; ``"bf16-mixed"`` and ``"16-mixed"`` (not on a CPU) compute products in half precision.
        devices: processes on each machine.
        num_nodes: machines.
        strategy: ``"auto"`` is one process or ``"ddp"``; the third word is for models that do not use all parameters
            in every step.
        on_epoch: called after every epoch with the job and its row of the history (``epoch``, ``val_metric``,
            ``loss``, ``seconds``), in the first process only.

    Raises:
        ValueError: a number or word outside its range.
        TrainingDiverged: (when called) a loss or metric is not finite.
    """

    epochs: int = 100
    lr: float = 1e-3
    batch_size: int = 128
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adam"
    milestones: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    validate_every: int = 1
    patience: int = 0
    eval_batch_size: int = 512
    seed: int = 0
    accelerator: Accelerator = "cpu"
    precision: Precision = "32-true"
    devices: int = 1
    num_nodes: int = 1
    strategy: Strategy = "auto"
    on_epoch: OnEpoch | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every", "eval_batch_size", "devices", "num_nodes"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
        if self.patience < 0 or 0 < self.patience < self.validate_every:
            raise ValueError(
                f"patience must be 0, or at least validate_every={self.validate_every} epochs, got {self.patience}"
            )
        if not (self.lr > 0 and math.isfinite(self.lr)) or not (0 <= self.weight_decay < math.inf):
            raise ValueError(f"bad rates: lr={self.lr} must be above 0, weight_decay={self.weight_decay} not below")
        if not all(0 < share < 1 for share in self.milestones):
            raise ValueError(f"milestones must be shares of the epochs between 0 and 1, got {self.milestones}")
        reached = [0, *(round(share * self.epochs) for share in self.milestones), self.epochs]
        if not all(earlier < later for earlier, later in pairwise(reached)):
            raise ValueError(
                f"milestones must rise and lie after different epochs before the last: {self.milestones} of "
                f"{self.epochs} epochs are after epochs {reached[1:-1]}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.precision == "16-mixed" and self._accelerator == "cpu":
            raise ValueError("precision='16-mixed' needs a GPU; use 'bf16-mixed' on a CPU")
        for name, words in (
            ("optimizer", OptimizerName),
            ("accelerator", Accelerator),
            ("precision", Precision),
            ("strategy", Strategy),
        ):
            if getattr(self, name) not in get_args(words):
                raise ValueError(f"{name} must be one of {get_args(words)}, got {getattr(self, name)!r}")

    def __call__(self, job: FitJob) -> FitResult:
        """Train the job's model in place; it ends in its best state, on the device it came from."""
        fabric = self._fabric()
        home = next(job.model.parameters()).device
        seed = job.seed(self.seed)
        try:
            with seeded_by(derive_seed(seed, fabric.global_rank), fabric.device):
                return self._train(fabric, job, torch.Generator().manual_seed(seed))
        finally:
            job.model.to(home)

    def prepare(self) -> None:
        """Do beforehand what only the first training in a process takes time for: importing, and joining the others.

        Raises:
            ValueError: no such device here, or other processes than asked for.
        """
        self._fabric()

    def _train(self, fabric: Fabric, job: FitJob, order: torch.Generator) -> FitResult:
        data = job.data.with_splits(**{name: part.to(fabric.device) for name, part in job.data.splits.items()})
        measure = partial(evaluate, data=data, batch_size=self.eval_batch_size)
        job.model.to(fabric.device)
        bare = OPTIMIZERS[self.optimizer](job.param_groups(self.lr), lr=self.lr, weight_decay=self.weight_decay)
        # On the bare model and optimiser: the names are the masks' own, and projection is part of each real step.
        steps = self.epochs * len(_sizes(len(data.train), self.batch_size, fabric.world_size))
        with job.attach(bare, steps=steps):
            model, optimizer = fabric.setup(job.model, bare)
            track = job.track()
            for number in range(1, self.epochs + 1):
                self._slow_down(bare, number - 1)
                started = time.perf_counter()
                loss = self._epoch(fabric, model, optimizer, data, order)
                if not math.isfinite(loss):  # nothing sensible can be evaluated
                    raise TrainingDiverged(f"epoch {number}: loss is {loss}; lower lr={self.lr} or check the data")
                due = number % self.validate_every == 0 or number == self.epochs
                metric = measure(model, data.val, split="val") if due else None
                track.epoch(metric, loss=loss, seconds=time.perf_counter() - started)
                if self.on_epoch is not None and fabric.is_global_zero:
                    self.on_epoch(job, track.history[-1])
                if self.patience and track.stale(self.patience):
                    break
        return track.result(None if job.phase == "search" else lambda: measure(model, data.test, split="test"))

    def _slow_down(self, optimizer: Optimizer, finished: int) -> None:
        """Divide all learning rates by 10 for each milestone that lies after just so many epochs."""
        reached = sum(round(share * self.epochs) == finished for share in self.milestones)
        for group in optimizer.param_groups:
            group["lr"] /= 10**reached

    def _epoch(
        self, fabric: Fabric, model: nn.Module, optimizer: Any, data: LabelledData[Any], order: torch.Generator
    ) -> float:
        """One pass; the mean loss over all known labels, NaN where there are none."""
        model.train()
        rank, world = fabric.global_rank, fabric.world_size
        tallies = []
        sizes = _sizes(len(data.train), self.batch_size, world)
        for step in torch.randperm(len(data.train), generator=order).split(sizes):
            batch = data.train.batch(step[rank::world])
            optimizer.zero_grad()
            total, known = task_loss(data.task, outputs(model, batch), batch.y, self.label_smoothing)
            tallies.append(torch.stack([total.detach().double(), known.double()]))  # read after the last step only
            everywhere = _sum(fabric, known)
            # The gradients are averaged over the processes; together they are those of the mean over all labels.
            fabric.backward(total * (world / everywhere.clamp(min=1)))
            optimizer.step()
        total_loss, labels = _sum(fabric, torch.stack(tallies).sum(0)).tolist()
        return total_loss / labels if labels else math.nan

    @property
    def _accelerator(self) -> str:
        # Not Fabric's "auto": scores are made in double precision, which Apple's GPUs lack.
        if self.accelerator == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.accelerator

    def _fabric(self) -> Fabric:
        from lightning_fabric import Fabric  # takes seconds, which a command that only checks settings need not wait

        if self._accelerator == "cuda" and not torch.cuda.is_available():
            raise ValueError("accelerator='cuda', but torch finds no GPU here; use 'cpu' or 'auto'")
        wanted, started = self.devices * self.num_nodes, int(os.environ.get("WORLD_SIZE", 1))
        with _quiet():
            fabric = Fabric(
                accelerator=self._accelerator,
                strategy=self.strategy,
                devices=self.devices,
                num_nodes=self.num_nodes,
                precision=self.precision,
            )
        environment = getattr(fabric.strategy, "cluster_environment", None)
        launched = environment is not None and environment.creates_processes_externally
        # Without a launcher Fabric would run the caller's script again from its start.
        if (wanted > 1 and not launched) or (wanted == 1 and started > 1):
            raise ValueError(
                f"devices={self.devices} and num_nodes={self.num_nodes} ask for {wanted} processes, but {started} "
                f"were started: use torchrun --nproc-per-node {self.devices} --nnodes {self.num_nodes}"
            )
        fabric.launch()
        return fabric


def _sum(fabric: Fabric, value: Tensor) -> Tensor:
    """The sum over all processes."""
    return cast(Tensor, fabric.all_reduce(value, reduce_op="sum"))


def _sizes(rows: int, batch_size: int, world: int) -> list[int]:
    """How many of the training's graphs or images each step of an epoch takes.

    A last step with fewer than two a process joins the one before it: batch norm cannot train on a single row.
    """
    if min(rows, batch_size) < world:
        raise ValueError(f"{world} processes cannot share batch_size={batch_size} of {rows} to train on")
    whole, rest = divmod(rows, batch_size)
    sizes = [batch_size] * whole
    if sizes and rest < min(2 * world, batch_size):
        sizes[-1] += rest
    else:
        sizes.append(rest)
    return sizes


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Fabric from announcing the precision in every round, across the progress bars; warnings still come."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def seeded_by(seed: int, device: torch.device) -> Iterator[None]:
    """Seed Python, NumPy and torch, and give the caller's random states back."""
    python, array = random.getstate(), np.random.get_state()
    on_gpu = device.type == "cuda"
    try:
        with torch.random.fork_rng([device] if on_gpu else []):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            # torch.manual_seed would also touch GPUs that this training does not use.
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
