"""Sizes that the code of a network has written down, reads off its tensors, or computes with."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from graphprune.compaction import compact, restored
from graphprune.compaction.constants import touched_by
from tests.compaction.nets import assert_same, draw, size, smaller, used

WIDTH = 6
X = torch.randn(7, 4, generator=draw(0))
OTHER = torch.randn(11, 4, generator=draw(1))


class Net(nn.Module):
    """Two layers, and one's own code between them."""

    def __init__(self, made: int = 1) -> None:
        super().__init__()
        self.width, self.parts = WIDTH, made
        self.first, self.last = nn.Linear(4, made * WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))

    def between(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Attention(Net):
    """Of all rows to all."""

    def __init__(self, made: int = 1) -> None:
        super().__init__(made)
        self.query, self.key = nn.Linear(4, WIDTH), nn.Linear(4, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).view(-1, self.width) for layer in (self.query, self.key, self.first))
        return self.last(torch.softmax(query @ key.t() / math.sqrt(self.width), 0) @ value)


class Fused(Net):
    """The same of one layer, of which the scores have only a part."""

    def between(self, x: Tensor) -> Tensor:
        query, key, value = x.view(-1, self.parts, self.width).unbind(1)
        return torch.softmax(query @ key.t() / math.sqrt(self.width), 0) @ value


class Scaled(Net):
    """Divided by the root of a width that is read off, and made of a width that is written down."""

    def between(self, x: Tensor) -> Tensor:
        return (x.view(-1, self.width) * x.size(-1) ** -0.5 + torch.zeros(self.width)).tanh()


class Gated(Net):
    """One half is the gate of the other."""

    def between(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * gate.sigmoid()


class Halves(Net):
    """The halves have nothing to do with each other."""

    def between(self, x: Tensor) -> Tensor:
        value, other = x.chunk(2, 1)
        return torch.cat([value.relu()[:, :0], other.relu() @ value.t() @ value / len(x)], 1)


class Padded(Net):
    """As many zeros as are missing, and a shortcut where nothing is."""

    def between(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x.new_zeros(x.size(0), 2 * self.width - x.size(1))], 1)
        if x.size(1) == 2 * self.width:
            x = x * 2
        return x[:, :].view(-1, 2, self.width).sum(1)


class Mean(Net):
    """A mean by hand, of which the size is a number."""

    def between(self, x: Tensor) -> Tensor:
        return x - x.sum(1, keepdim=True) / x.size(1)


class Read(Net):
    """The root of a size that is read off; what it divides is not linear in a layer."""

    def between(self, x: Tensor) -> Tensor:
        return x.relu() * x.size(1) ** -0.5


class Times(Net):
    """Its width times what is linear in a layer."""

    def between(self, x: Tensor) -> Tensor:
        return (x.view(-1, self.width) * self.width).tanh() + x.new_zeros(self.width)


class Literal(Net):
    """Insists on a number."""

    def between(self, x: Tensor) -> Tensor:
        if x.size(1) != 6:
            raise ValueError("six units")
        return x.relu()


class Number(Net):
    """The size that a view has is added."""

    def between(self, x: Tensor) -> Tensor:
        return x.view(-1, self.width).relu() + self.width**0.5


class Split(Net):
    """Parts of sizes that are written down."""

    def between(self, x: Tensor) -> Tensor:
        one, other = x.split(self.width, 1)
        return one + other


def without(model: Net, dead: list[int]) -> Net:
    """The same channels are dead in all parts."""
    for layer in (model.first, *([model.query, model.key] if isinstance(model, Attention) else [])):
        for value in layer.parameters():
            value.data.view(model.parts, WIDTH, -1)[:, dead] = 0
    return model


@pytest.mark.parametrize(("kind", "parts"), [(Attention, 1), (Scaled, 1), (Times, 1), (Gated, 2), (Padded, 1)])
@settings(max_examples=10)
@given(dead=st.sets(st.integers(0, WIDTH - 1), min_size=1, max_size=WIDTH - 1))
def test_dead_channels_go_and_sizes_follow(kind: type[Net], parts: int, dead: set[int]) -> None:
    torch.manual_seed(0)
    model = without(used(kind(parts)), sorted(dead))
    small = smaller(model, X, OTHER)
    if kind is not Padded:  # of which the first part alone has weights
        assert (small.first.out_features, small.last.in_features) == (parts * (WIDTH - len(dead)), WIDTH - len(dead))
    again = restored(kind(parts), small.state_dict())
    assert torch.equal(again(OTHER), small(OTHER))


@pytest.mark.parametrize(
    ("kind", "parts"), [(Fused, 3), (Halves, 2), (Mean, 1), (Read, 1), (Number, 1), (Literal, 1), (Split, 2)]
)
@settings(max_examples=10)
@given(dead=st.sets(st.integers(0, WIDTH - 1), max_size=WIDTH - 1))
def test_where_a_size_is_a_number_or_cannot_follow_nothing_becomes_wrong(
    kind: type[Net], parts: int, dead: set[int]
) -> None:
    model = without(used(kind(parts)), sorted(dead))
    model.first.weight.data[:1] = model.first.bias.data[:1] = 0  # in one part more
    try:
        small = compact(model, X)
    except ValueError as error:
        assert "nothing to remove" in str(error)
    else:
        assert_same(model, small, OTHER)


@pytest.mark.parametrize(("kind", "held"), [(Read, r"size \(6\)"), (Literal, r"size \(6\)"), (Number, r"width \(6\)")])
def test_what_keeps_channels_is_named(kind: type[Net], held: str) -> None:
    with pytest.raises(ValueError, match=rf"need all of their channels: .*{held}"):
        compact(without(used(kind()), [1, 2]), X)


def test_zeros_that_nobody_reads_tell_no_size() -> None:
    class Unread(Net):
        def between(self, x: Tensor) -> Tensor:
            assert x.new_zeros(len(x), self.width).numel() == 0 or x.new_zeros(0, self.width).size(1) == self.width
            return x.relu()

    small = compact(without(used(Unread()), [1, 2]), X)
    assert (small.width, small.first.out_features) == (WIDTH, WIDTH - 2)


class Recurrent(nn.Module):
    """A gated unit of PyTorch, whose gates are computed in place in parts of one tensor."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.first, self.cell, self.last = nn.Linear(4, WIDTH), kind(WIDTH, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = self.cell(x, x)
        return self.last(x)


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.RNNCell])
@settings(max_examples=10)
@given(dead=st.sets(st.integers(0, WIDTH - 1), min_size=1, max_size=WIDTH - 1), gates=st.booleans())
def test_a_state_is_dead_where_what_makes_it_is(kind: Any, dead: set[int], gates: bool) -> None:
    """Gates alone do not make a channel: they may have weights, or not."""
    torch.manual_seed(0)
    model = Recurrent(kind)
    parts = len(model.cell.weight_ih) // WIDTH
    for name, value in model.named_parameters():
        if not name.startswith("last"):
            rows = value.data.view(parts if "cell" in name else 1, WIDTH, -1)
            rows[0 if gates else -1 :, list(dead)] = 0
    small = smaller(model, X, OTHER)
    assert small.cell.weight_hh.shape == (parts * (WIDTH - len(dead)), WIDTH - len(dead))
    assert size(small.first) == 5 * (WIDTH - len(dead))


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_writing_touches_what_lies_in_the_same_memory(a: int, b: int, c: int, d: int, turned: bool) -> None:
    memory = torch.zeros(6, 6)
    written, view = memory[a:, b:], (memory.t() if turned else memory)[:c, d:]
    touched = touched_by(written, view)
    written.fill_(1)
    assert torch.equal(touched, view == 1)
    assert touched_by(written, memory.view(torch.int32)).all()


def test_a_function_that_fails_is_named_with_its_module() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
            self.last = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.last(self.inner(x)))

    with pytest.raises(RuntimeError, match=r"cannot be multiplied.*\(raised by linear in last, a Linear\)"):
        compact(Wrong(), X)


def test_a_small_network_that_does_not_run_names_the_function_and_its_module() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return x @ torch.eye(6) if len(weight) < 6 else x

    class Counted(Net):
        def __init__(self) -> None:
            super().__init__()
            self.middle = Counting()

        def between(self, x: Tensor) -> Tensor:
            return self.middle(x, self.first.weight)

    model = without(used(Counted()), [1, 2])
    with pytest.raises(RuntimeError, match=r"does not run: mat1.*\(raised by matmul in middle, a Counting\)"):
        compact(model, X)


def test_an_error_of_a_module_of_torch_is_named_too() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0]

    with pytest.raises(RuntimeError, match=r"must be equal to input_size.*\(raised by check_input in cell, a GRU\)"):
        compact(Sequence(), X)


def test_errors_of_the_models_own_code_are_left_as_they_are() -> None:
    class Own(Net):
        def between(self, x: Tensor) -> Tensor:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        compact(Own(), X)
