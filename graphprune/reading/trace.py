"""Finding the chain of layers in a model by running it, and removing dead ends without changing what it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.masks import MaskSet, prunable
from graphprune.masks.copies import independent_copy
from graphprune.reading.paths import Chain

# Relative to the largest output: what rounding may do to a network of float32 that sums in another order.
CLOSE, TINY = 1e-4, 1e-9
MIXED = "the model mixes the outputs of its layers in a way that their shapes do not tell"

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def trace(model: nn.Module, masks: MaskSet, example: Tensor) -> Chain:
    """Find the order of the layers with a forward pass, and make sure that they are a chain.

    Layers without a mask count as dense: the chain's masks cover them too.

    Args:
        model: ``model(example)`` in ``eval()`` mode; it is left as it is.
        masks: of this model.
        example: a batch of real-valued inputs; two forward passes compare it with ``1 - example``.

    Raises:
        TypeError: an example that is not a real-valued tensor.
        ValueError: masks that do not fit, a layer that runs twice or not at all, one with groups or transposed, or
            signals that go around a layer, as those of a residual network do.
    """
    return _Traced(model, masks, example).chain


def trim_(model: nn.Module, masks: MaskSet, example: Tensor) -> MaskSet:
    """Remove dead ends from a masked model in place; in ``eval()`` mode it computes the same, up to rounding.

    A unit that no input reaches passes on a constant, the activation of its bias. What the next layer makes of it is
    added to that layer's biases. Biases of hidden units that lie on no path become 0.

    Args:
        model: respects the masks; its modes stay.
        masks: of this model.
        example: see `trace`.

    Returns:
        The masks that are left, of all layers of the chain; attach them for fine-tuning.

    Raises:
        TypeError, ValueError: as `trace`. Also a constant that no bias can take: the layer has none, or a border of
            padding makes it differ between positions. The model is then left as it was.
        RuntimeError: pruned weights of the model that are not 0.
    """
    masks.verify(model)
    traced = _Traced(model, masks, example)
    chain, live = traced.chain, traced.chain.live
    trimmed = traced.model  # a copy, so that errors leave the model alone
    with torch.no_grad():
        for level, name in enumerate(chain.layers):
            _fold(traced.owner(name), name, traced.inputs[name], ~chain.fed[level], chain.heard[level + 1])
        live.apply_(trimmed)
        for name, alive in list(zip(chain.layers, chain.alive[1:], strict=True))[:-1]:
            bias = getattr(traced.owner(name), "bias", None)
            if isinstance(bias, Tensor):
                bias.masked_fill_(~alive.to(bias.device), 0)
        after = trimmed(example.clone())
        if not _close(after, traced.output):
            raise ValueError(
                f"without dead ends the outputs differ by {float((after - traced.output).abs().max()):.2g}: {MIXED}"
            )
        for parameter, new in zip(model.parameters(), trimmed.parameters(), strict=True):
            parameter.copy_(new)
    return live


class _Traced:
    """A copy of a model in ``eval()`` mode, its chain, and what each layer is given."""

    def __init__(self, model: nn.Module, masks: MaskSet, example: Tensor) -> None:
        if not isinstance(example, Tensor) or not example.is_floating_point():
            raise TypeError("example must be a batch of real-valued inputs, a floating point tensor")
        own = dict(model.named_parameters(remove_duplicate=False))
        if strangers := [n for n in masks if n not in own or own[n].shape != masks[n].shape]:
            raise ValueError(f"the masks do not fit {type(model).__name__}: it has no {strangers} of their shapes")
        self.model = independent_copy(model).eval()
        weights = dict.fromkeys([*prunable()(model).selected, *masks])
        self._weights = {name: own[name] for name in weights if own[name].ndim > 1}
        self.inputs: dict[str, Tensor] = {}
        with torch.no_grad():
            with self._hooked(self._record):
                self.output: Tensor = self.model(example.clone())
            if missing := [name for name in self._weights if name not in self.inputs]:
                raise ValueError(f"the layers of {missing} do not run in {type(model).__name__}'s forward pass")
            for name in list(self.inputs)[1:]:
                self._check_cut(name, 1 - example)
        dense = {name: torch.ones_like(own[name], dtype=torch.bool) for name in self.inputs}
        self.chain = Chain(MaskSet.of({**dense, **masks}), tuple(self.inputs))

    def owner(self, name: str) -> nn.Module:
        """The copy's module that has this weight."""
        return self.model.get_submodule(name.rpartition(".")[0])

    @contextmanager
    def _hooked(self, hook: Callable[[str, nn.Module, Any], Any], *names: str) -> Iterator[None]:
        """With ``hook(name, layer, inputs)`` before each layer runs; what it returns replaces the inputs."""

        def before(name: str) -> Callable[[nn.Module, Any], Any]:
            return lambda layer, given: hook(name, layer, given)

        handles = [self.owner(name).register_forward_pre_hook(before(name)) for name in names or self._weights]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _record(self, name: str, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if name in self.inputs:
            raise ValueError(f"the layer of {name!r} runs more than once in a forward pass: that is no chain")
        if "Transpose" in type(layer).__name__ or getattr(layer, "groups", 1) != 1:
            raise ValueError(f"{name!r}: transposed and grouped convolutions cannot be read as layers of a chain")
        self.inputs[name] = given[0].detach().clone()

    def _check_cut(self, name: str, other: Tensor) -> None:
        """All that the output knows of the input must come through this layer: other inputs change nothing then."""
        with self._hooked(lambda *_: (self.inputs[name].clone(),), name):
            output = self.model(other)
        if not _close(output, self.output):
            raise ValueError(f"signals go around the layer of {name!r}, as in a residual network: that is no chain")


def _fold(layer: nn.Module, name: str, given: Tensor, constant: Tensor, heard: Tensor) -> None:
    """Add to the biases of a layer's heard units what it makes of the inputs that are always the same."""
    channels = 1 if isinstance(layer, _CONVS) else -1
    alone = constant.repeat_interleave(given.shape[channels] // len(constant)).to(given.device)
    shape = [1] * given.ndim
    shape[channels] = -1
    exact, given = copy.deepcopy(layer).double(), given.double()  # small constants beside large biases
    made = (exact(given.masked_fill(~alone.view(shape), 0)) - exact(torch.zeros_like(given))).movedim(channels, -1)
    made = made.reshape(len(made), -1, made.shape[-1])
    made = made.masked_fill(~heard.to(made.device), 0)  # (examples, positions, units)
    if not _close(made, made[:1].expand_as(made)):
        raise ValueError(f"units before {name!r} that no input reaches are no constants: {MIXED}")
    shift = made.mean((0, 1))
    if not _close(made, shift.expand_as(made)):
        raise ValueError(
            f"what {name!r} makes of constant channels differs between positions, at the border of its padding: no "
            "bias can take that; keep these dead ends"
        )
    if not bool(made.any()):
        return
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, Tensor):
        raise ValueError(f"the layer of {name!r} has no bias to take the constant of units that no input reaches")
    bias.add_(shift)


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to rounding, NaN and infinities at the same places."""
    scale = float(other.nan_to_num(0, 0, 0).abs().max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=CLOSE, atol=CLOSE * scale + TINY, equal_nan=True)
