"""Small masked networks, and their paths one by one."""

from collections.abc import Iterator
from itertools import pairwise, product

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from graphprune.masks import MaskSet


def mlp(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def masked(model: nn.Module, density: float, seed: int = 0) -> MaskSet:
    """Random masks, applied."""
    draw = torch.Generator().manual_seed(seed)
    dense = MaskSet.dense(model)
    masks = MaskSet.of({name: torch.rand(mask.shape, generator=draw) < density for name, mask in dense.items()})
    masks.apply_(model)
    return masks


@st.composite
def nets(draw: st.DrawFn) -> tuple[nn.Sequential, MaskSet]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    model = mlp(*sizes, seed=draw(st.integers(0, 9)))
    return model, masked(model, draw(st.floats(0.1, 1)), draw(st.integers(0, 999)))


def every_path(masks: MaskSet) -> Iterator[tuple[int, ...]]:
    """All paths over kept weights of linear layers, as the numbers of their units."""
    layers: list[Tensor] = list(masks.values())
    levels = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    for path in product(*map(range, levels)):
        if all(bool(layer[v, u]) for layer, (u, v) in zip(layers, pairwise(path), strict=True)):
            yield path


def two_parts() -> MaskSet:
    """Inputs 0 and 1 decide output 0, inputs 2 and 3 output 1; the fifth hidden unit is a dead end."""
    first, second = torch.zeros(5, 4, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.bool)
    first[0, 0] = first[0, 1] = first[1, 1] = first[2, 2] = first[3, 3] = first[4, 0] = True
    second[0, 0] = second[0, 1] = second[1, 2] = second[1, 3] = True
    return MaskSet.of({"0.weight": first, "2.weight": second})
