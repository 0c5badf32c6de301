"""Arrays out of Planetoid's ``ind.*`` files, pickles that Python 2 wrote; they are read as data and never run.

Loading a pickle runs whatever its author put in. A restricted ``Unpickler`` still calls the classes it allows, with
arguments and states of the file's choosing, and numpy's were not made for that: a short file can ask for terabytes,
fill an array with objects, or crash the interpreter by hashing a tuple nested deeply.

So nothing is unpickled here. ``pickletools.genops``, a disassembler, splits the file into its instructions, and a small
machine follows the few of them that these files need. Why that is safe:

- No name is imported. Names are looked up in a table of six; another one is refused, and named.
- No call is made but to functions of this file, each of which takes arguments of one form.
- Arrays are views of bytes that the file really holds, of six number types and a shape that fits. Nothing takes memory
  that the file does not fill, and the instructions are counted.
- Nothing is hashed, compared, printed or entered recursively: keys are texts or integers, nestings are only pushed.
- What comes out are numbers, texts, lists, dictionaries, tuples, arrays and checked sparse matrices.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphprune import limits

_NUMBERS = {code: np.dtype(code) for code in ("b1", "i4", "i8", "f4", "f8", "u1")}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _Refused(Exception):
    """A pickle that is well-formed, but not of the known kind."""


def read(content: bytes, where: str) -> Any:
    """The value that a pickle describes.

    Args:
        content: the whole file.
        where: how errors call it.

    Returns:
        A number, a text, an array (a read-only view), a sparse matrix (scipy's CSR), a list or
        tuple of numbers and texts, or a dictionary of all these.

    Raises:
        ValueError: the file is too large, damaged or truncated, or no pickle of that kind; if it mentions a name that
            it may not, the text has it.
    """
    limits.check("parsed", len(content), where)
    try:
        return _Machine().run(content)
    except limits.LimitExceeded as error:
        raise limits.LimitExceeded(f"{where} is refused: {error}; nothing of it was run") from error
    except _Refused as error:
        raise ValueError(f"{where} is refused: {error}; nothing of it was run") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where} is damaged or truncated: {type(error).__name__}: {error}") from error


class _Machine:
    """Follows the instructions of one pickle over values that do nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """Follow the instructions up to the end of the pickle."""
        most = limits.limit("steps")
        for count, (code, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if code.name == "STOP":
                break
            if count >= most:
                limits.refuse("steps", f"a pickle has {count + 1:,} instructions and goes on", 2 * most)
            self.step(code.name, argument)
        value = self.stack.pop()
        return {key: _content(entry) for key, entry in value.items()} if type(value) is dict else _content(value)

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        match name:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                self.stack.append(argument)
            case "BINSTRING" | "SHORT_BINSTRING":  # Python 2's str; pickletools shows it as text
                self.stack.append(argument.encode("latin-1"))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append(_CONSTANTS[name])
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [self.stack.pop() for _ in range(int(name[-1]))]
                self.stack.append(tuple(reversed(items)))
            case "TUPLE":
                items = self.since_mark()
                self.stack.append(tuple(items))
            case "EMPTY_LIST":
                self.stack.append([])
            case "APPEND":
                self.extend([self.stack.pop()])
            case "APPENDS":
                self.extend(self.since_mark())
            case "EMPTY_DICT":
                self.stack.append({})
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                self.update([key, value])
            case "SETITEMS":
                self.update(self.since_mark())
            case "GLOBAL":
                if argument not in CALLS:
                    raise _Refused(f"it names {argument.replace(' ', '.')[:80]}")
                self.stack.append(_Name(argument))
            case "REDUCE" | "NEWOBJ":
                arguments, called = self.stack.pop(), self.stack.pop()
                _expect(isinstance(arguments, tuple) and isinstance(called, _Name), "call")
                self.stack.append(CALLS[called.text](arguments))
            case "BUILD":
                self.build(self.stack.pop())
            case "PROTO":
                pass
            case _:
                raise _Refused(f"unexpected instruction {name}")

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        """Put items at the end of the list on top."""
        _expect(type(self.stack[-1]) is list, "list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary on top."""
        keys = [key.decode("latin-1") if isinstance(key, bytes) else key for key in items[::2]]
        _expect(all(type(key) in (str, int) for key in keys), "key")
        _expect(type(self.stack[-1]) is dict, "dictionary")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def build(self, state: Any) -> None:
        """Give the object on top its state."""
        top = self.stack[-1]
        if isinstance(top, np.dtype):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
            _expect(isinstance(order, bytes) and order in (b"<", b"|"), "order of bytes")
        else:
            _expect(isinstance(top, _Object) and top.values is None, "state")
            top.values = top.made(state)


@dataclass(frozen=True)
class _Name:
    """A name that a pickle mentions."""

    text: str


@dataclass(eq=False)
class _Object:
    """Stands for an array or a sparse matrix, before and after its content is known.

    Args:
        made: what the object is, from its state.
        values: that, once it is known.
    """

    made: Callable[[Any], Any]
    values: Any = None


def _expect(fits: bool, what: str) -> None:
    """Refuse the pickle unless something fits."""
    if not fits:
        raise _Refused(f"unexpected {what}")


def _content(value: Any) -> Any:
    """The array or matrix in its stand-in, which has to have one."""
    if not isinstance(value, _Object):
        return value
    _expect(value.values is not None, "object without content")
    return value.values


def _array(state: Any) -> NDArray[Any]:
    """A view of the bytes in the pickle, which have to be as many as the shape says."""
    _expect(isinstance(state, tuple) and len(state) == 5, "state of an array")
    _, shape, dtype, by_column, content = state
    _expect(_is_shape(shape) and len(shape) <= 2, "shape of an array")
    _expect(isinstance(dtype, np.dtype) and isinstance(by_column, bool), "kind of array")
    _expect(isinstance(content, bytes) and len(content) == math.prod(shape) * dtype.itemsize, "size of an array")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


def _matrix(state: Any) -> sp.csr_matrix:
    """A sparse matrix in CSR form, whose parts hold together."""
    _expect(isinstance(state, dict) and _is_shape(state.get("_shape")), "state of a sparse matrix")
    shape = state["_shape"]
    _expect(len(shape) == 2, "shape of a sparse matrix")
    limits.check("numbers", math.prod(shape), "a sparse matrix that will be made dense")
    data, indices, indptr = (_vector(state.get(part), part) for part in ("data", "indices", "indptr"))
    _expect(indices.dtype.kind == indptr.dtype.kind == "i", "number type of a sparse matrix's indices")
    _expect(len(data) == len(indices) and len(indptr) == shape[0] + 1, "size of a sparse matrix's parts")
    rising = indptr[0] == 0 and indptr[-1] == len(indices) and bool((np.diff(indptr) >= 0).all())
    _expect(rising, "row pointers of a sparse matrix")
    _expect(bool(((indices >= 0) & (indices < shape[1])).all()), "column numbers of a sparse matrix")
    return sp.csr_matrix((data, indices, indptr), shape=shape)


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)


def _vector(part: Any, name: str) -> NDArray[Any]:
    values = part.values if isinstance(part, _Object) else None
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise _Refused(f"unexpected {name} of a sparse matrix")
    return values


def _new_dtype(arguments: tuple[Any, ...]) -> np.dtype[Any]:
    code = arguments[0].decode("latin-1") if len(arguments) == 3 and isinstance(arguments[0], bytes) else ""
    _expect(code in _NUMBERS, f"number type {code[:20]}".rstrip())
    return _NUMBERS[code]


def _new_array(arguments: tuple[Any, ...]) -> _Object:
    _expect(len(arguments) == 3 and arguments[0] == _Name("numpy ndarray"), "kind of array")
    return _Object(_array)


def _new_matrix(arguments: tuple[Any, ...]) -> _Object:
    _expect(not arguments, "arguments of a sparse matrix")
    return _Object(_matrix)


def _new_lists(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    _expect(len(arguments) == 1 and arguments[0] == _Name("__builtin__ list"), "kind of defaultdict")
    return {}


def _never(arguments: tuple[Any, ...]) -> NoReturn:
    raise _Refused("unexpected call")


# The names that a file may mention, and what is done where it asks to call one.
CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "numpy dtype": _new_dtype,
    "numpy ndarray": _never,
    "numpy.core.multiarray _reconstruct": _new_array,
    "scipy.sparse.csr csr_matrix": _new_matrix,
    "collections defaultdict": _new_lists,
    "__builtin__ list": _never,
}
