"""The steps of a training: batches, gradients, the optimiser, and what follows it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from graphprune.data.evaluation import outputs
from graphprune.data.labelled import LabelledData
from graphprune.masks import Handle, MaskSet, Pruning
from graphprune.masks.parameters import masked_parameters
from graphprune.methods.core.fit import FitJob
from graphprune.train.averaging import Average
from graphprune.train.devices import summed
from graphprune.train.schedules import Scheduler
from graphprune.train.tasks import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Sizes = list[list[int]]


def step_sizes(rows: int, batch_size: int, accumulate: int, world: int) -> Sizes:
    """How many of the training's graphs or images each batch of each step of an epoch has, over all processes.

    A last batch with fewer than two a process joins the one before it: batch norm cannot train on a single row.

    Raises:
        ValueError: processes without a row, or more batches a step than there are.
    """
    if min(rows, batch_size) < world:
        raise ValueError(f"{world} processes cannot share batch_size={batch_size} of {rows} to train on")
    whole, rest = divmod(rows, batch_size)
    sizes = [batch_size] * whole
    if sizes and rest < min(2 * world, batch_size):
        sizes[-1] += rest
    else:
        sizes.append(rest)
    if accumulate > len(sizes):
        raise ValueError(
            f"accumulate={accumulate} batches a step, but an epoch of {rows} has only {len(sizes)} of "
            f"batch_size={batch_size}"
        )
    return [sizes[first : first + accumulate] for first in range(0, len(sizes), accumulate)]


@dataclass(kw_only=True)
class Steps:
    """A training that is under way.

    Attributes:
        fabric: its devices and processes.
        job: whose bare model has the names of the masks.
        model: the same, as Fabric runs it.
        bare: its optimiser.
        optimizer: the same, as Fabric steps it.
        held: the masks at work.
        data: on the training's device.
        objective: what is minimised.
        scheduler: of the learning rates.
        sizes: of the batches of each step of an epoch.
        clip: largest norm of the gradient, if there is one.
        average: of the model, if it is taken.
    """

    fabric: Fabric
    job: FitJob
    model: Any
    bare: Optimizer
    optimizer: Any
    held: Handle[MaskSet] | Pruning
    data: LabelledData[Any]
    objective: Objective
    scheduler: Scheduler
    sizes: Sizes
    clip: float | None = None
    average: Average | None = None
    _masks: MaskSet | None = field(default=None, init=False)
    _pruned: Mapping[int, Tensor] = field(default_factory=dict, init=False)

    def epoch(self, order: torch.Generator) -> float:
        """One pass; the mean loss over all known labels, NaN where there are none."""
        self.model.train()
        rank, world, samples = self.fabric.global_rank, self.fabric.world_size, self.data.train
        rows = torch.randperm(len(samples), generator=order)
        tallies = []
        for step, group in zip(rows.split([sum(sizes) for sizes in self.sizes]), self.sizes, strict=True):
            parts = [part[rank::world] for part in step.split(group)]
            batches = [samples.batch(part) for part in parts]
            self.optimizer.zero_grad()
            counts = [self.objective.count(batch.y) for batch in batches]
            everywhere = summed(self.fabric, torch.stack(counts).sum(0))
            # The gradients are averaged over the processes; together they are those of the mean over all labels.
            scale = world / torch.where(everywhere > 0, everywhere, 1)
            for number, (batch, count) in enumerate(zip(batches, counts, strict=True), start=1):
                waiting, share = number < len(batches), len(batch.y) / sum(len(each.y) for each in batches)
                syncing = self.fabric.no_backward_sync(self.model, enabled=waiting)
                with syncing, self.job.part(share), _rows_named(parts[number - 1]):
                    total = self.objective.total(outputs(self.model, batch), batch.y)
                    self.fabric.backward(total * scale)
                tallies.append(torch.stack([total.detach().double(), count.double()]))  # read after the last step only
            self._step()
        total_loss, labels = summed(self.fabric, torch.stack(tallies).sum(0)).tolist()
        return total_loss / labels if labels else math.nan

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model is its average, where one is taken."""
        self.settle()
        try:
            yield
        finally:
            self.settle()

    def settle(self) -> None:
        """Exchange the model and its average, where one is taken."""
        if self.average is not None:
            self.average.swap()

    def _step(self) -> None:
        if self.clip is not None:
            self._clip(self.clip)
        self.optimizer.step()
        self.scheduler.stepped()
        if self.average is not None:
            self.average.update(self.held.masks)

    def _clip(self, most: float) -> None:
        """Scale all gradients down where those of what is there have a larger norm: pruned weights have none."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:  # not by Fabric, which refuses to for fused optimisers
            scaler.unscale_(self.bare)
        if self.held.masks is not self._masks:
            self._masks = self.held.masks
            parameters = masked_parameters(self.job.model, self._masks)
            self._pruned = {id(parameters[name]): ~mask for name, mask in self._masks.items() if not bool(mask.all())}
        trained = [parameter for parameter in self.job.model.parameters() if parameter.grad is not None]
        grads = [
            parameter.grad.masked_fill(self._pruned[id(parameter)].to(parameter.device), 0)
            if id(parameter) in self._pruned
            else parameter.grad
            for parameter in trained
            if parameter.grad is not None
        ]
        clip_grads_with_norm_(trained, most, get_total_norm(grads))


@contextmanager
def _rows_named(numbers: Tensor) -> Iterator[None]:
    """What torch says of a batch of a single row, with the numbers of its graphs or images in the training split."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"batch norm cannot train on a single row, and a batch has just one: that of {numbers.tolist()} of the "
            "training split, whose graphs have one node in all, or which is alone: raise batch_size, leave such graphs "
            "out of training, or take a network without batch norm"
        ) from error
