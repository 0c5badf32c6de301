"""What a network at its initialisation says of its weights: gradients, Hessian products and the flow of ones.

Everything here is computed on a copy, so that the network itself keeps its weights, gradients, buffers and modes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.masks import recompute
from graphprune.masks.networks import logits_of
from graphprune.masks.parameters import masked_parameters
from graphprune.methods.core.loss import Loss, is_pair, labels_of, mean_loss


class Sensitivity:
    """First and second derivatives of the mean loss over some batches, with respect to some weights.

    The copy is in ``train()`` mode, in which batch norms normalise by the batch: an untrained network has no other
    statistics. What it draws (dropout) is drawn alike in every pass, so that all see one and the same function.

    Args:
        model: its present weights are where the derivatives are taken.
        names: of the weights.
        batches: pairs ``(x, y)`` or batches of graphs with ``y``; moved to the model's device.
        loss: see `mean_loss`.
        seed: of what the model draws.

    Raises:
        ValueError: no batch, or none with a known label.
        TypeError: a batch without labels.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], batches: Sequence[Any], loss: Loss = mean_loss, seed: int = 0
    ) -> None:
        if not batches:
            raise ValueError("no batches: gradients need at least one; a used-up generator gives none")
        self._called = type(model).__name__
        self._model = copy.deepcopy(model).train()
        self._weights = {name: self._model.get_parameter(name) for name in names}
        self._loss, self._seed = loss, seed
        device = next(iter(self._weights.values())).device
        sizes = [_known(labels_of(batch)) for batch in batches]
        if not any(sizes):
            raise ValueError("no batch has a known label: gradients need some")
        self._batches = [
            (_to(batch, device), size / sum(sizes)) for batch, size in zip(batches, sizes, strict=True) if size
        ]

    def gradients(self, temperature: float = 1.0) -> dict[str, Tensor]:
        """The gradient of the loss at logits that are divided by ``temperature``.

        Raises:
            ValueError: a weight that the loss does not reach, or a gradient that is not finite.
        """
        total = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        for share, loss in self._losses(temperature):
            grads = torch.autograd.grad(loss, list(self._weights.values()), allow_unused=True)
            for (name, summed), grad in zip(total.items(), grads, strict=True):
                if grad is None:
                    raise ValueError(f"the loss does not reach {name!r}: leave it out with protect={name!r}")
                summed.add_(grad, alpha=share)
        return _finite(total, "gradient")

    def hessian_product(self, vector: Mapping[str, Tensor], temperature: float = 1.0) -> dict[str, Tensor]:
        """The Hessian of the same loss, times a vector over the weights.

        Raises:
            ValueError: a model that cannot be differentiated twice, or a product that is not finite.
        """
        total = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        weights = list(self._weights.values())
        for share, loss in self._losses(temperature):
            try:
                grads = torch.autograd.grad(loss, weights, create_graph=True)
                along = torch.stack([(grad * vector[name]).sum() for name, grad in zip(total, grads, strict=True)])
                products = torch.autograd.grad(along.sum(), weights, materialize_grads=True)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ValueError(
                    f"{self._called} cannot be differentiated twice, which GraSP needs ({error}): "
                    "take SNIP or SynFlow, or build the model from layers with second derivatives"
                ) from error
            for summed, product in zip(total.values(), products, strict=True):
                summed.add_(product, alpha=share)
        return _finite(total, "Hessian product")

    def _losses(self, temperature: float) -> Iterator[tuple[float, Tensor]]:
        """Each batch's share of all known labels, and its mean loss."""
        torch.manual_seed(self._seed)
        model = _Tempered(self._model, temperature)
        for batch, share in self._batches:
            yield share, self._loss(model, _copied(batch))  # read twice for a Hessian product


class Flow:
    """The synaptic flow of Tanaka et al. (NeurIPS 2020): the outputs that ones make in a network of ``|w|``.

    In float64, as the flow grows with the product of all layers' widths, and in ``eval()`` mode. Biases are left out:
    they make a flow of their own, beside which all earlier layers would come to nothing. (In the authors' networks they
    start at zero.)

    Args:
        model: its present weights count.
        example: one batch; only its shape is read, and whole-numbered features and the edges of graphs.
    """

    def __init__(self, model: nn.Module, example: Any) -> None:
        self._called = type(model).__name__
        self._model = copy.deepcopy(model).double().eval()
        device = next(self._model.parameters()).device
        self._input = _ones(_to(example, device))
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                if "bias" in name.rpartition(".")[2]:
                    parameter.zero_()
                parameter.abs_()

    def scores(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How much of the flow goes through each weight, ``dR/dw * w``, with all but the kept weights at zero.

        Raises:
            ValueError: nothing flows, or more than float64 can hold.
        """
        weights = masked_parameters(self._model, masks)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.masked_fill_(~masks[name].to(weight.device), 0)
        with recompute.once(self._model, ()):
            flow = logits_of(self._model, self._model(self._input.clone())).sum()
        grads = torch.autograd.grad(flow, list(weights.values()), materialize_grads=True)
        scores = {name: grad * weights[name].detach() for name, grad in zip(weights, grads, strict=True)}
        if flow == 0:
            raise ValueError(
                f"no signal flows through {self._called}: the density is too low for a path from input to output, or a "
                "layer (such as a layer norm) makes zeros of a constant input"
            )
        return _finite(scores, "synaptic flow")


class _Tempered(nn.Module):
    """A model with softer logits, whose activations are kept: torch's checkpoints allow no ``autograd.grad``."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        with recompute.once(self.model, ()):
            return logits_of(self.model, self.model(*args, **kwargs)) / self.temperature


def _finite(tensors: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"the {what} of {name!r} is not finite: check the data and the initial weights")
    return tensors


def _known(labels: Tensor) -> int:
    """How many labels are known."""
    return int((~labels.isnan() if labels.is_floating_point() else labels != -100).sum())


def _to(batch: Any, device: torch.device) -> Any:
    return tuple(part.to(device) for part in batch) if is_pair(batch) else batch.to(device)


def _copied(batch: Any) -> Any:
    """A batch of its own, for a network that works in place."""
    return tuple(part.clone() for part in batch) if is_pair(batch) else batch.clone()


def _ones(batch: Any) -> Any:
    """The input of the flow: one example of ones, or graphs whose real features are ones."""
    if is_pair(batch):
        first = batch[0][:1]
        return torch.ones_like(first, dtype=torch.float64) if first.is_floating_point() else first
    graphs = copy.copy(batch)
    for key, value in batch.to_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point():
            # Weights and gates of edges are structure, not features.
            graphs[key] = torch.ones_like(value, dtype=torch.float64) if key in ("x", "edge_attr") else value.double()
    return graphs
