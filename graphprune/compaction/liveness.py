"""Which units nobody needs: a liveness analysis from the outputs back to the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from graphprune.compaction.constants import Info, Read
from graphprune.compaction.dims import Crossing, Ints
from graphprune.compaction.sizes import Tie, Written

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fold:
    """Inputs of a layer that go although they are not 0.

    Attributes:
        values: what they always are, or their shares of a common vector; 0 for all other inputs. Shape ``(inputs,)``.
        carrier: an input of the same kind that stays, with its own value: its weights take over the others', because no
            bias can; None: the layer's bias takes them.
    """

    values: Floats
    carrier: tuple[int, float] | None


@dataclass(frozen=True)
class Plan:
    """What to keep.

    Attributes:
        kept: for each parameter and buffer and each of its dimensions, which indices stay.
        folds: for weights by name.
        removed: units that go; all that must go together is one.
        sizes: of attributes that hold sizes which change.
    """

    kept: Mapping[str, tuple[Bools, ...]]
    folds: Mapping[str, Fold]
    removed: int
    sizes: Mapping[Written, int]


def live_units(
    group: Ints,
    own: Mapping[str, Info],
    reads: Sequence[Read],
    takes: Callable[[str], bool],
    crossings: Sequence[Crossing] = (),
    ties: Sequence[Tie] = (),
) -> Plan:
    """Find the units that no output depends on, and those that are constants.

    A unit is needed if it is an output, or if a needed unit's sum reads it, unless either factor is always 0 or the
    reading layer can take it over, as a constant or a multiple of another unit. If no unit of a layer is needed, its
    first one stays; where sizes are tied, so many stay as the largest needs.

    Args:
        group: of each variable.
        own: what is known of each parameter and buffer.
        reads: all sums over channels, in the order in which they run.
        takes: whether the layer of this weight can take over constants.
        crossings: dimensions of pairs.
        ties: sizes that have to stay equal.
    """
    readers = [_Reader.of(read, group, takes) for read in reversed(reads)]
    dims = [group[label] for info in own.values() for label in info.labels if label is not None and len(label)]
    pairs = [Crossing(*(group[label] for label in each)) for each in crossings]
    ties = _told(group, dims, pairs, ties)
    kept = np.zeros(group.max() + 1, np.bool_)
    kept[0] = True
    while True:
        _propagate(kept, readers, pairs)
        more = [groups[0] for groups in dims if not kept[groups].any()] + _short(kept, group, ties)
        if not more:
            break
        kept[more] = True
    units = np.unique(np.concatenate([np.zeros(1, np.int64), *dims]))
    return Plan(
        kept={name: tuple(kept[group[label]] for label in info.labels) for name, info in own.items()},
        folds={reader.weight: reader.fold(kept) for reader in readers if reader.weight is not None},
        removed=int((~kept[units]).sum()),
        sizes={
            tie.source: int(size)
            for tie in ties
            if isinstance(tie.source, Written) and (size := _size(tie, kept, group)) != tie.source.value
        },
    )


def _told(group: Ints, dims: list[Ints], crossings: list[Crossing], ties: Sequence[Tie]) -> list[Tie]:
    """Ties to what parameters have: of other dimensions, as those of zeros that nobody reads, no size is known."""
    known = np.zeros(group.max() + 1, np.bool_)
    for groups in dims:
        known[groups] = True
    for pairs, rows, columns in crossings:
        if known[pairs].any():
            known[rows] = known[columns] = True
    return [tie for tie in ties if all(known[group[label]].any() for _, label in tie.terms)]


def _size(tie: Tie, kept: Bools, group: Ints) -> Fraction:
    """What a tie says of its source's size."""
    total = sum(times * int(kept[group[label]].sum()) for times, label in tie.terms)
    return Fraction(total + tie.rest, tie.factor)


def _short(kept: Bools, group: Ints, ties: Sequence[Tie]) -> list[int]:
    """Further groups to keep, where one source has several sizes or none that is whole."""
    largest: dict[Written | int, int] = {}
    for tie in ties:
        largest[tie.source] = max(largest.get(tie.source, 1), math.ceil(_size(tie, kept, group)))
    more: list[int] = []
    for tie in ties:
        missing = (largest[tie.source] - _size(tie, kept, group)) * tie.factor
        spare = [np.unique(group[label][~kept[group[label]]]) for times, label in tie.terms if times > 0]
        if missing > 0 and spare:
            more += np.concatenate(spare)[: math.ceil(missing)].tolist()
    return more


@dataclass(frozen=True, eq=False)
class _Reader:
    """A :class:`Read` in groups; ``settled`` are the constants that the layer of ``weight`` takes over."""

    inner: Ints
    sides: tuple[tuple[Ints, Bools], ...]
    constant: Floats
    settled: Bools
    weight: str | None
    carrier: int | None

    @classmethod
    def of(cls, read: Read, group: Ints, takes: Callable[[str], bool]) -> _Reader:
        constant: Floats = read.constant.numpy()
        weight = read.weight if read.weight is not None and takes(read.weight) else None
        settled = np.isfinite(constant) & (weight is not None)
        carrier = None
        if read.shared and settled.any():
            carrier = int(np.nanargmax(np.abs(constant)))
            settled[carrier] = False
        sides = tuple((group[outer], may.numpy()) for outer, may in read.sides)
        inner = np.zeros(len(constant), np.int64) if read.inner is None else group[read.inner]
        return cls(inner, sides, constant, settled, weight, carrier)

    def needed(self, kept: Bools) -> Ints:
        """The groups that this sum reads for groups that are kept."""
        used = np.ones(len(self.inner), np.bool_)
        for outer, may in self.sides:
            used = used & may[kept[outer]].any(0)
        if self.carrier is not None and (used & self.settled).any():
            used[self.carrier] = True
        return self.inner[used & ~self.settled]

    def fold(self, kept: Bools) -> Fold:
        """What the layer takes over if these groups are kept."""
        values = np.where(self.settled & ~kept[self.inner], self.constant, 0.0)
        return Fold(values, None if self.carrier is None else (self.carrier, float(self.constant[self.carrier])))


def _propagate(kept: Bools, readers: list[_Reader], crossings: list[Crossing]) -> None:
    """Keep what anything kept needs, until nothing is added; readers come last first."""
    count = -1
    while count < kept.sum():
        count = int(kept.sum())
        for reader in readers:
            kept[reader.needed(kept)] = True
        for pairs, rows, columns in crossings:
            there = kept[pairs].reshape(len(rows), -1)
            kept[rows[there.any(1)]] = kept[columns[there.any(0)]] = True
            kept[pairs[np.outer(kept[rows], kept[columns]).ravel()]] = True
