"""Small files that are either there as a whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def writing(what: object, done: str = "finished rounds are untouched") -> Iterator[None]:
    """Give errors of writing a text that helps.

    Args:
        what: is written: a file, or words.
        done: what an error leaves as it is.

    Raises:
        OSError: names what is written and says what stands.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        full = ": free some and run the command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise OSError(error.errno or errno.EIO, f"cannot write {what}: {reason}{full}; {done}") from error


def write_synced(file: Path, content: bytes) -> None:
    """Write a file down to the disk."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_text(file: Path, text: str) -> None:
    """Replace a file's content in one step; the old content stays if that fails."""
    part = file.with_name(file.name + ".part")
    try:
        with writing(file):
            write_synced(part, text.encode())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)  # nothing is there if all went well


def write_json(file: Path, content: Any) -> None:
    """Replace a JSON file in one step; NaN becomes null, as JSON has no such number."""
    write_text(file, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is damaged; the text names it.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members of a JSON text, for ``object_pairs_hook``.

    Raises:
        ValueError: a key stands twice.
    """
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return found


def finite(content: Any) -> Any:
    """Nested plain data with None in place of NaN and infinities."""
    if isinstance(content, dict):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def below(folder: Path, name: str) -> list[Path]:
    """All files of this name in and below a folder, sorted; its folders may come and go meanwhile, as cells run."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        if name in files:
            found.append(Path(parent, name))
    return sorted(found)
