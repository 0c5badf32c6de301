"""Pruning before training: random, magnitude, SNIP, GraSP and SynFlow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import attrs
import torch
from torch import Tensor, nn

from graphprune.data.labelled import Samples
from graphprune.masks import MaskSet, magnitude, random, saliency
from graphprune.masks.distribution import counts
from graphprune.masks.networks import check_forward
from graphprune.masks.parameters import check_trainable, masked_parameters
from graphprune.methods.at_init.derivatives import Flow, Sensitivity
from graphprune.methods.core import validators
from graphprune.methods.core.fit import Fit, derive_seed, random_state_kept
from graphprune.methods.core.in_training import OneTraining, inner
from graphprune.methods.core.loss import Loss, loss_for, mean_loss
from graphprune.methods.core.method import Epochs
from graphprune.methods.core.state import RunState

Distribution = Literal["global", "erk", "uniform"]


@attrs.frozen(kw_only=True)
class AtInit(OneTraining):
    """A method that prunes once, before training. A subclass says in :meth:`keep` which weights stay.

    Args:
        layer_floor: share of each layer's weights that is always kept, against layer collapse; None: a tenth of the
            share that is kept over all layers, at least one weight.
    """

    layer_floor: float | None = attrs.field(default=None, validator=attrs.validators.optional(validators.share))
    name = "at-init"

    def masks(self, model: nn.Module, batches: Iterable[Any] = (), loss: Loss | None = None) -> MaskSet:
        """Choose the weights that stay; exactly ``round(density * prunable)`` of them.

        Args:
            model: at its initialisation (of a compiled or DistributedDataParallel one the module inside counts).
                Nothing of it changes: weights, gradients, buffers, modes; nor does the state of random generators.
            batches: pairs ``(x, y)``, or batches of graphs with labels ``y``; all of them are read. Methods that read
                no data ignore them.
            loss: ``loss(model, batch)`` is the mean loss of a batch. None: cross entropy where labels are integers,
                else binary cross entropy, over the labels that are known (neither -100 nor NaN).

        Raises:
            ValueError: nothing prunable, frozen parameters among it, no batches where the method needs some, or
                derivatives that are not finite.
            TypeError: no network, or (without ``loss``) one that is not called as ``model(batch)`` or ``model(x)``, or
                that returns no tensor.
        """
        model, batches = inner(model), tuple(batches)
        dense = self.dense(model)
        if batches and loss is None:
            check_forward(model)
        check_trainable(masked_parameters(model, dense))
        with random_state_kept(), torch.enable_grad():
            return self.keep(model, dense, batches, loss or mean_loss)

    def prune(self, state: RunState, fit: Fit) -> tuple[RunState, Epochs]:
        """Choose by training examples that the seed draws; nothing is trained for it."""
        batches, loss = self.batches(state.data.train), loss_for(state.data.task)
        return replace(state, masks=self.masks(state.model, batches, loss)), ()

    def batches(self, train: Samples) -> tuple[Any, ...]:
        """What is read of a data set's training examples: nothing."""
        return ()

    @abstractmethod
    def keep(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> MaskSet:
        """The masks, tightened from ``dense``; the model is not to be changed."""

    def best(self, dense: MaskSet, scores: Mapping[str, Tensor]) -> MaskSet:
        """The weights of the highest scores over all layers."""
        return dense.tighten(scores, self.density, layer_floor=self.floor(self.layer_floor, self.density))

    def example_batch(self, train: Samples, examples: int) -> tuple[Any, ...]:
        """One batch of so many training examples (or all that there are), without a trace in the random state."""
        with random_state_kept():
            torch.manual_seed(derive_seed(self.seed, "examples"))
            return (train.batch(torch.randperm(len(train))[:examples]),)


@attrs.frozen(kw_only=True)
class ByDerivatives(AtInit):
    """A method that reads labelled examples.

    Args:
        examples: training examples (graphs or images) that are read, where the data set has as many. The authors of
            SNIP read 100 to 128, those of GraSP 10 of each class.
    """

    examples: int = attrs.field(default=100, validator=validators.whole(2))

    def batches(self, train: Samples) -> tuple[Any, ...]:
        """One batch of the examples."""
        return self.example_batch(train, self.examples)

    def derivatives(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> Sensitivity:
        """Of the loss with respect to the prunable weights."""
        return Sensitivity(model, list(dense), batches, loss, derive_seed(self.seed, "at-init"))


@attrs.frozen(kw_only=True)
class RandomAtInit(AtInit):
    """Random weights, the control that every choice at initialisation has to beat.

    Args:
        distribution: weights of all layers have the same chance (``"global"``), or each layer keeps an exact share:
            the same (``"uniform"``), or by Erdős-Rényi-kernel densities (``"erk"``, Evci et al., ICML 2020).
    """

    distribution: Distribution = attrs.field(default="global", validator=validators.one_of(*get_args(Distribution)))
    name = "random-at-init"

    def keep(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> MaskSet:
        """Draw; neither weights nor data matter."""
        scores = random(derive_seed(self.seed, "at-init"))({}, {}, dense)
        if self.distribution == "global":
            return self.best(dense, scores)
        return dense.keep(scores, counts(self.distribution, dense.shapes, self.density))


@attrs.frozen(kw_only=True)
class MagnitudeAtInit(AtInit):
    """The weights that happen to start with the largest magnitudes, over all layers."""

    name = "magnitude-at-init"

    def keep(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> MaskSet:
        """By ``|w|``; no data is read."""
        return self.best(dense, magnitude(masked_parameters(model, dense), {}, dense))


@attrs.frozen(kw_only=True)
class SNIP(ByDerivatives):
    """The weights that the loss would miss most, by ``|g * w|`` (Lee et al., ICLR 2019)."""

    name = "snip"

    def keep(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> MaskSet:
        """By the gradient over all batches together."""
        grads = self.derivatives(model, dense, batches, loss).gradients()
        return self.best(dense, saliency(masked_parameters(model, dense), grads, dense))


@attrs.frozen(kw_only=True)
class GraSP(ByDerivatives):
    """The weights whose removal would most reduce the gradient's norm (Wang et al., ICLR 2020).

    The score ``w * (H g)`` is signed, with the Hessian H and the gradient g with respect to the prunable weights. Every
    batch is read twice, and the model must have second derivatives.

    Args:
        temperature: divides the logits; 200 is the authors'.
    """

    temperature: float = attrs.field(default=200.0, validator=validators.positive)
    name = "grasp"

    def keep(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> MaskSet:
        """By the signed score; raises ValueError if the model cannot be differentiated twice."""
        derivatives = self.derivatives(model, dense, batches, loss)
        products = derivatives.hessian_product(derivatives.gradients(self.temperature), self.temperature)
        weights = masked_parameters(model, dense)
        return self.best(dense, {name: weights[name] * products[name] for name in dense})


@attrs.frozen(kw_only=True)
class SynFlow(AtInit):
    """The weights on the strongest paths, without any label (Tanaka et al., NeurIPS 2020).

    Of the batches only the first one's shape is read, or the structure of its graphs. Many small steps keep layers from
    losing all their weights. Where ones at all nodes say nothing (the keys and queries of attention), no signal flows:
    such parameters have to be protected.

    Args:
        iterations: steps on the way to the density, of which step k ends at ``density ** (k / iterations)``; 100 is the
            authors'.
    """

    iterations: int = attrs.field(default=100, validator=validators.count)
    name = "synflow"

    def batches(self, train: Samples) -> tuple[Any, ...]:
        """One batch: an image's shape, or the structure of a hundred graphs."""
        return self.example_batch(train, 100)

    def keep(self, model: nn.Module, dense: MaskSet, batches: Sequence[Any], loss: Loss) -> MaskSet:
        """Step by step; raises ValueError without a batch, or where no signal flows through a parameter."""
        if not batches:
            raise ValueError("no batches: SynFlow needs one, for the shape of the input")
        flow, masks = Flow(model, batches[0]), dense
        for step in range(1, self.iterations + 1):
            scores = flow.scores(masks)
            if step == 1 and (dry := [name for name, score in scores.items() if not bool(score.any())]):
                raise ValueError(
                    f"no signal flows through {dry}, so SynFlow would empty them: leave them out, protect={dry}"
                )
            density = self.density ** (step / self.iterations)
            masks = masks.tighten(scores, density, layer_floor=self.floor(self.layer_floor, density))
        return masks
