"""What stands for the objects of a pickle while :mod:`graphprune.data.files.pickles` follows it; it does nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

# Of a sparse matrix, which somebody will make dense; CiteSeer's features have 12 million.
MAX_CELLS = 2**27

_NUMBERS = {code: np.dtype(code) for code in ("b1", "i4", "i8", "f4", "f8", "u1")}


class Refused(Exception):
    """A pickle that is well-formed, but not of the known kind."""


def expect(fits: bool, what: str) -> None:
    """Refuse the pickle unless something fits."""
    if not fits:
        raise Refused(f"unexpected {what}")


@dataclass(frozen=True)
class Name:
    """A name that a pickle mentions."""

    text: str


@dataclass(eq=False)
class InertArray:
    """An array, before and after its content is known."""

    values: NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        """Take the content: a view of the bytes in the pickle, which have to be as many as the shape says."""
        expect(isinstance(state, tuple) and len(state) == 5, "state of an array")
        _, shape, dtype, by_column, content = state
        expect(_is_shape(shape) and len(shape) <= 2, "shape of an array")
        expect(isinstance(dtype, np.dtype) and isinstance(by_column, bool), "kind of array")
        expect(isinstance(content, bytes) and len(content) == math.prod(shape) * dtype.itemsize, "size of an array")
        self.values = np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


@dataclass(eq=False)
class InertMatrix:
    """A sparse matrix in CSR form, before and after its parts are known."""

    values: sp.csr_matrix | None = None

    def build(self, state: Any) -> None:
        """Take the parts, which have to form a matrix."""
        expect(isinstance(state, dict) and _is_shape(state.get("_shape")), "state of a sparse matrix")
        shape = state["_shape"]
        expect(
            len(shape) == 2 and math.prod(shape) <= MAX_CELLS, f"shape of a sparse matrix (at most {MAX_CELLS} cells)"
        )
        data, indices, indptr = (_vector(state.get(part), part) for part in ("data", "indices", "indptr"))
        expect(indices.dtype.kind == indptr.dtype.kind == "i", "number type of a sparse matrix's indices")
        expect(len(data) == len(indices) and len(indptr) == shape[0] + 1, "size of a sparse matrix's parts")
        rising = indptr[0] == 0 and indptr[-1] == len(indices) and bool((np.diff(indptr) >= 0).all())
        expect(rising, "row pointers of a sparse matrix")
        expect(bool(((indices >= 0) & (indices < shape[1])).all()), "column numbers of a sparse matrix")
        self.values = sp.csr_matrix((data, indices, indptr), shape=shape)


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)


def _vector(part: Any, name: str) -> NDArray[Any]:
    values = part.values if isinstance(part, InertArray) else None
    if values is None or values.ndim != 1:
        raise Refused(f"unexpected {name} of a sparse matrix")
    return values


def _dtype(arguments: tuple[Any, ...]) -> np.dtype[Any]:
    code = arguments[0] if len(arguments) == 3 else None
    code = code.decode("latin-1") if isinstance(code, bytes) else code
    if not isinstance(code, str) or code not in _NUMBERS:
        raise Refused(f"unexpected number type {code[:20] if isinstance(code, str) else ''}".rstrip())
    return _NUMBERS[code]


def _array(arguments: tuple[Any, ...]) -> InertArray:
    expect(len(arguments) == 3 and arguments[0] == Name("numpy ndarray"), "kind of array")
    return InertArray()


def _matrix(arguments: tuple[Any, ...]) -> InertMatrix:
    expect(not arguments, "arguments of a sparse matrix")
    return InertMatrix()


def _lists(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    expect(len(arguments) == 1 and arguments[0] == Name("__builtin__ list"), "kind of defaultdict")
    return {}


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    """How protocol 2, which knows no bytes, writes them."""
    text, encoding = arguments if len(arguments) == 2 else ("", "")
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("unexpected encoding of bytes")
    return text.encode("latin-1")


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    expect(not arguments, "bytes")
    return b""


def _never(arguments: tuple[Any, ...]) -> NoReturn:
    raise Refused("unexpected call")


# The names that a file may mention, and what is done where it asks to call one.
CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "numpy dtype": _dtype,
    "numpy ndarray": _never,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy._core.multiarray _reconstruct": _array,
    "scipy.sparse.csr csr_matrix": _matrix,
    "scipy.sparse._csr csr_matrix": _matrix,
    "collections defaultdict": _lists,
    "__builtin__ list": _never,
    "__builtin__ bytes": _no_bytes,
    "_codecs encode": _encoded,
}
