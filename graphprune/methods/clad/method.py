"""CLAD: which filters go is learned from the filters themselves, while a teacher says where to look."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, get_args

import attrs
import torch
from torch import Tensor, nn

from graphprune.data import GraphData
from graphprune.measure.latency import check_device
from graphprune.methods.clad.attention import Distillation, attention_stages
from graphprune.methods.clad.channels import Channels
from graphprune.methods.clad.criteria import FIXED, Criterion, CriterionName
from graphprune.methods.clad.gated import Gated, learn
from graphprune.methods.clad.target import best_within, check_compaction, check_target
from graphprune.methods.core import validators
from graphprune.methods.core.fit import (
    AnyData,
    Fit,
    FitJob,
    FitResult,
    State,
    Stopwatch,
    derive_seed,
    random_state_kept,
    state_digest,
)
from graphprune.methods.core.loss import loss_for
from graphprune.methods.core.method import Epochs, Method
from graphprune.methods.core.prepare import example
from graphprune.methods.core.state import RunState
from graphprune.ticket import Ticket
from graphprune.ticket.scorers import first, misfits

# With so many the network runs to show its channels and their costs: images all cost the same, graphs do not.
_IMAGES, _GRAPHS = 4, 64
_TEACHER = "teacher"  # marks what the dense training ends with, beside the rows of its epochs
_FAST = 0.05  # learning rate of scores that are parameters themselves, and so move by it in a step


def _stage_names(value: str | Iterable[str]) -> tuple[str, ...]:
    found = validators.patterns(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(name, str) for name in found):
        raise ValueError(f"stages must be names of modules, got {value!r}")
    return found


def _state(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validates the weights of a network."""
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ValueError(
            f"{attribute.alias} must be a mapping of names to tensors, got {type(value).__name__}: "
            "pass model.state_dict()"
        )


@attrs.frozen(kw_only=True)
class CLAD(Method):
    """CLAD-style pruning of filters: learned criteria with attention distillation, to a share of the network's MACs.

    After "CLAD" (Journal of Automation and Intelligence 4(4), 2025), of which the abstract is public: each layer has a
    differentiable learner that derives the criterion from the layer's filters, and the unpruned network's attention
    guides it. What goes beyond that is this package's design.

    Three trainings: the dense network by ``fit``, the teacher; then the criterion, with frozen weights and hard gates
    behind the norms, on the task's loss, the attention loss and the distance to the target; then the best channels that
    fit into the target are kept, and the network is fine-tuned by ``fit`` from the teacher's weights, with the
    attention loss. Coupled channels (residual sums) share one gate; their score is the mean over their layers.

    Args:
        target: share of the dense network's multiply-accumulates that is left, as the small network executes them.
        criterion: ``"learner"``: a network for each layer, shared over its filters. Ablations: ``"free"``: a learned
            score for each channel that sees no weights; ``"mixture"``: a learned softmax mixture of the fixed criteria
            and a threshold for each layer; ``"l1"``, ``"l2"``, ``"geometric-median"``: fixed, each divided by its mean
            over the layer, and nothing is learned.
        distillation: weight of the attention loss is half of this (1000: Zagoruyko & Komodakis, ICLR 2017); 0: none.
        stages: modules whose activations are compared: names, with one fnmatch pattern for each level. Without any: of
            networks over images the last module before each change of resolution, of networks over graphs ``convs.*``,
            whose maps have a place for each node.
        teacher: the trained weights of the same network, in place of the dense training.
        criterion_epochs: passes over the training data for the criterion.
        criterion_lr: of its Adam; None: 1e-3 for learners, 0.05 where scores are parameters themselves.
        macs_weight: weight of the distance between the gated network's share of MACs and the target.
        layer_floor: share of each layer's channels that always stays, rounded up; at least one does.
        learner_hidden: largest width of a learner.
        learner_norms: whether learners see the fixed criteria beside the normalised filters.
        criterion_batch: examples a step of the criterion's training.
        device: of the criterion's training; ``fit`` has its own.

    Raises:
        ValueError: a number or word out of range.
    """

    target: float = attrs.field(validator=validators.part)
    criterion: CriterionName = attrs.field(default="learner", validator=validators.one_of(*get_args(CriterionName)))
    distillation: float = attrs.field(default=1000.0, validator=validators.penalty)
    stages: tuple[str, ...] = attrs.field(default=(), converter=_stage_names)
    teacher: Mapping[str, Tensor] | None = attrs.field(
        default=None, eq=False, repr=False, validator=attrs.validators.optional(_state)
    )
    criterion_epochs: int = attrs.field(default=10, validator=validators.count)
    criterion_lr: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.positive))
    macs_weight: float = attrs.field(default=10.0, validator=validators.penalty)
    layer_floor: float = attrs.field(default=0.1, validator=validators.rate)
    learner_hidden: int = attrs.field(default=64, validator=validators.count)
    learner_norms: bool = attrs.field(default=True, validator=validators.switch)
    criterion_batch: int = attrs.field(default=128, validator=validators.count)
    device: str = "cpu"

    name: ClassVar[str] = "clad"

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise ValueError where the method cannot prune this model.

        There may be no channel that can be removed, channels that compaction does not remove as they are counted, a
        target that cannot be reached, stages that match nothing or have no maps, a teacher of another architecture or
        with values that are not finite, or a device that is not there.
        """
        super().supports(model, data)
        check_device(self.device)
        if self.teacher is not None:
            _check_teacher(self.teacher, model)
        given = _example(data)
        channels = Channels.of(model, given, self.selector)
        check_compaction(model, channels, given)
        check_target(channels, self.target, self.layer_floor)
        if self.distillation:
            attention_stages(model, given, self.stages)

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Train the teacher and the criterion; the best channels that fit into the target stay."""
        taught, history = self._taught(state, fit)
        model = copy.deepcopy(state.model)
        model.load_state_dict(taught)
        state = replace(state, model=model)
        channels = Channels.of(model, _example(state.data), self.selector)
        scores, lessons = self._scores(state, channels)
        keep = best_within(channels, scores, self.target, self.layer_floor)
        return replace(state, masks=channels.masks(model, keep)), (*history, *lessons)

    def training(self, state: RunState) -> FitJob:
        """Fine-tuning, which the teacher's attention takes part in."""
        job = super().training(state)
        if self.distillation:
            self._distillation(state, job.model).follow(job.model)
        return job

    # ------------------------------------------------------------------ the phases

    def _taught(self, state: RunState, fit: Fit) -> tuple[State, Epochs]:
        """The teacher's weights: given, or trained."""
        if self.teacher is not None:
            return {name: value.clone() for name, value in self.teacher.items()}, ()
        result = self.job(state, state.rewound(), state.masks, "dense").run(fit)
        rows = ({"phase": "dense", **row} for row in result.history)
        # A metric that the test split selected is no validation metric.
        val = result.val_metric if self.protocol.select == "val" else math.nan
        return result.best, (*rows, {_TEACHER: {"teacher_val_metric": val, "teacher_test_metric": result.test_metric}})

    def _scores(self, state: RunState, channels: Channels) -> tuple[Tensor, Epochs]:
        with random_state_kept():
            torch.manual_seed(derive_seed(self.seed, "criterion"))
            criterion = Criterion(channels, state.model, self.criterion, self.learner_hidden, self.learner_norms)
            if self.criterion in FIXED:
                return criterion().detach(), ()
            gated = Gated(state.model, channels, _example(state.data))
            distillation = self._distillation(state, gated.network) if self.distillation else None
            order = torch.Generator().manual_seed(derive_seed(self.seed, "order"))
            usual = 1e-3 if self.criterion == "learner" else _FAST
            rows = learn(
                criterion,
                gated,
                state.data.train,
                loss_for(state.data.task),
                distillation,
                order,
                epochs=self.criterion_epochs,
                lr=usual if self.criterion_lr is None else self.criterion_lr,
                batch_size=self.criterion_batch,
                target=self.target,
                macs_weight=self.macs_weight,
                floor=self.layer_floor,
                device=self.device,
            )
        return criterion().detach(), tuple(rows)

    def _distillation(self, state: RunState, student: nn.Module) -> Distillation:
        stages = attention_stages(state.model, _example(state.data), self.stages)
        return Distillation(student, copy.deepcopy(state.model), stages, self.distillation / 2)

    # ------------------------------------------------------------------ what a ticket says

    def _ticket(self, state: RunState, result: FitResult, search: Epochs, started: Stopwatch) -> Ticket:
        teacher: Mapping[str, float] = next((row[_TEACHER] for row in search if _TEACHER in row), {})
        search = tuple(row for row in search if _TEACHER not in row)  # the rest are epochs
        ticket = super()._ticket(state, result, search, started)
        channels = Channels.of(state.model, _example(state.data), self.selector)
        kept = channels.kept(ticket.masks)
        more = {
            "macs_kept": float(channels.macs(kept.double())),
            "channels_kept": int(kept.sum()),
            "channels_total": channels.count,
            **teacher,
        }
        return replace(ticket, row=ticket.row | more)

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the teacher by a digest of its weights."""
        return super().settings() | {"teacher": None if self.teacher is None else state_digest(self.teacher)}


def _example(data: AnyData) -> Any:
    return example(data, _GRAPHS if isinstance(data, GraphData) else _IMAGES)


def _check_teacher(teacher: Mapping[str, Tensor], model: nn.Module) -> None:
    """Make sure that a model can have a teacher's weights.

    Raises:
        ValueError: it is of another architecture, or there are NaN or infinities where the model has none.
    """
    own = model.state_dict()
    if problems := misfits(teacher, own):
        raise ValueError(
            f"the teacher is of another architecture than this {type(model).__name__}, in which {problems}"
        )
    broken = [name for name, value in teacher.items() if (~value.cpu().isfinite() & own[name].cpu().isfinite()).any()]
    if broken:
        raise ValueError(f"teacher has values that are not finite in {first(map(repr, broken))}")
