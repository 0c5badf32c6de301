"""Raw text files of a data set, in a folder or a zip archive; errors name the file and the line."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from graphprune import limits
from graphprune.data.files import unpack

# An empty field between commas, or at either end of a line that has a comma.
_BLANK = re.compile(rb"(?m)(?<=,)(?=,|\r?$)|^(?=,)")


@dataclass(frozen=True)
class RawFiles:
    """The files of one data set.

    Args:
        place: the folder or archive they lie in.
        members: full name in the archive of each file; None for a folder.
    """

    place: Path
    members: Mapping[str, str] | None = None

    def where(self, name: str) -> str:
        """How errors call a file."""
        return f"{self.place / name}"

    def fail(self, name: str, row: int, problem: str) -> NoReturn:
        """Raise the ValueError that names a file, a line (``row`` counts from 0) and what is wrong there."""
        raise ValueError(f"{self.where(name)} line {row + 1}: {problem}")

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.place / name).is_file() if self.members is None else name in self.members

    def read(self, name: str, *, parsed: bool = False) -> bytes:
        """A file's content, unpacked if its name ends in ``.gz``.

        Args:
            name: the file.
            parsed: its content becomes Python objects, which take many times its size.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file or the archive around it is damaged, or it is larger than a limit.
        """
        if not self.has(name):
            raise FileNotFoundError(f"{self.where(name)} is missing")
        if self.members is None:
            content = unpack.read(self.place / name)
        else:
            content = unpack.zip_member(self.place, self.members[name], self.where(name))
            if name.endswith(".gz"):
                content = unpack.gunzipped(io.BytesIO(content), self.where(name))
        if parsed:
            limits.check("parsed", len(content), self.where(name))
        return content

    def table(
        self, name: str, dtype: type[np.generic], columns: int | None = None, *, blank_is_nan: bool = False
    ) -> NDArray[Any]:
        """Comma-separated numbers, one row a line, shape ``(lines, columns)``.

        Args:
            name: the file.
            dtype: of the numbers.
            columns: how many each line must have; None: as many as the first.
            blank_is_nan: empty fields are NaN instead of an error.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or larger than a limit, or a line is empty, has another width or is no row
                of numbers.
        """
        text = self.read(name).rstrip()
        limits.check("numbers", text.count(b",") + text.count(b"\n") + 1, self.where(name))
        if not text:
            return np.empty((0, columns or 0), dtype=dtype)
        if blank_is_nan:
            text = _BLANK.sub(b"nan", text)
        try:
            rows = np.loadtxt(io.BytesIO(text), dtype=dtype, delimiter=",", comments=None, ndmin=2)
        except ValueError as error:
            self._explain(name, text, dtype, columns)
            raise ValueError(f"{self.where(name)}: {error}") from error
        if len(rows) != text.count(b"\n") + 1 or columns not in (None, rows.shape[1]):
            self._explain(name, text, dtype, columns)
        return rows

    def column(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        """A file of one number a line, shape ``(lines,)``."""
        return self.table(name, dtype, 1)[:, 0]

    def _explain(self, name: str, text: bytes, dtype: type[np.generic], columns: int | None) -> None:
        """Raise for the first line that is at fault."""
        integer = np.issubdtype(dtype, np.integer)
        for row, line in enumerate(io.BytesIO(text)):
            fields = line.split(b",")
            columns = columns or len(fields)
            try:
                numbers = [int(value) if integer else float(value) for value in fields]
                fits = len(fields) == columns
            except ValueError:
                fits = False
            if not fits:
                kind = "integer" if integer else "number"
                shown = line.decode(errors="replace").strip()
                self.fail(name, row, f"expected {columns} {kind}{'s' * (columns > 1)}, found {shown[:80]!r}")
            if integer:
                for number in numbers:
                    check_integer(self, name, row, int(number), dtype)


def check_integer(files: RawFiles, name: str, row: int, number: int, dtype: type[np.generic] = np.int64) -> None:
    """Raise the ValueError that names file and line if an integer is none of this type."""
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    if not limits.min <= number <= limits.max:
        files.fail(name, row, f"{number} is beyond {np.dtype(dtype)}, from {limits.min} to {limits.max}")


def find(root: str | Path, marker: str, places: Sequence[str]) -> RawFiles:
    """The files of the first place that holds the file ``marker``.

    Args:
        root: a folder, or the archive itself.
        marker: a file every such data set has.
        places: folders and zip archives below ``root``, in order of preference.

    Raises:
        FileNotFoundError: no place holds it; the text says where it was looked for.
        ValueError: an archive that cannot be read.
    """
    root = Path(root).expanduser()
    candidates = [root] if root.is_file() else [root / place for place in places]
    for candidate in candidates:
        files = archive_files(candidate, marker) if candidate.is_file() else RawFiles(candidate)
        if files.has(marker):
            return files
    raise FileNotFoundError(f"{marker} not found; looked in {', '.join(map(str, candidates))}")


def archive_files(path: Path, marker: str) -> RawFiles:
    """The files of a zip archive, named from the folder that holds ``marker``."""
    members = unpack.zip_members(path)
    tops = [name.removesuffix(marker) for name in members if name == marker or name.endswith(f"/{marker}")]
    top = min(tops, key=len, default="")
    return RawFiles(path, {name.removeprefix(top): full for name, full in members.items() if name.startswith(top)})
