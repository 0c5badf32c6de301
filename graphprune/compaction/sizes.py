"""Sizes that code has written down, ``self.out_channels`` say, and those that it reads off tensors, through its sums.

Where the code makes a dimension of such a size, or compares it with the size of one, they have to stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from graphprune.compaction.calls import Calls
from graphprune.compaction.constants import Info
from graphprune.compaction.dims import Ints, Label

# Functions whose whole numbers are the sizes of their result, dimension by dimension.
_SHAPED = ("view", "reshape", "expand", "zeros", "ones", "empty", "rand", "randn", "new_zeros", "new_ones", "new_empty")


@dataclass(frozen=True)
class Written:
    """An attribute of a module, by the module's name, that holds a size."""

    module: str
    name: str
    value: int

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".strip(".")


@dataclass(frozen=True, eq=False)
class Tie:
    """``factor * source`` is ``rest`` and the sum of some dimensions' sizes.

    Attributes:
        source: an attribute that holds a size, or the number of an operation that makes parts of one size.
        terms: how often the size of which dimension is in the sum.
    """

    source: Written | int
    factor: int
    terms: tuple[tuple[int, Ints], ...]
    rest: int


class Size(int):
    """A number that remembers which sizes it is a sum of, each with its factor; the rest of it is no size."""

    noted: Sizes
    terms: tuple[tuple[int, Any], ...]

    @classmethod
    def of(cls, value: int, noted: Sizes, terms: Iterable[tuple[int, Any]]) -> Size:
        """A sum of these terms."""
        made = cls(value)
        made.noted, made.terms = noted, tuple(terms)
        return made

    def _sum(self, mine: int, other: Any, times: int) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        terms = [(mine * factor, term) for factor, term in self.terms]
        terms += [(times * factor, term) for factor, term in getattr(other, "terms", ())]
        return Size.of(mine * int(self) + times * int(other), self.noted, terms)

    def __add__(self, other: Any) -> Any:
        return self._sum(1, other, 1)

    def __sub__(self, other: Any) -> Any:
        return self._sum(1, other, -1)

    def __rsub__(self, other: Any) -> Any:
        return self._sum(-1, other, 1)

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        if not isinstance(other, Size):
            return self._sum(other, 0, 0)
        self.noted.products += [self, other]  # which are no sum of sizes
        return int(self) * int(other)

    __radd__, __rmul__ = __add__, __mul__

    def _number(self) -> int:
        """What becomes a number of the function that is computed, and so may not change."""
        self.noted.numbers.append(self)
        return int(self)

    def __float__(self) -> float:
        return float(self._number())

    def __truediv__(self, other: Any) -> Any:
        return self._number() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self._number()

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return pow(self._number(), other, modulus)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        return pow(other, self._number(), modulus)

    def _compared(self, how: Callable[[int, Any], Any], other: Any) -> Any:
        if isinstance(other, int) and int(self) == int(other):
            self.noted.tie(self, other)
        return how(self, other)

    def __eq__(self, other: object) -> Any:
        return self._compared(int.__eq__, other)

    def __ne__(self, other: object) -> Any:
        return self._compared(int.__ne__, other)

    def __lt__(self, other: int) -> Any:
        return self._compared(int.__lt__, other)

    def __le__(self, other: int) -> Any:
        return self._compared(int.__le__, other)

    def __gt__(self, other: int) -> Any:
        return self._compared(int.__gt__, other)

    def __ge__(self, other: int) -> Any:
        return self._compared(int.__ge__, other)

    __hash__ = int.__hash__

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


class Sizes(Calls):
    """Follows sizes through a run of a model; entered next to the tape that says what is known of tensors.

    Args:
        labels: of a tensor's dimensions, None where nothing is known of it.

    Attributes:
        ties: what the run has shown.
        numbers: sizes that have become numbers, which tensors may be multiplied with.
        products: sizes that were multiplied with each other.
        literal: dimensions that were compared with a number, or with each other.
    """

    def __init__(self, labels: Callable[[Tensor], list[Label] | None]) -> None:
        super().__init__()
        self._labels = labels
        self.ties: list[Tie] = []
        self.numbers: list[Size] = []
        self.products: list[Size] = []
        self.literal: list[Ints] = []

    @contextmanager
    def written(self, model: nn.Module) -> Iterator[None]:
        """Whole numbers of the model's modules remember what they are, inside."""
        back = []
        for name, module in model.named_modules():
            own = vars(module)
            for key, value in own.items():
                if type(value) is int and value > 1:
                    own[key] = Size.of(value, self, [(1, Written(name, key, value))])
                    back.append((own, key, value))
        try:
            yield
        finally:
            for own, key, value in back:
                own[key] = value

    def tie(self, one: int, other: int) -> None:
        """Two equal sizes have to stay equal; of interest is what ties one attribute to dimensions."""
        terms = [*getattr(one, "terms", ()), *((-times, term) for times, term in getattr(other, "terms", ()))]
        written = {term for _, term in terms if isinstance(term, Written)}
        factor = sum(times for times, term in terms if isinstance(term, Written))
        if len(written) == 1 and factor:
            (source,), sign = written, 1 if factor > 0 else -1
            dims = [(-sign * times, term) for times, term in terms if not isinstance(term, Written)]
            rest = abs(factor) * source.value - sum(times * len(label) for times, label in dims)
            self.ties.append(Tie(source, abs(factor), tuple(dims), rest))
        elif not written:
            self.literal += [term for _, term in terms]

    def dims(self, own: Mapping[str, Info]) -> Iterator[tuple[str, Ints]]:
        """All dimensions of sizes that are written down or become numbers, with what holds the size.

        Args:
            own: parameters and buffers. Where a size of their module is used but not followed, it may be that of any of
                their dimensions that it divides.
        """
        for tie in self.ties:
            if isinstance(tie.source, Written):
                yield from ((str(tie.source), label) for _, label in tie.terms)
        used = [term for size in self.numbers + self.products for _, term in size.terms]
        yield from (("size", label) for label in used + self.literal if not isinstance(label, Written))
        for source in {term for term in used if isinstance(term, Written)}:
            inside = [
                info for name, info in own.items() if f".{name}".startswith(f".{source.module}.".replace("..", "."))
            ]
            for label in [label for info in inside for label in info.labels if label is not None]:
                if len(label) % source.value == 0:
                    yield str(source), label

    def parts(self, dims: Ints) -> None:
        """These parts of a dimension, one a row, have to stay of one size."""
        number = len(self.ties)
        self.ties += [Tie(number, 1, ((1, label),), 0) for label in dims]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_function__(func, types, args, kwargs)
        name = getattr(func, "__name__", "")
        if name == "size" or (name == "__get__" and isinstance(out, torch.Size)):  # of Tensor.shape
            return self._read(out, *args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, int)]
        if name in _SHAPED and isinstance(out, Tensor) and len(given) == out.ndim:
            for one, other in zip(given, self._read(out.shape, out), strict=True):
                if isinstance(one, Size):
                    self.tie(one, other)
        else:
            self.numbers += [each for each in given if isinstance(each, Size)]
        return out

    def _read(self, sizes: Any, tensor: Tensor, dim: int | None = None) -> Any:
        """Sizes of a tensor that remember which they are."""
        labels = self._labels(tensor)
        if labels is None or len(labels) != tensor.ndim:
            return sizes
        every = [
            size if label is None else Size.of(size, self, [(1, label)])
            for size, label in zip(tensor.shape, labels, strict=True)
        ]
        return torch.Size(every) if dim is None else every[dim]
