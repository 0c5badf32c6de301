"""The files that images come in: MNIST's IDX and CIFAR-10's binary version; errors name the file."""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Part = Literal["train", "test"]
Reader = Callable[[Path, Part], tuple[Bytes, Bytes]]  # images and labels of one part, from where its files are

AGAIN = "get it again"

SIDE = 28  # of MNIST's images and of all that come in its format
CIFAR_SHAPE = (3, 32, 32)
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"

_STEMS: dict[Part, str] = {"train": "train", "test": "t10k"}
IDX_FILES = tuple(f"{stem}-{kind}" for stem in _STEMS.values() for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))

CIFAR_BATCHES: dict[Part, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}


def read_mnist(folder: Path, part: Part) -> tuple[Bytes, Bytes]:
    """Images ``(n, 28, 28)`` and labels ``(n,)`` of one part of a set in MNIST's format, files plain or .gz.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or labels and images do not fit.
    """
    stem = _STEMS[part]
    images = _read_idx(folder, f"{stem}-images-idx3-ubyte", (SIDE, SIDE))
    return checked(images, _read_idx(folder, f"{stem}-labels-idx1-ubyte", ()), folder, part)


def _read_idx(folder: Path, name: str, sizes: tuple[int, ...]) -> Bytes:
    """The array of one IDX file, of which each row has these sizes."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"neither {folder / name} nor {name}.gz there; MNIST's four IDX files must be")
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged or truncated ({error}); {AGAIN}") from error
    dimensions = 1 + len(sizes)
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"{path} is no IDX file of bytes with {dimensions} dimensions; {AGAIN}")
    count, *found = np.frombuffer(content, ">u4", dimensions, 4).tolist()
    if tuple(found) != sizes:
        raise ValueError(f"{path} has images of {tuple(found)} pixels, MNIST's have {sizes}")
    if len(content) - head != count * math.prod(sizes):
        raise ValueError(
            f"{path} holds {len(content) - head} values, its head says {count * math.prod(sizes)}; {AGAIN}"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(count, *sizes)


def read_cifar10(place: Path, part: Part) -> tuple[Bytes, Bytes]:
    """Images ``(n, 3, 32, 32)`` and labels ``(n,)`` of one part of CIFAR-10's binary version.

    Args:
        place: the folder of ``data_batch_1.bin``, ..., ``test_batch.bin``, or the archive ``cifar-10-binary.tar.gz``.
        part: which of them.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged.
    """
    names = [f"{stem}.bin" for stem in CIFAR_BATCHES[part]]
    contents = _tar_members(place, names) if place.is_file() else _members(place, names)
    records = np.concatenate([_records(contents[name], place / name) for name in names])
    return checked(records[:, 1:].reshape(-1, *CIFAR_SHAPE), records[:, 0], place, part)


def pickled(folder: Path) -> str:
    """What to tell whoever has CIFAR-10's python version instead; empty for anybody else."""
    if any((folder / name).exists() for name in ("data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz")):
        return "; these are the pickles of the python version, which are not read: get the binary version"
    return ""


def _members(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Files of a folder by name."""
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing{pickled(folder)}")
    return {name: (folder / name).read_bytes() for name in names}


def _tar_members(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Files of a tar archive by the last part of their name; nothing is written anywhere."""
    wanted = set(names)
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if name in wanted and member.isfile() else None
                if file is not None:
                    found[name] = file.read()
                if len(found) == len(wanted):
                    break
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or truncated ({error}); {AGAIN}") from error
    if missing := sorted(wanted - found.keys()):
        raise FileNotFoundError(f"{path} holds no {', '.join(missing)}")
    return found


def _records(content: bytes, path: Path) -> Bytes:
    """Records ``(n, 3073)`` of one batch: the label, then 1,024 red, green and blue values."""
    size = 1 + math.prod(CIFAR_SHAPE)
    if not content or len(content) % size:
        raise ValueError(f"{path} has {len(content)} bytes, not a multiple of {size}: truncated; {AGAIN}")
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def checked(images: Bytes, labels: NDArray[Any], place: Path, part: Part) -> tuple[Bytes, Bytes]:
    """The images and their labels as bytes, one of ten classes each.

    Raises:
        ValueError: another number of labels, or no such class.
    """
    if len(images) != len(labels):
        raise ValueError(f"{place}: {len(images)} {part} images but {len(labels)} labels; {AGAIN}")
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{place}: {part} label {labels.max()} is no class from 0 to 9; {AGAIN}")
    return images, labels.astype(np.uint8)
