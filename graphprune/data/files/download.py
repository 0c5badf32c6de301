"""Downloads of data sets into a cache folder, complete or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path

TIMEOUT = 60.0  # seconds without an answer


def cache_folder() -> Path:
    """Where downloads are kept: ``$GRAPHPRUNE_DATA``, else ``~/.cache/graphprune``."""
    return Path(os.environ.get("GRAPHPRUNE_DATA") or Path.home() / ".cache" / "graphprune")


def check_zip(path: Path) -> None:
    """Raise a ValueError unless a file is a whole zip archive."""
    if not zipfile.is_zipfile(path):
        raise ValueError("the answer is not a complete zip archive")


def check_md5(path: Path, expected: str) -> None:
    """Raise a ValueError unless a file has this MD5 sum (it tells damage, and is what the sources publish)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise ValueError(f"the answer has the MD5 sum {found}, the whole file {expected}")


def fetch(name: str, url: str, target: Path, expected: str, *, check: Callable[[Path], object] = check_zip) -> Path:
    """A file of a data set, downloaded unless it is there already.

    Args:
        name: the data set, named in errors.
        url: where the file is.
        target: the file to write; it appears only once the download is complete.
        expected: which raw files a folder of the user's would have to hold instead.
        check: raises a ValueError for an answer that is not the whole file.

    Raises:
        ConnectionError: no network, no such file on the server, or an answer that is not the whole file.
    """
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as out:
            shutil.copyfileobj(answer, out)
        check(part)
        part.replace(target)
    except (OSError, HTTPException, ValueError) as error:
        raise ConnectionError(
            f"data set {name}: downloading {url} to {target} failed ({error}). Without a network, put its "
            f"raw files ({expected}) into a folder and load({name!r}, root=FOLDER)"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target
