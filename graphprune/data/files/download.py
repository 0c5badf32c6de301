"""Downloads of data sets into a cache folder, complete or not at all."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 60.0  # seconds without an answer


def cache_folder() -> Path:
    """Where downloads are kept: ``$GRAPHPRUNE_DATA``, else ``~/.cache/graphprune``."""
    return Path(os.environ.get("GRAPHPRUNE_DATA") or Path.home() / ".cache" / "graphprune")


def check_zip(path: Path) -> None:
    """Raise a ValueError unless a file is a whole zip archive."""
    if not zipfile.is_zipfile(path):
        raise ValueError("the answer is not a complete zip archive")


def fetch(
    name: str,
    url: str,
    target: Path,
    expected: str,
    *,
    md5: str | None = None,
    check: Callable[[Path], object] = check_zip,
) -> Path:
    """A file of a data set, downloaded unless it is there already, with a bar of progress in a terminal.

    Args:
        name: the data set, named in errors.
        url: where the file is, http or https.
        target: the file to write; it appears only once the download is complete.
        expected: which raw files a folder of the user's would have to hold instead.
        md5: what the source publishes, if it does; it tells damage, also of a file that is there.
        check: raises a ValueError for an answer that is not the whole file.

    Raises:
        ConnectionError: no network, no such file on the server, or an answer that is not the whole file.
    """
    import pooch  # slow to import

    def get(address: str, part: str, _pooch: object) -> None:
        plain = {"Accept-Encoding": "identity"}  # else the answer's length is not the file's
        pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT, headers=plain)(address, part, None)
        check(Path(part))

    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, md5 and f"md5:{md5}", target.name, target.parent, downloader=get))
    except (OSError, ValueError) as error:  # those of requests are OSErrors
        raise ConnectionError(
            f"data set {name}: downloading {url} to {target} failed ({error}). Without a network, put its "
            f"raw files ({expected}) into a folder and load({name!r}, root=FOLDER)"
        ) from error
