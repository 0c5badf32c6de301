"""What falls together: single weights or whole channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Layout(Protocol):
    """How units lie in one tensor."""

    def size(self, shape: Sequence[int]) -> int:
        """How many units a tensor of this shape has."""

    def alive(self, mask: Tensor) -> Tensor:
        """``(units,)`` bool: which units still have a kept entry."""

    def reduce(self, scores: Tensor) -> Tensor:
        """``(units,)`` scores of the units from the entries' scores."""

    def expand(self, keep: Tensor, like: Tensor) -> Tensor:
        """``(units,)`` decisions for all entries, in the shape of ``like``."""


class Group(NamedTuple):
    """Parameters that have their units in common: unit i of one is unit i of all.

    Attributes:
        weights: how the units lie in those that they are counted and scored by; the first names the group.
        followers: how they lie in what loses the entries of dropped units without a say, such as biases and norms.
    """

    weights: Mapping[str, Layout]
    followers: Mapping[str, Layout]

    @property
    def name(self) -> str:
        """Of the first weight."""
        return next(iter(self.weights))

    @property
    def members(self) -> dict[str, Layout]:
        """Weights and followers."""
        return {**self.weights, **self.followers}


@runtime_checkable
class Unit(Protocol):
    """Says what is kept or dropped as one."""

    def groups(self, names: Iterable[str]) -> list[Group]:
        """The groups of these parameters, which may have followers that are not among them."""


@dataclass(frozen=True)
class Weight:
    """Every entry is a unit of its own (unstructured pruning).

    Attributes:
        spared: parameters whose entries are no units: they have masks to go with their channels.
    """

    spared: frozenset[str] = frozenset()

    def groups(self, names: Iterable[str]) -> list[Group]:
        """Each parameter by itself."""
        return [Group({name: self}, {}) for name in names if name not in self.spared]

    def size(self, shape: Sequence[int]) -> int:
        """One an entry."""
        return prod(shape)

    def alive(self, mask: Tensor) -> Tensor:
        """The mask itself, flat in row-major order."""
        return mask.flatten()

    def reduce(self, scores: Tensor) -> Tensor:
        """The scores themselves, flat in row-major order."""
        return scores.flatten()

    def expand(self, keep: Tensor, like: Tensor) -> Tensor:
        """The decisions in the tensor's shape."""
        return keep.view(like.shape)


@dataclass(frozen=True)
class Channel:
    """All entries with one index along a dimension (a filter, a neuron).

    A channel scores the mean ``|score|`` of its entries, not the sum, so that wide and narrow layers compare.

    Attributes:
        dim: the dimension that counts the channels; 0 is the outputs of Linear and Conv weights.
        of: the channel of each index, where several indices have one, as in the heads of attention.
    """

    dim: int = 0
    of: tuple[int, ...] = ()

    def groups(self, names: Iterable[str]) -> list[Group]:
        """Each parameter by itself."""
        return [Group({name: self}, {}) for name in names]

    def size(self, shape: Sequence[int]) -> int:
        """One an index along the dimension."""
        return 1 + max(self.of) if self.of else shape[self.dim]

    def alive(self, mask: Tensor) -> Tensor:
        """Channels with at least one kept entry."""
        rows = self._rows(mask).any(dim=1)
        return self._sums(rows) > 0 if self.of else rows

    def reduce(self, scores: Tensor) -> Tensor:
        """Mean ``|score|`` of each channel."""
        rows = self._rows(scores).abs().mean(dim=1)
        return self._sums(rows) / self._sums(torch.ones_like(rows)) if self.of else rows

    def expand(self, keep: Tensor, like: Tensor) -> Tensor:
        """Each decision for all entries of its channel."""
        shape = [1] * like.ndim
        shape[self.dim] = -1
        rows = keep[self._places(keep)] if self.of else keep
        return rows.view(shape).expand(like.shape).clone()

    def _rows(self, tensor: Tensor) -> Tensor:
        if not -tensor.ndim <= self.dim < tensor.ndim:
            raise ValueError(f"Channel(dim={self.dim}) does not exist in a tensor of shape {tuple(tensor.shape)}")
        return tensor.movedim(self.dim, 0).flatten(1) if tensor.ndim > 1 else tensor.unsqueeze(1)

    def _sums(self, rows: Tensor) -> Tensor:
        values = rows if rows.is_floating_point() else rows.long()
        return values.new_zeros(1 + max(self.of)).index_add_(0, self._places(rows), values)

    def _places(self, like: Tensor) -> Tensor:
        return torch.tensor(self.of, device=like.device)


class Shared(NamedTuple):
    """Channels that parameters have in common, by their names.

    Attributes:
        weights: those that make the channels.
        followers: those that have entries for them, which mean nothing without: biases, norms, embeddings.
    """

    weights: tuple[tuple[str, Channel], ...]
    followers: tuple[tuple[str, Channel], ...] = ()


@dataclass(frozen=True)
class Coupled:
    """Channels as a network has them: several parameters have them in common where a residual sum adds them up.

    A channel scores the mean ``|score|`` of all its entries, in all weights of its group, and is kept or dropped in all
    of them. It counts once, under the name of the first. With it go its entries in all followers, so that nothing of it
    is left behind its norm.

    Attributes:
        shared: groups of parameters; others stand by themselves. Groups may name weights without masks, and then their
            followers stay.
    """

    shared: tuple[Shared, ...] = ()

    def groups(self, names: Iterable[str]) -> list[Group]:
        """The groups, as far as these names go, in the order of the names."""
        home = {name: group for group in self.shared for name, _ in group.weights}
        following = {name for group in self.shared for name, _ in group.followers}
        found: dict[Shared, list[str]] = {}
        for name in names:
            if name not in following:
                found.setdefault(home.get(name, Shared(((name, Channel()),))), []).append(name)
        return [
            Group({name: dict(weights)[name] for name in there}, dict(followers) if len(there) == len(weights) else {})
            for (weights, followers), there in found.items()
        ]

    @property
    def together(self) -> tuple[tuple[str, ...], ...]:
        """The weights that are pruned together, group by group."""
        return tuple(tuple(name for name, _ in group.weights) for group in self.shared if len(group.weights) > 1)

    @property
    def followers(self) -> frozenset[str]:
        """All that goes with channels and makes none."""
        return frozenset(name for group in self.shared for name, _ in group.followers)

    def prefixed(self, prefix: str) -> Coupled:
        """The same under names with ``prefix`` before them."""
        return Coupled(
            tuple(
                Shared(*(tuple((prefix + name, how) for name, how in part) for part in group)) for group in self.shared
            )
        )

    def apart(self) -> Coupled:
        """Each weight by itself, with the followers that it alone has."""
        return Coupled(
            tuple(
                Shared((weight,), group.followers if len(group.weights) == 1 else ())
                for group in self.shared
                for weight in group.weights
            )
        )


UnitName = Literal["weight", "channel", "coupled"]

SINGLE_WEIGHTS = Weight()
UNITS: dict[str, Unit] = {"weight": SINGLE_WEIGHTS, "channel": Channel()}


def name_of(unit: Unit) -> str:
    """What several of them are called."""
    return "weights" if isinstance(unit, Weight) else "channels"
