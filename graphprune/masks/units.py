"""What falls together: single weights or whole channels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

from torch import Tensor


class Unit(Protocol):
    """Groups the entries of a tensor into units that are kept or dropped as one."""

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """Which parameters have their units in common: unit i of one is unit i of all in its group."""

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


@dataclass(frozen=True)
class Coupled(Channel):
    """Channels that several parameters have in common, such as those that a residual sum adds up.

    A channel scores the mean ``|score|`` of all its entries, in all parameters of its group, and is kept or dropped in
    all of them. It counts once, under the name of the first.

    Attributes:
        together: groups of parameter names; others stand by themselves. Groups may name parameters without masks.
    """

    together: tuple[tuple[str, ...], ...] = ()

    def groups(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """The groups, as far as these names go, in the order of the names."""
        names = list(names)
        home = {name: group for group in self.together for name in group}
        found = [tuple(other for other in names if other in home.get(name, (name,))) for name in names]
        return list(dict.fromkeys(found))


UnitName = Literal["weight", "channel"]

UNITS: dict[UnitName, Unit] = {"weight": Weight(), "channel": Channel()}


def name_of(unit: Unit) -> str:
    """What several of them are called."""
    return f"{type(unit).__name__.lower()}s"
