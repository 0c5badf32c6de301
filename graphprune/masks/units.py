"""What falls together: single weights or whole channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Unit(Protocol):
    """Groups the entries of a tensor into units that are kept or dropped as one."""

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """Which parameters have their units in common: unit i of one is unit i of all in its group."""

    def along(self, names: Sequence[str]) -> Mapping[str, Unit]:
        """Parameters that lose what belongs to the dropped units of a group, and how it lies in them."""

    def size(self, shape: Sequence[int]) -> int:
        """How many units a tensor of this shape has."""

    def alive(self, mask: Tensor) -> Tensor:
        """``(units,)`` bool: which units still have a kept entry."""

    def reduce(self, scores: Tensor) -> Tensor:
        """``(units,)`` scores of the units from the entries' scores."""

    def expand(self, keep: Tensor, like: Tensor) -> Tensor:
        """A bool mask in the shape of ``like`` from ``(units,)`` decisions."""


@dataclass(frozen=True)
class Weight:
    """Every entry is a unit of its own (unstructured pruning)."""

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """Each parameter by itself."""
        return [(name,) for name in names]

    def along(self, names: Sequence[str]) -> Mapping[str, Unit]:
        """Nothing."""
        return {}

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
    """

    dim: int = 0

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """Each parameter by itself."""
        return [(name,) for name in names]

    def along(self, names: Sequence[str]) -> Mapping[str, Unit]:
        """Nothing."""
        return {}

    def size(self, shape: Sequence[int]) -> int:
        """One an index along the dimension."""
        return shape[self.dim]

    def alive(self, mask: Tensor) -> Tensor:
        """Channels with at least one kept entry."""
        return self._rows(mask).any(dim=1)

    def reduce(self, scores: Tensor) -> Tensor:
        """Mean ``|score|`` of each channel."""
        return self._rows(scores).abs().mean(dim=1)

    def expand(self, keep: Tensor, like: Tensor) -> Tensor:
        """Each decision for all entries of its channel."""
        shape = [1] * like.ndim
        shape[self.dim] = -1
        return keep.view(shape).expand(like.shape).clone()

    def _rows(self, tensor: Tensor) -> Tensor:
        if not -tensor.ndim <= self.dim < tensor.ndim:
            raise ValueError(f"Channel(dim={self.dim}) does not exist in a tensor of shape {tuple(tensor.shape)}")
        return tensor.movedim(self.dim, 0).flatten(1) if tensor.ndim > 1 else tensor.unsqueeze(1)


class Follower(NamedTuple):
    """A parameter with entries that mean nothing without the channels of others, such as a bias or a norm's weights.

    Attributes:
        weights: which parameters make these channels.
        name: of the parameter that follows.
        dim: its dimension that counts the channels.
    """

    weights: tuple[str, ...]
    name: str
    dim: int = 0


@dataclass(frozen=True)
class Coupled(Channel):
    """Channels as a network has them: several parameters have them in common where a residual sum adds them up.

    A channel scores the mean ``|score|`` of all its entries, in all parameters of its group, and is kept or dropped in
    all of them. It counts once, under the name of the first. With a dropped channel go its entries in all followers,
    which have no say in its score, so that nothing of it is left behind its norm.

    Attributes:
        together: groups of parameter names; others stand by themselves. Groups may name parameters without masks.
        followers: what goes with channels of which all weights have masks.
    """

    together: tuple[tuple[str, ...], ...] = ()
    followers: tuple[Follower, ...] = ()

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """The groups, as far as these names go, in the order of the names."""
        following = {follower.name for follower in self.followers}
        names = [name for name in names if name not in following]
        home = {name: group for group in self.together for name in group}
        found = [tuple(other for other in names if other in home.get(name, (name,))) for name in names]
        return list(dict.fromkeys(found))

    def along(self, names: Sequence[str]) -> Mapping[str, Unit]:
        """Who follows these weights."""
        return {name: Channel(dim) for weights, name, dim in self.followers if set(weights) == set(names)}

    def apart(self) -> Coupled:
        """Each parameter by itself, with the followers that it alone has."""
        return Coupled(self.dim, (), tuple(follower for follower in self.followers if len(follower.weights) == 1))


UnitName = Literal["weight", "channel", "coupled"]

UNITS: dict[str, Unit] = {"weight": Weight(), "channel": Channel()}


def name_of(unit: Unit) -> str:
    """What several of them are called."""
    return "channels" if isinstance(unit, Channel) else "weights"
