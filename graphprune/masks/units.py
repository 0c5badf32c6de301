"""What falls together: single weights or whole channels."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor


class Unit(Protocol):
    """Groups the entries of a tensor into units that are kept or dropped as one."""

    def alive(self, mask: Tensor) -> Tensor:
        """``(units,)`` bool: which units still have a kept entry."""

    def reduce(self, scores: Tensor) -> Tensor:
        """``(units,)`` scores of the units from the entries' scores."""

    def expand(self, keep: Tensor, like: Tensor) -> Tensor:
        """A bool mask in the shape of ``like`` from ``(units,)`` decisions."""


@dataclass(frozen=True)
class Weight:
    """Every entry is a unit of its own (unstructured pruning)."""

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


UnitName = Literal["weight", "channel"]

UNITS: dict[UnitName, Unit] = {"weight": Weight(), "channel": Channel()}


def name_of(unit: Unit) -> str:
    """What several of them are called."""
    return f"{type(unit).__name__.lower()}s"
