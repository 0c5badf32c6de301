"""What every data set has, of graphs or of images: three splits, a task and a metric."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, get_args

import torch
from torch import Tensor

from graphprune.data import metrics
from graphprune.data.metrics import METRICS, Task

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)

# The label of a node that belongs to another split, in a multiclass task (torch's ``ignore_index``); else it is NaN.
IGNORE_INDEX = -100


class Samples(Protocol):
    """What a split can do, whatever it holds: :class:`~graphprune.graphs.PackedGraphs` or images."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where the samples lie."""

    def batch(self, index: Tensor | Sequence[int]) -> Any:
        """The samples of these numbers as a network takes them, with labels ``y``."""

    def loader(self, batch_size: int, *, shuffle: bool = False, generator: torch.Generator | None = None) -> Any:
        """Batches of all samples."""

    def select(self, index: Tensor | Sequence[int]) -> Self:
        """The samples of these numbers, in this order."""

    def to(self, device: torch.device | str) -> Self:
        """The same samples on another device."""

    def digest(self) -> str:
        """SHA-256 over the samples."""


S = TypeVar("S", bound=Samples)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledData(ABC, Generic[S]):
    """What every data set has: three splits, a task and a metric.

    Args:
        name: the data set's name.
        train: samples to train on.
        val: samples that select epochs and predictors.
        test: samples that are only reported.
        task: kind of labels.
        metric: what :meth:`evaluate` computes.
        num_classes: classes of a multiclass task, or of each position of a sequence, 2 for binary, 0 for regression.
        num_tasks: labels a sample carries (1 for multiclass), positions of a sequence.
        provenance: source, licence and split recipe, as text.
    """

    name: str
    train: S
    val: S
    test: S
    task: Task
    metric: str
    num_classes: int = 0
    num_tasks: int = 1
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_outputs(self) -> int:
        """Outputs a model needs: one a class for multiclass, and at each position of a sequence, else one a task."""
        if self.task == "sequence":
            return self.num_tasks * self.num_classes
        return self.num_classes if self.task == "multiclass" else self.num_tasks

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is the better one."""
        return METRICS[self.metric].higher_is_better

    @property
    def splits(self) -> dict[Split, S]:
        """The three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @abstractmethod
    def labels(self, samples: S) -> Tensor:
        """A copy of the labels of some of the set's samples."""

    def evaluate(self, y_true: Tensor, y_pred: Tensor, *, split: str = "given") -> float:
        """The metric over all labels of a split: OGB's ``Evaluator`` for OGB sets, torchmetrics elsewhere.

        Args:
            y_true: labels, as :meth:`labels` gives them: ``(n,)`` for multiclass, all words ``(n, L)`` for sequence,
                else ``(n, num_tasks)``; NaN labels, and nodes of which the split sees no label, are left out.
            y_pred: the model's raw outputs (logits), ``(n, num_outputs)``.
            split: named in errors.

        Returns:
            The metric; NaN if a prediction is not finite.

        Raises:
            ValueError: shapes that do not fit, no samples, or a rocauc/ap over labels of one class only.
            ImportError: an OGB set without the ``ogb`` extra.
        """
        where = f"{self.name}, {split} split"
        columns = y_true.shape[1:2] if self.task == "sequence" else (self.num_tasks,)
        expected = (len(y_pred),) if self.task == "multiclass" else (len(y_pred), *columns)
        if tuple(y_true.shape) != expected or tuple(y_pred.shape) != (len(y_pred), self.num_outputs):
            raise ValueError(
                f"{where}: y_true {tuple(y_true.shape)} and y_pred {tuple(y_pred.shape)} do not fit a "
                f"{self.task} task with {self.num_outputs} outputs"
            )
        return self._score(y_true, y_pred, where)

    def _score(self, y_true: Tensor, y_pred: Tensor, where: str) -> float:
        """The metric of labels and predictions that fit."""
        return metrics.evaluate(self.metric, y_true, y_pred, where=where)

    def with_splits(self, *, train: S | None = None, val: S | None = None, test: S | None = None) -> Self:
        """A copy with other samples in the splits that are named."""
        return replace(
            self,
            train=self.train if train is None else train,
            val=self.val if val is None else val,
            test=self.test if test is None else test,
        )

    def digest(self) -> str:
        """SHA-256 over the samples of all three splits."""
        return hashlib.sha256("".join(samples.digest() for samples in self.splits.values()).encode()).hexdigest()
