"""MNIST, Fashion-MNIST and CIFAR-10, and scikit-learn's digits: splits, normalisation, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.data.files.image_files import FILES, Bytes, Part, find
from graphprune.data.files.unpack import AGAIN
from graphprune.data.images import WHITE, Augment, ImageData, Images
from graphprune.data.labelled import Split
from graphprune.data.sets.shared import Card
from graphprune.data.splits import SEED, by_class

CLASSES = 10
VALIDATION = 5000

# Shares of the digits, which come in one heap, that validate and that test.
DIGITS_VAL, DIGITS_TEST = 0.1, 0.2

_SPLIT = f"test images test; {VALIDATION:,} of the training images validate, drawn by class with split_seed"

# Pixels (n[, C], H, W), labels (n,), and the numbers of those that are meant.
Chosen = tuple[Bytes, Bytes, NDArray[np.int64]]


@dataclass(frozen=True)
class ImageSet:
    """A known set.

    Args:
        card: what is known of it.
        mean: of each channel, in units of the brightest pixel.
        std: standard deviation, likewise.
        augment: what may be done to its images without making others of them.
        augmented: whether that is usual.
    """

    card: Card
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment
    augmented: bool = False

    def data(
        self, splits: Mapping[Split, Chosen], *, limit: int | None, augment: bool | None, **provenance: str
    ) -> ImageData:
        """The set with these splits, of which ``train`` is cut to the limit."""
        name, augmented = self.card.name, self.augmented if augment is None else augment
        images, labels, order = splits["train"]
        if limit is not None and not 1 <= limit <= len(order):
            raise ValueError(f"limit must be 1 to {len(order)}, the images that {name} has to train on; got {limit}")
        taken = "all images" if limit is None else f"limited to {limit} images to train on"
        return ImageData(
            name=name,
            train=self._images(images, labels, order[:limit]).with_augment(self.augment if augmented else None),
            val=self._images(*splits["val"]),
            test=self._images(*splits["test"]),
            num_classes=CLASSES,
            provenance=self.card.provenance
            | {"split": f"{self.card.split}; {taken}", "augment": str(self.augment) if augmented else "none"}
            | provenance,
        )

    def _images(self, pixels: Bytes, labels: Bytes, index: NDArray[np.int64]) -> Images:
        """Those of these numbers, in the order of the file; grey ones come without a channel."""
        rows = np.sort(index)
        x = pixels[rows].reshape(len(rows), len(self.mean), *pixels.shape[-2:])
        return Images(
            torch.from_numpy(x), torch.from_numpy(labels[rows].astype(np.int64)), mean=self.mean, std=self.std
        )


SETS = {
    known.card.name: known
    for known in (
        ImageSet(
            Card(
                "digits",
                "1,797 handwritten digits, 8x8. Accuracy",
                "scikit-learn's load_digits, from UCI's Optical Recognition of Handwritten Digits",
                "CC BY 4.0 (UCI)",
                "10 % validate and 20 % test, drawn by class with split_seed",
            ),
            (),  # of the images to train on, which the seed draws
            (),
            Augment(pad=1, flip=False),
        ),
        ImageSet(
            Card(
                "mnist",
                "70,000 handwritten digits, 28x28. Accuracy",
                "MNIST (LeCun et al., 1998)",
                "none stated",
                _SPLIT,
            ),
            (0.1307,),
            (0.3081,),
            Augment(pad=2, flip=False),
        ),
        ImageSet(
            Card(
                "fashion-mnist",
                "70,000 pictures of clothing, 28x28. Accuracy",
                "Fashion-MNIST (Xiao et al., 2017)",
                "MIT (Zalando)",
                _SPLIT,
            ),
            (0.2860,),
            (0.3530,),
            Augment(),
        ),
        ImageSet(
            Card(
                "cifar10",
                "60,000 colour photographs of ten kinds of things, 32x32. Accuracy",
                "CIFAR-10 (Krizhevsky, 2009)",
                "none stated",
                _SPLIT,
            ),
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            Augment(),
            augmented=True,
        ),
    )
}


def load(
    name: str,
    *,
    root: str | Path | None = None,
    split_seed: int = SEED,
    limit: int | None = None,
    augment: bool | None = None,
) -> ImageData:
    """A set of images from the files in ``root``, else from the folder of downloads, else downloaded.

    Args:
        name: a key of :data:`FILES`.
        root: a folder of the files. MNIST and Fashion-MNIST: the four IDX files, plain or .gz, in it, in ``NAME/``, or
            where torchvision has them (``MNIST/raw``, ``FashionMNIST/raw``). CIFAR-10: its binary version, as
            ``cifar-10-binary.tar.gz`` or unpacked.
        split_seed: draws the images that validate, and those that ``limit`` takes.
        limit: images to train on, classes in proportion; those of a smaller limit are among those of a larger one.
            None: all.
        augment: whether images to train on are cropped (and, but for digits, reflected) at random; None: for CIFAR-10.
    """
    place, url = find(name, root), FILES[name].url
    parts = {part: FILES[name].read(place, part) for part in get_args(Part)}
    for (part, (_, labels)), size in zip(parts.items(), FILES[name].sizes, strict=True):
        if len(labels) != size:
            raise ValueError(f"{place} has {len(labels)} {part} images, {name} has {size}; {AGAIN}")
    train, test = parts["train"], parts["test"]
    order = by_class(train[1], np.random.default_rng(split_seed))
    return SETS[name].data(
        {
            "train": (*train, order[VALIDATION:]),
            "val": (*train, order[:VALIDATION]),
            "test": (*test, np.arange(len(test[1]))),
        },
        limit=limit,
        augment=augment,
        split_seed=str(split_seed),
        files=f"the folder of downloads, made for {url}" if root is None else "a folder of the user's",
    )


def load_digits(
    name: str = "digits", *, split_seed: int = SEED, limit: int | None = None, augment: bool | None = None
) -> ImageData:
    """Scikit-learn's digits, which need no network; pixels are 0 to 16. Arguments as those of :func:`load`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: a limit above the images there are.
    """
    try:
        from sklearn.datasets import load_digits as bundled
    except ImportError as error:
        raise ImportError(f"data set {name} needs scikit-learn: pip install 'graphprune[images]'") from error
    pixels, labels = (values.astype(np.uint8) for values in bundled(return_X_y=True))
    images = pixels.reshape(-1, 8, 8)
    order = by_class(labels, np.random.default_rng(split_seed))
    first, second = round(DIGITS_TEST * len(order)), round((DIGITS_TEST + DIGITS_VAL) * len(order))
    seen = images[order[second:]] / WHITE
    known = replace(SETS[name], mean=(float(seen.mean()),), std=(float(seen.std()),))
    return known.data(
        {
            "train": (images, labels, order[second:]),
            "val": (images, labels, order[first:second]),
            "test": (images, labels, order[:first]),
        },
        limit=limit,
        augment=augment,
        split_seed=str(split_seed),
    )
