"""Images in the real formats of MNIST and CIFAR-10, a few of them."""

import gzip
import json
import tarfile

import numpy as np


def pictures(count, side, channels, seed=0):
    """Smooth blobs on black, and their labels."""
    rng = np.random.default_rng(seed)
    place = np.indices((side, side)) / side
    centre = rng.random((count, channels, 2, 1, 1))
    shade = 255 * np.exp(-((place - centre) ** 2).sum(2) * 20)
    return shade.transpose(0, 2, 3, 1).astype(np.uint8), np.arange(count, dtype=np.uint8) % 10


def idx(values):
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def mnist(folder, pack=False):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, count, seed in (("train", 20, 0), ("t10k", 10, 1)):
        images, labels = pictures(count, 28, 1, seed)
        for name, values in ((f"{stem}-images-idx3-ubyte", images[..., 0]), (f"{stem}-labels-idx1-ubyte", labels)):
            content = idx(values)
            (folder / f"{name}.gz" if pack else folder / name).write_bytes(gzip.compress(content) if pack else content)
    return folder


def cifar_batches():
    """Name of each batch, its images and labels."""
    for number, stem in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        yield stem, *pictures(10 if stem == "test_batch" else 4, 32, 3, number)


def cifar_binary(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, images, labels in cifar_batches():
        records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
        (folder / f"{stem}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return folder


def cifar_atlas(folder):
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    labels = {"train": [], "test": []}
    for stem, images, kinds in cifar_batches():
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(folder / f"{stem}.png")
        labels["test" if stem == "test_batch" else "train"] += kinds.tolist()
    for part, kinds in labels.items():
        (folder / f"{part}_lables.json").write_text(json.dumps(kinds))
    return folder


def cifar_archive(folder):
    binary = cifar_binary(folder / "cifar-10-batches-bin")
    path = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(binary, binary.name)
    for file in binary.iterdir():
        file.unlink()
    binary.rmdir()
    return path
