"""The one way files and folders are written: there as a whole, on the disk, or not at all; and the one lock."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

LOCK = ".lock"
_PART = ".part."  # begins the name of a file that is being written
_unsynced: set[Path] = set()  # lines that this process has added; nothing new gets its name before they are on the disk


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
        if error.errno is None or reason.startswith("cannot write "):
            raise  # it is in words already
        full = ": free some and run the command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise OSError(error.errno or errno.EIO, f"cannot write {what}: {reason}{full}; {done}") from error


# ---------------------------------------------------------------------- whole or not at all


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A hidden path beside a file, with the same ending: what is written there replaces the file when the block ends.

    It is on the disk before it gets the name. An error in the block leaves what was there before; a kill leaves the
    hidden file, which the next writer of the same file replaces. Two processes that write the same file need a lock.
    """
    part = file.with_name(f"{_PART}{file.name}")
    try:
        yield part
        _sync_lines()
        sync(part)
        part.replace(file)
        sync(file.parent)
    finally:
        part.unlink(missing_ok=True)  # nothing is there if all went well


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder in a hidden one beside ``folder``, which gets the name when the block ends; parents are made.

    All in it is on the disk before it gets the name. An error in the block leaves nothing; a kill leaves the hidden
    folder, ``.NAME.*.tmp``, which goes when the same folder is written again.

    Raises:
        FileExistsError: the folder exists.
    """
    given, folder = folder, Path(os.path.abspath(folder))
    remove_leftovers(folder.parent, folder.name)
    if os.path.lexists(folder):
        raise FileExistsError(f"{given} exists already and is not overwritten: choose another folder")
    hidden = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    try:
        if not folder.parent.exists():
            make_folder(folder.parent)
        hidden.mkdir()
        with locked(hidden / LOCK):
            inner = hidden / folder.name
            inner.mkdir()
            yield inner
            _sync_lines()
            for parent, _, files in os.walk(inner, topdown=False):
                for path in (*files, ""):
                    sync(Path(parent, path))
            inner.rename(folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what processes that were killed have left of new folders in this one.

    Args:
        folder: where they were to be.
        name: of the folder that they were to become; None: any.
    """
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[0-9a-f]+\.tmp")
    for rest in folder.iterdir() if folder.is_dir() else ():
        if pattern.fullmatch(rest.name):
            with suppress(OSError), locked(rest / LOCK):  # its writer lives as long as this is locked
                shutil.rmtree(rest)


def is_part(path: Path) -> bool:
    """Whether the name is that of a file that is, or was, being written."""
    return path.name.startswith(_PART) or path.name.endswith(".part")  # of earlier versions


def make_folder(folder: Path) -> None:
    """Make a folder, and its parents, that will be there after a loss of power; one that exists is left as it is."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(new):
        sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, down to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(file: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock that the system drops with the process.

    Args:
        file: is made, and stays.
        wait: until another process drops it.

    Raises:
        BlockingIOError: another process holds it.
    """
    lock = FileLock(file)
    try:
        lock.acquire(blocking=wait)
    except Timeout as error:
        raise BlockingIOError(errno.EAGAIN, f"another process is running in {file.parent}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Write files of a folder that several processes may write, one after the other; the folder is made."""
    with writing(folder):
        make_folder(folder)
    with locked(folder / ".turn", wait=True):
        yield


# ---------------------------------------------------------------------- text and JSON


def write_text(file: Path, text: str) -> None:
    """Replace a file's content in one step; the old content stays if that fails."""
    with writing(file), new_file(file) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(file: Path, content: Any) -> None:
    """Replace a JSON file in one step; NaN becomes null, as JSON has no such number."""
    write_text(file, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def append_json(file: Path, entry: Mapping[str, Any], *, synced: bool = True) -> None:
    """Add a line of JSON, of which a kill or a loss of power leaves a part at most.

    It is on the disk before anything that this process writes later gets its name, and at once if ``synced``.
    """
    _unsynced.add(file)
    new = not file.exists()
    with writing(file), file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
        if synced:
            stream.flush()
            os.fsync(stream.fileno())
            _unsynced.discard(file)
    if new:
        sync(file.parent)


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is damaged; the text names it.
    """
    try:
        return parsed(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def parsed(text: str | bytes) -> Any:
    """What a JSON text says; raises ValueError where it is none, or a key stands twice in one object."""
    return json.loads(text, object_pairs_hook=unique)


def _sync_lines() -> None:
    for file in list(_unsynced):
        with suppress(FileNotFoundError):
            sync(file)
        _unsynced.discard(file)


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
