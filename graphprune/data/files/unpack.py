"""Files of a data set out of gzip, zip and tar archives: read to their checksums, and no further than the limits.

What an archive says of its sizes is not believed: bytes are counted while they are unpacked.
"""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from graphprune import limits

Stream = IO[bytes] | io.BufferedIOBase

AGAIN = "get it again"
_STEP = 1 << 20  # bytes unpacked at a time
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)


def read(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in ``.gz``.

    Raises:
        ValueError: it is damaged or too large.
    """
    with path.open("rb") as file:
        return gunzipped(file, str(path)) if path.suffix == ".gz" else _all(file, str(path))


def gunzipped(packed: Stream, where: str) -> bytes:
    """What a gzip stream unpacks to; errors call it ``where``."""
    with _damage(where), gzip.GzipFile(fileobj=packed) as file:
        content = _all(file, where)
        if not packed.tell():
            raise EOFError("it is empty")
    return content


def zip_members(path: Path) -> dict[str, str]:
    """The files in a zip archive: their names with single slashes, and how the archive has them.

    Raises:
        ValueError: no readable archive, or too many files.
    """
    with _damage(str(path), "is not a readable zip archive (truncated?)"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        limits.check("members", len(names), str(path))
        if (listed := _listed(path)) not in (0xFFFF, len(names) & 0xFFFF):
            raise zipfile.BadZipFile(f"it ends with a count of {listed} files, its directory has {len(names)}")
        for found in archive.infolist():  # a damaged name would look as if the set had no such file
            archive.open(found).close()  # which compares the two places that have it
    # Some TU archives have doubled slashes in their names, and some tools write backslashes.
    return {str(PurePosixPath(name.replace("\\", "/"))): name for name in names}


def _listed(path: Path) -> int:
    """How many files the end of a zip archive counts, in 16 bits; damage in its directory hides some."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - 22 - 0xFFFF))
        end = file.read()
    return int(struct.unpack_from("<H", end, end.rindex(b"PK\5\6") + 10)[0])


def zip_member(path: Path, name: str, where: str) -> bytes:
    """One file of a zip archive; errors call it ``where``."""
    with _damage(where), zipfile.ZipFile(path) as archive:
        found = archive.getinfo(name)
        limits.check("unpacked", found.file_size, where)
        with archive.open(found) as file:
            return _all(file, where)


def tar_members(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Files of a ``.tar.gz`` archive by the last part of their names, read to the archive's end.

    Raises:
        FileNotFoundError: it lacks some.
        ValueError: it is damaged or too large.
    """
    found: dict[str, bytes] = {}
    with _damage(str(path)), gzip.open(path) as packed:
        stream: Any = _Counted(packed, str(path))  # tarfile asks for no more than a read method
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive, start=1):
                limits.check("members", number, str(path))
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if name in names and member.isfile() else None
                if file is not None:
                    found[name] = _all(file, f"{path}/{name}")
        while stream.read(_STEP):  # up to the checksum
            pass
    if missing := sorted(set(names) - found.keys()):
        raise FileNotFoundError(f"{path} holds no {', '.join(missing)}")
    return found


def array(content: bytes, where: str) -> NDArray[Any]:
    """The array of numbers or text in a ``.npy`` file, which has to have as many bytes as its head says.

    Raises:
        ValueError: it has not, or holds Python objects.
    """
    stream = io.BytesIO(content)
    try:
        heads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = heads[np.lib.format.read_magic(stream)](stream)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        asked, there = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
        if asked != there:
            raise ValueError(f"its head promises {asked:,} bytes, {there:,} follow")
        values: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, LookupError, TypeError, OverflowError, EOFError, OSError, SyntaxError, TokenError) as error:
        raise ValueError(f"{where}: damaged or truncated, or an array of objects ({error})") from error
    return values


class _Counted:
    """A stream that breaks off with the error of the limit once too much has come out of it."""

    def __init__(self, stream: Stream, where: str) -> None:
        self.stream, self.where, self.count = stream, where, 0
        self.most = limits.limit("unpacked")

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and (part := self.stream.read(min(size, _STEP))):
            size, self.count = size - len(part), self.count + len(part)
            if self.count > self.most:
                problem = f"{self.where} has {self.count:,} bytes, unpacked, and goes on"
                limits.refuse("unpacked", problem, max(2 * self.most, self.count))
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _all(stream: Stream, where: str) -> bytes:
    counted, whole = _Counted(stream, where), io.BytesIO()
    while part := counted.read(_STEP):
        whole.write(part)
    return whole.getvalue()


@contextmanager
def _damage(where: str, problem: str = "is damaged or truncated") -> Iterator[None]:
    """Errors of unpacking as a ValueError that names the file."""
    try:
        yield
    except (limits.LimitExceeded, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or a method or version that Python lacks
        raise ValueError(
            f"{where} cannot be unpacked: {error}; unpack it with another program and give the folder, or {AGAIN}"
        ) from error
    except (*_BROKEN, ValueError, LookupError, OverflowError, EOFError, OSError) as error:
        raise ValueError(f"{where} {problem} ({error}); {AGAIN}") from error
