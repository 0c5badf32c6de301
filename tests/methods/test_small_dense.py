"""The small dense control has the size it claims, however a network's size follows from its width."""

import pytest
import torch
from torch import nn

from graphprune import SmallDense
from graphprune.models import GAT, GCN, LeNet300, NodeGCN


class Sized(nn.Module):
    """A network of ``size(width)`` parameters."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.lin = nn.Linear(1, self.size(hidden), bias=False)

    @staticmethod
    def size(hidden: int) -> int:
        raise NotImplementedError

    def resized(self, hidden: int) -> "Sized":
        return type(self)(hidden)


class Linear(Sized):
    @staticmethod
    def size(hidden: int) -> int:
        return 3 * hidden


class One(Sized):
    @staticmethod
    def size(hidden: int) -> int:
        return hidden


class Quadratic(Sized):
    @staticmethod
    def size(hidden: int) -> int:
        return hidden**2 + 5 * hidden + 2


class Cubic(Sized):
    @staticmethod
    def size(hidden: int) -> int:
        return hidden**3


class Stepped(Sized):
    @staticmethod
    def size(hidden: int) -> int:
        return 40 * (hidden // 8 + 1)


class Rooted(Sized):
    """Grows slower than its width, from a large share that does not grow."""

    @staticmethod
    def size(hidden: int) -> int:
        return 100 + hidden + int(hidden**0.5)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_network_of_few_features_is_matched_by_its_width() -> None:
    model = NodeGCN(4, 2, hidden=512)
    assert size(model) == 3072
    assert SmallDense(params=3072).small(model).config()["hidden"] == 512  # type: ignore[operator]
    assert size(SmallDense(params=1536).small(model)) == 1536


@pytest.mark.parametrize("kind", [Linear, One, Quadratic, Cubic, Stepped, Rooted])
@pytest.mark.parametrize("width", [1, 2, 3, 30, 64, 65])
def test_the_largest_width_that_fits_is_found(kind: type[Sized], width: int) -> None:
    model = kind(width)
    total = size(model)
    for params in {total, total - 1, total // 2, total // 3 + 1} - {0}:
        fitting = [hidden for hidden in range(1, 2 * total + 9) if kind.size(hidden) <= params]
        assert SmallDense(params=params).small(model).hidden == max(fitting, default=1)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "model",
    [
        NodeGCN(7, 3, hidden=16),
        GCN(7, 3, hidden=16, layers=2),
        GAT(7, 3, hidden=16, layers=2),
        LeNet300(num_outputs=10, shape=(1, 8, 8)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_models_own_size_gives_its_own_width(model: nn.Module) -> None:
    same = SmallDense(params=size(model)).small(model)
    assert same.config() == model.config()  # type: ignore[operator]
    half = SmallDense(density=0.5).small(model)
    assert 0 < size(half) < size(model)


def test_a_width_that_changes_nothing_ends() -> None:
    class Fixed(Sized):
        @staticmethod
        def size(hidden: int) -> int:
            return 7

    assert size(SmallDense(params=7).small(Fixed(3))) == 7


def test_nothing_large_is_ever_made_and_no_random_number_is_drawn() -> None:
    made: list[torch.device] = []

    class Watched(Linear):
        def __init__(self, hidden: int) -> None:
            super().__init__(hidden)
            made.append(self.lin.weight.device)

    model = Watched(1000)
    before = torch.get_rng_state()
    SmallDense(params=1500).small(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert [device.type for device in made[1:-1]] == ["meta"] * (len(made) - 2) and made[-1].type == "cpu"
    assert len(made) < 30
