"""The reference training: one model on one data set with its masks, on any device that Lightning Fabric knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from graphprune.checks import real, whole
from graphprune.data.evaluation import evaluate
from graphprune.masks.networks import TrainingDiverged
from graphprune.masks.passes import sparse_embeddings
from graphprune.methods.core.fit import FitJob, FitResult, derive_seed
from graphprune.train.averaging import Average
from graphprune.train.devices import known_accelerator, launched, seeded_by
from graphprune.train.schedules import Rates, Schedule
from graphprune.train.steps import Steps, step_sizes
from graphprune.train.tasks import Losses, LossName, Terms, Weights

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

# Options that are whole numbers, with the least that each may be, and those that are real ones.
_WHOLE = {
    **dict.fromkeys(
        ("epochs", "batch_size", "accumulate", "validate_every", "eval_batch_size", "devices", "num_nodes"), 1
    ),
    **dict.fromkeys(("patience", "plateau_patience"), 0),
    "seed": -math.inf,
}
_REAL = ("lr", "weight_decay", "warmup", "plateau_factor", "clip", "label_smoothing", "ema")


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
        batch_size: graphs or images a batch, over all processes (ICPG and GraNet authors: 128; FGGP authors: 64).
        weight_decay: of the optimiser (FGGP and GraNet authors: 5e-4).
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"`` (momentum 0.9) or ``"nesterov"`` (Nesterov's momentum of 0.9, as
            the FGGP and GraNet authors).
        schedule: of all learning rates: ``"constant"`` (but for ``milestones``); ``"cosine"``, half a cosine down to 0
            over the steps after the warm-up (Loshchilov & Hutter, ICLR 2017); ``"plateau"``, multiplied by
            ``plateau_factor`` where the validation metric has not become better; or in Python a function of the
            optimiser and the number of its steps that returns one of ``torch.optim.lr_scheduler``, which is stepped
            after each step of the optimiser (``ReduceLROnPlateau``: after each validation, with the metric).
        warmup: share of the training, below 1, in whose steps the learning rates rise linearly to their first values.
        milestones: shares of the epochs, rounded to whole ones, after which all learning rates are divided by 10 (FGGP
            and GraNet authors: 0.5 and 0.75); with ``schedule="constant"``.
        plateau_factor: of ``"plateau"`` (Dwivedi et al., JMLR 2023: 0.5).
        plateau_patience: validations after the warm-up without a better metric that ``"plateau"`` lets pass (Dwivedi et
            al.: 10).
        clip: largest norm of the gradient of all parameters that are trained, an edge predictor's included; pruned
            weights have no part in it, nor have gates with an optimiser of their own (UGS's edges, Gumbel's). None: as
            it is.
        accumulate: batches a step of the optimiser: gradients are those of the mean over all their labels, so that a
            model without batch norm is trained as with batches so many times as large. The last step of an epoch takes
            the batches that are left.
        loss: ``"cross_entropy"`` (multiclass), ``"bce"`` (binary), ``"mse"``, ``"mae"`` or ``"smooth_l1"``
            (regression); None: the first of the task's. In Python also a loss module of torch's, with whatever
            reduction, or a function of outputs and labels that returns one loss for each label, shape ``(B,)`` for
            multiclass and ``(B, T)`` otherwise. Unknown labels are given to it as class 0 or the value 1, and their
            losses and gradients are left out of the mean, which is over all known labels of a step, in all batches and
            processes; for a weighted ``CrossEntropyLoss`` or ``NLLLoss`` over their weights, as in torch.
        label_smoothing: share of a class label that the training loss spreads evenly over all classes; multiclass only
            (Szegedy et al., CVPR 2016; FGGP authors: 0.1).
        class_weights: of each class in the cross entropy, or ``"balanced"``: labels / (classes * labels of the class),
            counted in the training split (King & Zeng, 2001); multiclass only.
        pos_weight: of the label 1 beside that of 0, for each task of a binary data set, or ``"balanced"``: labels of 0
            over labels of 1, counted in the training split.
        ema: decay of an exponential moving average of the weights over the steps, such as 0.999, and of the norms'
            statistics (Polyak & Juditsky, 1992); all that is validated, selected, tested and kept is then the averaged
            network. It looks back about ``1 / (1 - ema)`` steps, or a tenth of those so far. 0: none.
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
        ValueError: a number or word outside its range, options that exclude each other; (when called) a loss that does
            not suit the data, more batches to accumulate than an epoch has, embeddings with sparse gradients, or a
            batch of one node (or one graph) under batch norm; the text says which.
        TypeError: (when called) a network that returns no tensor.
        TrainingDiverged: (when called) a loss or metric is not finite.
    """

    epochs: int = 100
    lr: float = 1e-3
    batch_size: int = 128
    _: KW_ONLY
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adam"
    schedule: Schedule = "constant"
    warmup: float = 0.0
    milestones: tuple[float, ...] = ()
    plateau_factor: float = 0.5
    plateau_patience: int = 10
    clip: float | None = None
    accumulate: int = 1
    loss: LossName | nn.Module | Terms | None = None
    label_smoothing: float = 0.0
    class_weights: Weights | None = None
    pos_weight: Weights | None = None
    ema: float = 0.0
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
        for name, least in _WHOLE.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name in _REAL:
            if name != "clip" or self.clip is not None:
                real(name, getattr(self, name))
        if self.on_epoch is not None and not callable(self.on_epoch):
            raise ValueError(f"on_epoch must be a function of a job and its row, got {self.on_epoch!r}")
        if 0 < self.patience < self.validate_every:
            raise ValueError(
                f"patience must be 0, or at least validate_every={self.validate_every} epochs, got {self.patience}"
            )
        if not (self.lr > 0 and math.isfinite(self.lr)) or not (0 <= self.weight_decay < math.inf):
            raise ValueError(f"bad rates: lr={self.lr} must be above 0, weight_decay={self.weight_decay} not below")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clip must be a norm above 0 and finite, or None for none, got {self.clip}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be a decay of at least 0 (none) and below 1, got {self.ema}")
        if self.precision == "16-mixed" and known_accelerator(self.accelerator) == "cpu":
            raise ValueError("precision='16-mixed' needs a GPU; use 'bf16-mixed' on a CPU")
        for name, words in (
            ("optimizer", OptimizerName),
            ("accelerator", Accelerator),
            ("precision", Precision),
            ("strategy", Strategy),
        ):
            if getattr(self, name) not in get_args(words):
                raise ValueError(f"{name} must be one of {get_args(words)}, got {getattr(self, name)!r}")
        self._rates  # noqa: B018  # which checks its own options, as the losses do
        for name in ("class_weights", "pos_weight"):  # of an array as plain numbers, which can be compared
            object.__setattr__(self, name, getattr(self._losses, name))

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
        objective = self._losses.on(data)
        job.model.to(fabric.device)
        trained = [name for name, parameter in job.model.named_parameters() if parameter.requires_grad]
        if sparse := sparse_embeddings(job.model, trained):
            raise ValueError(
                f"optimizer={self.optimizer!r} takes no sparse gradients, as {sparse} have them "
                "(nn.Embedding(sparse=True)): build the embedding with sparse=False"
            )
        bare = OPTIMIZERS[self.optimizer](job.param_groups(self.lr), lr=self.lr, weight_decay=self.weight_decay)
        sizes = step_sizes(len(data.train), self.batch_size, self.accumulate, fabric.world_size)
        steps = self.epochs * len(sizes)
        # On the bare model and optimiser: the names are the masks' own, and projection is part of each real step.
        with job.attach(bare, steps=steps) as held:
            model, optimizer = fabric.setup(job.model, bare)
            scheduler = self._rates.of(bare, steps, data.higher_is_better)
            average = Average(job.model, self.ema) if self.ema else None
            run = Steps(
                fabric=fabric,
                job=job,
                model=model,
                bare=bare,
                optimizer=optimizer,
                held=held,
                data=data,
                objective=objective,
                scheduler=scheduler,
                sizes=sizes,
                clip=self.clip,
                average=average,
            )
            track = job.track()
            for number in range(1, self.epochs + 1):
                started = perf_counter()
                loss = run.epoch(order)
                if not math.isfinite(loss):  # nothing sensible can be evaluated
                    raise TrainingDiverged(f"epoch {number}: loss is {loss}; lower lr={self.lr} or check the data")
                due = number % self.validate_every == 0 or number == self.epochs
                with run.averaged():
                    metric = measure(model, data.val, split="val") if due else None
                    track.epoch(metric, loss=loss, seconds=perf_counter() - started)
                if metric is not None:
                    scheduler.validated(metric)
                if self.on_epoch is not None and fabric.is_global_zero:
                    self.on_epoch(job, track.history[-1])
                if self.patience and track.stale(self.patience):
                    break
            run.settle()
        return track.result(None if job.phase == "search" else lambda: measure(model, data.test, split="test"))

    def _fabric(self) -> Fabric:
        return launched(
            self.accelerator,
            strategy=self.strategy,
            devices=self.devices,
            num_nodes=self.num_nodes,
            precision=self.precision,
        )

    @property
    def _rates(self) -> Rates:
        return Rates(
            self.schedule, self.epochs, self.warmup, self.milestones, self.plateau_factor, self.plateau_patience
        )

    @property
    def _losses(self) -> Losses:
        return Losses(self.loss, self.label_smoothing, self.class_weights, self.pos_weight)
