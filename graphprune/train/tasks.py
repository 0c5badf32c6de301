"""What a training minimises: the loss of a task, one that users give, and what the labels weigh in it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphprune.data.labelled import IGNORE_INDEX, LabelledData
from graphprune.data.metrics import Task
from graphprune.data.sequences import by_position

LossName = Literal["cross_entropy", "bce", "mse", "mae", "smooth_l1"]
Terms = Callable[..., Tensor]  # from outputs and labels to one loss a label
Weights = Literal["balanced"] | Sequence[float]

_OF_CLASSES: Mapping[LossName, Terms] = {"cross_entropy": partial(functional.cross_entropy, reduction="none")}

# One loss a label, the default of each task first; a sequence has the label of a class at each position.
NAMED: Mapping[Task, Mapping[LossName, Terms]] = {
    "multiclass": _OF_CLASSES,
    "sequence": _OF_CLASSES,
    "binary": {"bce": partial(functional.binary_cross_entropy_with_logits, reduction="none")},
    "regression": {
        "mse": partial(functional.mse_loss, reduction="none"),
        "mae": partial(functional.l1_loss, reduction="none"),
        "smooth_l1": partial(functional.smooth_l1_loss, reduction="none"),
    },
}

_PART_OF: Mapping[str, LossName] = {
    "label_smoothing": "cross_entropy",
    "class_weights": "cross_entropy",
    "pos_weight": "bce",
}


@dataclass(frozen=True)
class Losses:
    """What the options say of the loss.

    Attributes:
        loss: see :class:`graphprune.train.Fit`, and so for all others.
        label_smoothing: of the task's cross entropy.
        class_weights: of the task's cross entropy.
        pos_weight: of the binary task's cross entropy.

    Raises:
        ValueError: an unknown name, a number out of range, options of different losses, a class in place of a module,
            or a module that would have to be trained.
    """

    loss: LossName | nn.Module | Terms | None = None
    label_smoothing: float = 0.0
    class_weights: Weights | None = None
    pos_weight: Weights | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.loss is not None and not callable(self.loss) and self.loss not in get_args(LossName):
            raise ValueError(
                f"loss must be one of {', '.join(get_args(LossName))}, a module, or a function of outputs and labels, "
                f"got {self.loss!r}"
            )
        if isinstance(self.loss, type):
            raise ValueError(f"loss is the class {self.loss.__name__}: give an instance, {self.loss.__name__}()")
        if isinstance(self.loss, nn.Module) and (names := [name for name, _ in self.loss.named_parameters()]):
            raise ValueError(f"loss has parameters {names} of its own, which no optimizer trains: make them buffers")
        for name in ("class_weights", "pos_weight"):
            object.__setattr__(self, name, _checked_weights(name, getattr(self, name)))
        given = self._given()
        if wrong := [name for name in given if self.loss not in (None, _PART_OF[name])]:
            raise ValueError(f"{wrong[0]} is part of loss={_PART_OF[wrong[0]]!r}, it cannot be with {self.loss!r}")
        if len({_PART_OF[name] for name in given}) > 1:
            raise ValueError(f"{' and '.join(given)} belong to different tasks: classes, and labels of yes or no")

    def on(self, data: LabelledData[Any]) -> Objective:
        """The objective on a data set, on the device of its training labels, by which alone labels are balanced.

        Raises:
            ValueError: a loss or weights of another task, another number of weights than of classes or labels, or a
                class or label that cannot be balanced, as the training split has none of it.
        """
        terms, weight, ignored = self.terms(data.task), None, IGNORE_INDEX
        if self.class_weights is not None:
            y = data.train.graph["y"] if data.task == "sequence" else data.labels(data.train)
            counts = y[y != IGNORE_INDEX].bincount(minlength=data.num_classes).double()
            weight = _weights("class_weights", self.class_weights, counts, counts.sum() / (len(counts) * counts))
            terms = _weighed(terms, "weight", weight)
        elif self.pos_weight is not None:
            y = data.labels(data.train)
            positive, negative = ((y == value).sum(0).double() for value in (1, 0))
            terms = _weighed(
                terms, "pos_weight", _weights("pos_weight", self.pos_weight, positive, negative / positive)
            )
        elif isinstance(self.loss, nn.Module):
            made: Any = copy.deepcopy(self.loss).to(data.train.device)
            if hasattr(made, "reduction"):
                made.reduction = "none"
            terms = made
            if isinstance(made, nn.CrossEntropyLoss | nn.NLLLoss):  # the means of other losses have no weights below
                weight, ignored = made.weight, made.ignore_index
        return Objective(data.task, terms, weight, ignored)

    def terms(self, task: Task) -> Terms:
        """One loss a label, without weights; raises ValueError where it is none of this task."""
        if self.loss is not None and not isinstance(self.loss, str):
            return self.loss
        named = NAMED[task]
        name = next(iter(named)) if self.loss is None else self.loss
        if name not in named:
            raise ValueError(f"loss={name!r} is not for a {task} task: there are {', '.join(named)}")
        for option in self._given():
            if _PART_OF[option] not in named:
                kind = "classes" if _PART_OF[option] == "cross_entropy" else "labels of yes or no"
                raise ValueError(f"{option}={getattr(self, option)} is for {kind}, this is a {task} task")
        return partial(named[name], label_smoothing=self.label_smoothing) if self.label_smoothing else named[name]

    def _given(self) -> list[str]:
        """The options that belong to one loss, as far as they are set."""
        return [
            name
            for name in _PART_OF
            if getattr(self, name) is not None and (name != "label_smoothing" or self.label_smoothing)
        ]


@dataclass(frozen=True)
class Objective:
    """The loss of outputs: a sum over known labels, and what it is divided by, apart.

    So that the mean over several batches and processes is the mean over all of their labels.

    Attributes:
        task: kind of labels.
        terms: from outputs and labels to one loss a label; unknown labels stand there as class 0 or the value 1, and
            neither their loss nor its gradient counts, whatever they are.
        weight: of each class, shape ``(C,)``: the mean is then divided by the sum of the labels' weights, as torch's
            ``CrossEntropyLoss`` does; None: by their number.
        ignored: a class that is not known either, as torch's ``ignore_index``.
    """

    task: Task
    terms: Terms
    weight: Tensor | None = None
    ignored: int = IGNORE_INDEX

    def known(self, y: Tensor) -> Tensor:
        """Which labels are known: -100 is no class, and NaN no other label."""
        return ~y.isnan() if y.is_floating_point() else (y != IGNORE_INDEX) & (y != self.ignored)

    def count(self, y: Tensor) -> Tensor:
        """What a sum is divided by: how many labels are known (int64), or their weights; 0-dimensional."""
        known = self.known(y)
        return known.sum() if self.weight is None else self.weight.double()[y[known]].sum()

    def total(self, out: Tensor, y: Tensor) -> Tensor:
        """The sum of the losses of known labels, 0-dimensional; 0 where none is known.

        Args:
            out: logits or values of B graphs, nodes or images, shape ``(B, C)`` for multiclass, ``(B, T * C)`` for
                sequence, else ``(B, T)``.
            y: labels, ``(B,)`` int64 for multiclass (-100 at nodes of another split), ``(B, T)`` int64 for sequence,
                else ``(B, T)`` with NaN where a label is missing.

        Raises:
            ValueError: shapes that do not fit, a loss that fails on them, or one that is not one number a label.
        """
        if self.task == "sequence":
            out, y = by_position(out, y)
        classes = not y.is_floating_point()
        expected = (len(y), *out.shape[1:2]) if classes else tuple(y.shape)
        if out.dim() != 2 or tuple(out.shape) != expected:
            shape = "(B, classes)" if classes else f"{expected}, one column a task"
            raise ValueError(f"the model returned shape {tuple(out.shape)} for {len(y)} labels, expected {shape}")
        known = self.known(y)
        given = y.masked_fill(~known, 0 if classes else 1)
        # What a loss is infinite for at a label that is not there has a gradient of NaN, were it multiplied by 0.
        out = torch.where(known[:, None] if classes else known, out, out.detach())
        given = given if classes else given.to(out.dtype)
        try:
            terms = self.terms(out, given)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"the loss fails on the outputs and labels of this {self.task} task, of shapes {tuple(out.shape)} "
                f"({out.dtype}) and {tuple(given.shape)} ({given.dtype}): {error}"
            ) from error
        if not isinstance(terms, Tensor) or terms.shape != y.shape:
            found = tuple(terms.shape) if isinstance(terms, Tensor) else type(terms).__name__
            raise ValueError(
                f"the loss returned {found} for labels of shape {tuple(y.shape)}: it has to return one loss for each "
                "label, as torch's functions do with reduction='none', whose mean over the known labels is taken here"
            )
        return torch.where(known, terms, 0.0).sum()


def _checked_weights(name: str, weights: Any) -> Weights | None:
    """Weights as they are given, those of an array or tensor as a list."""
    weights = weights.tolist() if hasattr(weights, "tolist") else weights
    if weights is None or (isinstance(weights, str) and weights == "balanced"):
        return weights  # type: ignore[return-value]
    try:
        good = len(weights) > 0 and all(not isinstance(each, str) and 0 < float(each) < math.inf for each in weights)
    except (TypeError, ValueError, RuntimeError):
        good = False
    if not good:
        raise ValueError(f"{name} must be 'balanced', or numbers above 0, one each, got {weights!r}")
    return weights  # type: ignore[no-any-return]


def _weights(name: str, given: Weights, counts: Tensor, balanced: Tensor) -> Tensor:
    """Weights of classes or labels, float64, as given or as they balance the training labels."""
    if given == "balanced":
        if missing := (~balanced.isfinite() | (balanced == 0)).nonzero().flatten().tolist():
            raise ValueError(
                f"{name}='balanced', but of {missing} the training split has no label, or no other one: give numbers"
            )
        return balanced
    if len(given) != len(counts):
        raise ValueError(f"{name} has {len(given)} numbers, there are {len(counts)} to be weighed")
    return torch.tensor(given, dtype=torch.float64, device=counts.device)


def _weighed(terms: Terms, name: str, weight: Tensor) -> Terms:
    def weighed(out: Tensor, y: Tensor) -> Tensor:
        return terms(out, y, **{name: weight.to(out.dtype)})

    return weighed
