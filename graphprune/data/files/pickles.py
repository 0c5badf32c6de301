"""Arrays out of pickle files, which are read as data and never run.

Two published formats are pickles: the ``ind.*`` files of Planetoid, written by Python 2, and the split files of OGB's
link sets, written by ``torch.save``. Loading a pickle runs whatever its author put in. A restricted ``Unpickler`` still
calls the classes it allows, with arguments and states of the file's choosing, and numpy's were not made for that: a
short file can ask for terabytes, fill an array with objects, or crash the interpreter by hashing a tuple nested deeply.

So nothing is unpickled here. ``pickletools.genops``, a disassembler, splits the file into its instructions, and a small
machine follows the few of them that these files need. Why that is safe:

- No name is imported. Names are looked up in a table of ten; another one is refused, and named.
- No call is made but to functions of :mod:`graphprune.data.files.inert`, each of which takes arguments of one form.
- Arrays are views of bytes that the file really holds, of six number types and a shape that fits. Nothing takes memory
  that the file does not fill, and the instructions are counted.
- Nothing is hashed, compared, printed or entered recursively: keys are texts or integers, nestings are only pushed.
- What comes out are numbers, texts, lists, dictionaries, tuples, arrays and checked sparse matrices.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import Any

import numpy as np

from graphprune.data.files.inert import CALLS, InertArray, InertMatrix, Name, Refused, expect

# The published files stay far below: the training edges of ogbl-collab have about 40 MB, PubMed's graph some 200,000
# instructions.
MAX_BYTES = 2**28
MAX_STEPS = 2_000_000

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def read(content: bytes, where: str) -> Any:
    """The value that a pickle describes.

    Args:
        content: the whole file.
        where: how errors call it.

    Returns:
        A number, a text, an array (a read-only view), a sparse matrix (scipy's CSR, at most 2^27 cells), a list or
        tuple of numbers and texts, or a dictionary of all these.

    Raises:
        ValueError: the file is too large, damaged or truncated, or no pickle of that kind; if it mentions a name that
            it may not, the text has it.
    """
    return _follow(_bounded(content, where), where)


def read_torch(content: bytes, where: str) -> Any:
    """The value of a file that ``torch.save`` wrote, if it holds arrays and no tensors; see :func:`read`.

    Both layouts are known: the zip archive, and the row of pickles that torch wrote before version 1.6.

    Raises:
        ValueError: as for :func:`read`.
    """
    stream = _bounded(content, where)
    if not zipfile.is_zipfile(stream):
        stream.seek(0)
        for _ in ("magic number", "version of the format", "system"):
            _follow(stream, where)
        return _follow(stream, where)
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.split("/")[1:] == ["data.pkl"]]
            if len(entries) != 1 or entries[0].file_size > MAX_BYTES:
                raise ValueError(f"expected one data.pkl of at most {MAX_BYTES} bytes")
            inner = archive.read(entries[0])
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"{where} is no whole file of torch.save: {error}") from error
    return read(inner, where)


def _bounded(content: bytes, where: str) -> io.BytesIO:
    if len(content) > MAX_BYTES:
        raise ValueError(f"{where} has {len(content)} bytes, more than the {MAX_BYTES} that are read")
    return io.BytesIO(content)


def _follow(stream: io.BytesIO, where: str) -> Any:
    try:
        return _Machine().run(stream)
    except Refused as error:
        raise ValueError(f"{where} is refused: {error}; nothing of it was run") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where} is damaged or truncated: {type(error).__name__}: {error}") from error


class _Machine:
    """Follows the instructions of one pickle over values that do nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """Follow the instructions up to the end of the pickle, and no further into the stream."""
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if code.name == "STOP":
                break
            if count >= MAX_STEPS:
                raise Refused(f"more than {MAX_STEPS} instructions")
            self.step(code.name, argument)
        value = self.stack.pop()
        return {key: _content(entry) for key, entry in value.items()} if type(value) is dict else _content(value)

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        match name:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
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
                self.mention(argument)
            case "REDUCE" | "NEWOBJ":
                arguments, called = self.stack.pop(), self.stack.pop()
                expect(isinstance(arguments, tuple) and isinstance(called, Name), "call")
                self.stack.append(CALLS[called.text](arguments))
            case "BUILD":
                self.build(self.stack.pop())
            case "PROTO":
                pass
            case _:
                raise Refused(f"unexpected instruction {name}")

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        """Put items at the end of the list on top."""
        expect(type(self.stack[-1]) is list, "list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary on top."""
        keys = [key.decode("latin-1") if isinstance(key, bytes) else key for key in items[::2]]
        expect(all(type(key) in (str, int) for key in keys), "key")
        expect(type(self.stack[-1]) is dict, "dictionary")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def mention(self, name: str) -> None:
        """Push a name that is known."""
        if name not in CALLS:
            raise Refused(f"it names {name.replace(' ', '.')[:80]}")
        self.stack.append(Name(name))

    def build(self, state: Any) -> None:
        """Give the object on top its state."""
        top = self.stack[-1]
        if isinstance(top, np.dtype):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
            expect(isinstance(order, str | bytes) and order in ("<", "|", b"<", b"|"), "order of bytes")
        else:
            expect(isinstance(top, InertArray | InertMatrix) and top.values is None, "state")
            top.build(state)


def _content(value: Any) -> Any:
    """The array or matrix in its stand-in, which has to have one."""
    if not isinstance(value, InertArray | InertMatrix):
        return value
    expect(value.values is not None, "object without content")
    return value.values
