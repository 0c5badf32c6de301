from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from graphprune.models import VGG19, LeNet5, LeNet300, ResNet20, ResNet50
from tests.compaction.nets import assert_same, draw, size, smaller, used, without


def images(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=draw(seed))


@pytest.mark.parametrize(
    ("model", "share"),
    [
        (LeNet300((1, 8, 8), 4, hidden=30), 0.45),
        (LeNet5((1, 16, 16), 4, hidden=100), 0.55),
        (VGG19((3, 16, 16), 4, hidden=8), 0.45),
        (ResNet20((3, 8, 8), 4, hidden=8), 0.65),
        (ResNet50((3, 8, 8), 4, hidden=4), 0.65),
    ],
)
def test_reference_networks_without_half_of_their_channels(model: Any, share: float) -> None:
    without(used(model), keep=("head",))
    small = smaller(model, images(2, *model.shape), images(5, *model.shape, seed=1))
    assert size(small) < share * size(model)
    for norm in small.modules():
        assert not isinstance(norm, nn.BatchNorm2d)  # each is behind a convolution
    assert small.head.in_features == small.head.weight.shape[1]


def test_inner_channels_of_residual_blocks_go_one_by_one() -> None:
    model = used(ResNet20((3, 8, 8), 4, hidden=8))
    inner = model.stages[1][2].first
    inner.conv.weight.data[[1, 4, 5]] = 0
    inner.norm.bias.data[[1, 4, 5]] = -9  # behind the ReLU they are 0
    small = smaller(model, images(2, 3, 8, 8))
    assert small.stages[1][2].first.conv.out_channels == 13
    assert small.stages[1][2].second.conv.in_channels == 13
    assert small.stages[1][1].first.conv.out_channels == 16


def test_constants_before_a_padded_convolution_share_one_channel() -> None:
    model = used(nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.Sigmoid(), nn.Conv2d(6, 3, 3, padding=1)))
    model[0].weight.data[[0, 2, 3, 5]] = 0
    small = smaller(model, images(2, 2, 5, 5), images(3, 2, 9, 7))
    assert small[0].out_channels == 3


def test_constants_before_a_convolution_without_padding_go_into_its_bias() -> None:
    model = used(nn.Sequential(nn.Conv2d(2, 6, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(6, 3, 3, bias=False)))
    model[0].weight.data[[0, 2, 3, 5]] = 0
    small = smaller(model, images(2, 2, 12, 12), images(3, 2, 15, 13))
    assert small[0].out_channels == 2
    assert small[3].bias is not None


class Written(nn.Module):
    """A classifier whose code has a size written down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.head = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv(x))
        return self.head(functional.relu(self.fc(x.view(-1, 6 * 36))))


def test_channels_stay_where_the_code_has_their_number_written_down() -> None:
    model = without(used(Written()), keep=("head",))
    small = smaller(model, images(2, 1, 8, 8), images(3, 1, 8, 8))
    assert small.conv.out_channels == 6
    assert small.fc.out_features < 8


class Widening(nn.Module):
    """A shortcut that adds channels of 0, as many as it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.head = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        short = functional.relu(self.stem(x))
        inner = self.inner(short)
        short = functional.pad(short, (0, 0, 0, 0, 0, inner.size(1) - short.size(1)))
        return self.head((inner + short).mean((2, 3)))


def test_channels_go_from_padded_shortcuts() -> None:
    model = used(Widening())
    model.inner.weight.data[[1, 5, 6]] = 0
    model.stem.weight.data[1] = 0
    model.stem.bias.data[1] = -1.0
    small = smaller(model, images(2, 2, 3, 3), images(1, 2, 5, 4))
    assert (small.stem.out_channels, small.head.in_features) == (3, 5)


class Block(nn.Module):
    """Residual, concatenated, split: whatever the draw says."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 1, groups=channels if kind == "depthwise" else 1)
        self.third = nn.Conv2d(2 * channels if kind == "cat" else channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(functional.relu(self.norm(self.first(x))))
        match self.kind:
            case "add":
                x = x + y
            case "cat":
                x = torch.cat([y, x], 1)
            case "scale":
                x = x * y.mean((2, 3), keepdim=True).sigmoid()
            case "shuffle":
                x = y.view(len(y), 2, -1, *y.shape[2:]).transpose(1, 2).flatten(1, 2)
            case "split":
                one, other = y.chunk(2, 1)
                x = torch.cat([other, one.relu_()], 1)
            case "norm":
                x = functional.layer_norm(y, y.shape[1:])
            case "roll":
                x = y.roll(1, 1)
            case _:
                x = y
        return self.third(x)


KINDS = ["add", "cat", "scale", "shuffle", "split", "norm", "roll", "depthwise", "plain"]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), st.integers(0, 999), st.floats(0.2, 0.9))
def test_random_wirings(kinds: list[str], seed: int, share: float) -> None:
    torch.manual_seed(seed)
    blocks = [Block(4, kind) for kind in kinds]
    model = nn.Sequential(nn.Conv2d(2, 4, 3), *blocks, nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.Linear(36, 3))
    without(used(model, seed), share, seed)
    without(model, share / 2, seed + 1, dim=1)
    model.append(nn.Linear(3, 3))
    model[-2].weight.data[1] = 0  # at least this unit goes
    small = smaller(model, images(2, 2, 6, 6))
    assert_same(model, small, images(3, 2, 6, 6, seed=4))
