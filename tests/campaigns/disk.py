"""A disk that can lose its power: counts file operations below a folder, ends the process before one of them, and
knows what was synced by then."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

_OPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Disk:
    """What a folder's files and folders were when they were last synced.

    Args:
        root: the folder; what is in it now is taken to be synced.
        kept: another folder on the same disk, for what is known.
    """

    def __init__(self, root: Path, kept: Path) -> None:
        self.root, self.kept = root, kept
        self.count, self._last = 0, None
        for part in ("file", "folder"):
            (kept / part).mkdir(parents=True, exist_ok=True)
        for parent, _, files in os.walk(root):
            for path in (*(Path(parent, file) for file in files), Path(parent)):
                self._keep(path)

    def watch(self, last: int | None) -> None:
        """Count this process's operations from now on, and let it die before the one after ``last``."""
        self._last = last
        fsync, mkdir = os.fsync, os.mkdir

        def synced(handle: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if self._below(path):
                self._count()
            fsync(handle)
            if self._below(path):
                self._keep(path)

        def made(path: Any, *args: Any, **kwargs: Any) -> None:
            mkdir(path, *args, **kwargs)
            if self._below(Path(path)):  # the number may have been that of a folder that is gone
                (self.kept / "folder" / str(os.stat(path).st_ino)).unlink(missing_ok=True)

        os.fsync, os.mkdir = synced, made
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if not isinstance(path, str | bytes | os.PathLike) or not flags & _WRITES:
                return
        elif event in _OPS:
            path = args[0]
            if event in ("os.remove", "os.rmdir") and args[-1] not in (-1, None):
                path = Path(os.readlink(f"/proc/self/fd/{args[-1]}"), os.fsdecode(path))
        else:
            return
        if self._below(Path(os.fsdecode(path))):
            self._count()

    def _below(self, path: Path) -> bool:
        return Path(os.path.abspath(path)).is_relative_to(self.root)

    def _count(self) -> None:
        self.count += 1
        if self._last is not None and self.count > self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _keep(self, path: Path) -> None:
        """A file with its content (and a name, so that no other gets its number); a folder with its entries."""
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
            kept = self.kept / ("folder" if path.is_dir() else "file") / str(found.st_ino)
            part = kept.with_suffix(".new")
            if path.is_dir():
                part.write_text(json.dumps(_entries(path)))
            elif stat.S_ISREG(found.st_mode):
                shutil.copyfile(path, part)
                with contextlib.suppress(FileExistsError):
                    os.link(path, kept.with_suffix(".pin"))
            else:
                return
            os.replace(part, kept)

    def lose_power(self, rng: random.Random | None = None) -> None:
        """Bring the folder into a state that a loss of power may leave, after its processes have ended.

        Args:
            rng: decides of each file and folder whether it is as it was when it was synced, or newer (files: to a
                random length); None: nothing is there that was not synced.
        """
        now = {os.lstat(path).st_ino: path for path in self.root.rglob("*")} | {
            os.stat(self.root).st_ino: self.root,
        }
        made = self.root.with_name(self.root.name + ".after")
        self._restore(os.stat(self.root).st_ino, made, now, rng)
        shutil.rmtree(self.root)
        made.rename(self.root)

    def _restore(self, number: int, to: Path, now: dict[int, Path], rng: random.Random | None) -> None:
        kept = self.kept / "folder" / str(number)
        entries: dict[str, tuple[int, str]] = json.loads(kept.read_text()) if kept.exists() else {}
        if rng is not None and rng.random() < 0.5 and number in now:
            entries = _entries(now[number])
        to.mkdir()
        for name, (inner, kind) in entries.items():
            if kind == "folder":
                self._restore(inner, to / name, now, rng)
                continue
            old = self.kept / "file" / str(inner)
            content = old.read_bytes() if old.exists() else b""
            if rng is not None and inner in now and rng.random() < 0.5:
                newer = now[inner].read_bytes()
                content = (
                    newer if rng.random() < 0.5 else newer[: rng.randint(min(len(content), len(newer)), len(newer))]
                )
            (to / name).write_bytes(content)


def _entries(folder: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = (os.lstat(path).st_ino, "folder" if path.is_dir() else "file")
    return found
