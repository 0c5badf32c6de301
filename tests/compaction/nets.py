"""Networks with dead units, and what must hold of them once they are made small."""

from typing import Any

import torch
from torch import Tensor, nn

from graphprune.compaction import compact
from graphprune.masks import prunable

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def used(model: nn.Module, seed: int = 0) -> nn.Module:
    """As if trained: biases and norms are not what they start as."""
    drawn = draw(seed)
    for module in model.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            bias.data.normal_(generator=drawn)
        if isinstance(module, NORMS):
            module.running_mean.normal_(generator=drawn)
            module.running_var.uniform_(0.5, 2, generator=drawn)
            module.weight.data.uniform_(0.5, 2, generator=drawn)
    return model


def without(model: nn.Module, share: float = 0.5, seed: int = 0, dim: int = 0, keep: tuple[str, ...] = ()) -> nn.Module:
    """A random share of the rows (or columns) of all weights that are pruned is 0, but for one each."""
    drawn = draw(seed)
    for name in prunable()(model).selected:
        weight = model.get_parameter(name).data
        dead = torch.rand(weight.shape[dim], generator=drawn) < share
        dead[0] = False
        if not any(part in name for part in keep):
            weight.movedim(dim, 0)[dead] = 0
    return model


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def assert_same(model: nn.Module, small: nn.Module, *arguments: Any) -> None:
    """Equal outputs to 1e-5 of the largest."""
    model.eval()
    expected, found = model(*arguments), small(*arguments)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(float(expected.abs().max()), 1e-3))


def smaller(model: nn.Module, example: Any, *fresh: Any) -> nn.Module:
    """The model made small, which computes the same on the example and on fresh inputs."""
    small = compact(model, example)
    assert size(small) < size(model)
    for inputs in (example, *fresh):
        assert_same(model, small, *(inputs if isinstance(inputs, tuple) else (inputs,)))
    return small
