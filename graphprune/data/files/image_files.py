"""The files that images come in, MNIST's IDX and CIFAR-10's binary version: where they are, and what is in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphprune.data.files import unpack
from graphprune.data.files.download import cache_folder, fetch
from graphprune.data.files.unpack import AGAIN

Bytes = NDArray[np.uint8]
Part = Literal["train", "test"]
Reader = Callable[[Path, Part], tuple[Bytes, Bytes]]  # images and labels of one part, from where its files are

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
    content = unpack.read(path)
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
    contents = unpack.tar_members(place, names) if place.is_file() else _members(place, names)
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
    return {name: unpack.read(folder / name) for name in names}


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


@dataclass(frozen=True)
class Files:
    """What a set's files are.

    Args:
        read: reads one part of them.
        url: folder of the downloads.
        md5: of each file to download.
        markers: a place that has one of these is the set's.
        places: where that may be below a folder.
        sizes: images to train and to test.
    """

    read: Reader
    url: str
    md5: Mapping[str, str]
    markers: tuple[str, ...]
    places: tuple[str, ...]
    sizes: tuple[int, int]

    def place(self, root: Path) -> Path | None:
        """The folder or archive of the set in or below a folder, or the archive itself."""
        if root.is_file():
            return root
        for path in (root / place / marker for place in self.places for marker in self.markers):
            if path.is_file():
                return path if path.name == CIFAR_ARCHIVE else path.parent
        return None


def _idx(url: str, name: str, folder: str, *md5: str) -> Files:
    """Files in MNIST's format, in ``folder`` in torchvision's layout."""
    return Files(
        read=read_mnist,
        url=url,
        md5={f"{file}.gz": value for file, value in zip(IDX_FILES, md5, strict=True)},
        markers=(IDX_FILES[0], f"{IDX_FILES[0]}.gz"),
        places=(".", name, f"{folder}/raw", "raw"),
        sizes=(60_000, 10_000),
    )


FILES = {
    "mnist": _idx(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "mnist",
        "MNIST",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "fashion-mnist",
        "FashionMNIST",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "cifar10": Files(
        read=read_cifar10,
        url="https://www.cs.toronto.edu/~kriz/",
        md5={CIFAR_ARCHIVE: "c32a1d4ab5d03f1284b67883e8d87530"},
        markers=("data_batch_1.bin", CIFAR_ARCHIVE),
        places=(".", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
        sizes=(50_000, 10_000),
    ),
}


def find(name: str, root: str | Path | None) -> Path:
    """The folder or archive of a set's files, downloaded if nobody says where.

    Args:
        name: a key of :data:`FILES`.
        root: a folder that holds them, or the archive.

    Raises:
        FileNotFoundError: ``root`` lacks them.
        ConnectionError: the download failed.
    """
    files, folder = FILES[name], cache_folder() / name if root is None else Path(root).expanduser()
    if root is None and files.place(folder) is None:
        for file, md5 in reversed([*files.md5.items()]):  # the marker last: what broke off is taken up again
            fetch(name, files.url + file, folder / file, ", ".join(files.md5), md5=md5, check=bool)
    place = files.place(folder)
    if place is None:
        below = ", ".join(files.places[1:])
        raise FileNotFoundError(
            f"{name}: neither {' nor '.join(files.markers)} in {folder} or, below it, {below}{pickled(folder)}"
        )
    return place
