"""The average of a network's weights over the steps of a training, in place of the last ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """The exponential moving average of a network's state: ``d * average + (1 - d) * state`` after each step.

    d is the decay, and less in the first steps, ``(1 + t) / (10 + t)`` after t of them, as TensorFlow's average has it:
    it looks back over a tenth of the steps so far at most, so that a training that is short beside the decay is no
    average of its beginning.

    All that is real and kept is averaged, parameters and persistent buffers: the running statistics of norms, and what
    a method keeps there. A ``state_dict`` may be of copies, and is not asked. No copy of the network is made, which
    hooks of methods would not follow: :meth:`swap` puts the average in its place. What masks prune is exactly zero in
    the average too: weights that are pruned from the beginning have been zero in every step, and those that masks prune
    or regrow later start from zero when the masks change.

    Args:
        model: whose state is averaged; the first step counts as a whole, as in torch's ``AveragedModel``.
        decay: between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self._mean: dict[str, Tensor] = {}
        self._masks: Mapping[str, Tensor] = {}
        self._places = _places(model)

    @torch.no_grad()
    def update(self, masks: Mapping[str, Tensor]) -> None:
        """Take in the state after a step of the optimiser.

        Args:
            masks: which weights stay, by names of the model's.
        """
        live = self._live()
        if self._mean.keys() == live.keys():
            self._steps += 1
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
            get_ema_multi_avg_fn(decay)(list(self._mean.values()), [live[name] for name in self._mean], 0)
        else:
            self._mean = {name: value.clone() for name, value in live.items()}
        if masks is not self._masks:
            for name in masks.keys() & self._mean.keys():
                self._mean[name].masked_fill_(~masks[name].to(self._mean[name].device), 0)
            self._masks = masks

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's state and the average; a second time, both are where they belong."""
        live = self._live()
        kept = {name: live[name].clone() for name in self._mean}
        for name, mean in self._mean.items():
            live[name].copy_(mean)
            mean.copy_(kept[name])

    def _live(self) -> dict[str, Tensor]:
        """The model's own tensors as they are now, one by one: what has two names is there once."""
        found: dict[int, tuple[str, Tensor]] = {}
        for name, (held, key) in self._places.items():
            value = held.get(key)
            if value is not None and value.is_floating_point():
                found.setdefault(value.data_ptr(), (name, value))
        return dict(found.values())


def _places(model: nn.Module) -> dict[str, tuple[Mapping[str, Tensor | None], str]]:
    """Where a module keeps its parameters and persistent buffers, by name; another tensor may come into a place."""
    found: dict[str, tuple[Mapping[str, Tensor | None], str]] = {}
    for prefix, module in model.named_modules():
        buffers = [key for key in module._buffers if key not in module._non_persistent_buffers_set]
        for held, keys in ((module._parameters, [*module._parameters]), (module._buffers, buffers)):
            found |= {f"{prefix}.{key}".lstrip("."): (held, key) for key in keys}
    return found
