"""Labelled images: one split as bytes, its batches normalised and augmented on the device, and sets of three splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from graphprune.checks import whole
from graphprune.data.labelled import LabelledData, Split
from graphprune.data.metrics import Task
from graphprune.graphs.loading import PackedLoader

WHITE = 255.0  # the brightest byte; means and deviations of pixels are in units of it


class ImageBatch(NamedTuple):
    """Images a network takes and their labels.

    Attributes:
        x: normalised pixels, shape ``(B, C, H, W)``, float32.
        y: class of each image, shape ``(B,)``, int64.
    """

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same batch on another device."""
        return ImageBatch(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Augment:
    """Random crops and reflections, as usual for CIFAR-10 since He et al. (CVPR 2016); the defaults are theirs.

    Args:
        pad: black pixels put on each side; a window of the image's size is then cut out at random. 0: no crops.
        flip: left and right are exchanged with probability 1/2.

    Raises:
        ValueError: ``pad`` is negative.
    """

    pad: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        whole("pad", self.pad, 0)

    def __call__(self, x: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` of any dtype, each with draws of its own from the device's default generator."""
        numbers = torch.arange(len(x), device=x.device)
        if self.pad:
            row, column = torch.randint(2 * self.pad + 1, (2, len(x)), device=x.device)
            windows = functional.pad(x, (self.pad,) * 4).unfold(2, x.size(2), 1).unfold(3, x.size(3), 1)
            x = windows[numbers, :, row, column]
        if self.flip:
            mirrored = torch.randint(2, (len(x),), device=x.device)
            x = torch.cat([x, x.flip(3)]).index_select(0, numbers + len(x) * mirrored)
        return x


class Images:
    """The images of one split, immutable, with the verbs of :class:`graphprune.graphs.PackedGraphs`.

    Args:
        x: pixels, shape ``(N, C, H, W)``, uint8.
        y: class of each image, shape ``(N,)``, int64.
        mean: of each channel, in units of the brightest pixel, 255.
        std: standard deviation of each channel, likewise.
        augment: applied to every batch, before normalisation, so that padding is black; None: nothing.

    Raises:
        TypeError: pixels that are no bytes, or labels that are not int64.
        ValueError: shapes that contradict each other, or a standard deviation that is not above 0.
    """

    def __init__(
        self, x: Tensor, y: Tensor, *, mean: Sequence[float], std: Sequence[float], augment: Augment | None = None
    ) -> None:
        if x.dtype != torch.uint8 or y.dtype != torch.int64:
            raise TypeError(f"x must be uint8 and y int64, got {x.dtype} and {y.dtype}")
        if x.dim() != 4 or y.shape != x.shape[:1]:
            raise ValueError(
                f"x must have shape (N, C, H, W) and y (N,), got shapes {tuple(x.shape)} and {tuple(y.shape)}"
            )
        if not len(mean) == len(std) == x.size(1) or not all(value > 0 for value in std):
            raise ValueError(
                f"mean and std must have a value for each of {x.size(1)} channels, std above 0; got {mean} and {std}"
            )
        self.x, self.y = x, y
        self.mean, self.std, self.augment = tuple(mean), tuple(std), augment
        # (x / 255 - mean) / std as one multiplication and one addition.
        scale = torch.tensor(self.std, dtype=torch.float64).mul(WHITE).reciprocal()
        shift = torch.tensor(self.mean, dtype=torch.float64).mul(-WHITE) * scale
        self._scale, self._shift = (values.float().to(x.device)[:, None, None] for values in (scale, shift))

    def _like(self, **changes: Any) -> Images:
        fields: dict[str, Any] = {"x": self.x, "y": self.y, "mean": self.mean, "std": self.std, "augment": self.augment}
        return Images(**(fields | changes))

    def with_augment(self, augment: Augment | None) -> Images:
        """The same images, augmented otherwise, or not at all."""
        return self._like(augment=augment)

    def select(self, index: Tensor | Sequence[int]) -> Images:
        """The images of these numbers, in this order."""
        rows = self._rows(index)
        return self._like(x=self.x.index_select(0, rows), y=self.y.index_select(0, rows))

    def to(self, device: torch.device | str) -> Images:
        """The same images on another device; batches are then made there."""
        return self._like(x=self.x.to(device), y=self.y.to(device))

    def _rows(self, index: Tensor | Sequence[int]) -> Tensor:
        """Checked numbers of images, on the device of the images."""
        chosen = torch.as_tensor(index)
        if chosen.numel() == 0:
            chosen = chosen.long()
        if chosen.dtype == torch.bool or chosen.is_floating_point() or chosen.dim() != 1:
            raise TypeError(f"index must be a list of image numbers, got {chosen.dtype} of shape {tuple(chosen.shape)}")
        if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise IndexError(f"index has image numbers outside [0, {len(self)})")
        return chosen.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.x.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Images({len(self)} of shape {self.shape}, augment={self.augment})"

    def batch(self, index: Tensor | Sequence[int]) -> ImageBatch:
        """The images of these numbers, augmented, then normalised to mean 0 and deviation 1."""
        rows = self._rows(index)
        x = self.x.index_select(0, rows)
        if self.augment is not None:
            x = self.augment(x)
        return ImageBatch(x.float().mul_(self._scale).add_(self._shift), self.y.index_select(0, rows))

    def loader(
        self, batch_size: int, *, shuffle: bool = False, generator: torch.Generator | None = None
    ) -> PackedLoader[ImageBatch]:
        """Batches of ``batch_size`` images.

        Args:
            batch_size: images a batch.
            shuffle: a new order every pass.
            generator: where the order comes from.
        """
        return PackedLoader(self, batch_size, shuffle, generator)

    def digest(self) -> str:
        """SHA-256 over pixels, labels and what a batch does with them."""
        about = f"{tuple(self.x.shape)} {self.mean} {self.std} {self.augment}\n"
        total = hashlib.sha256(about.encode())
        for values in (self.x, self.y):
            total.update(values.cpu().contiguous().numpy().data)
        return total.hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageData(LabelledData[Images]):
    """Train, validation and test images of one classification.

    Args:
        name: the data set's name.
        train: images to train on, augmented where that is wanted.
        val: images that select epochs.
        test: images that are only reported.
        num_classes: how many.
        provenance: source, licence and split recipe, as text.

    Raises:
        ValueError: images of different shapes, a label that is no class, or augmentation of images that do not train.
    """

    task: Task = field(default="multiclass", init=False)
    metric: str = field(default="accuracy", init=False)
    level: ClassVar[Literal["image"]] = "image"
    # What only sets of graphs have.
    degrees: ClassVar[None] = None
    transductive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for split, images in self.splits.items():
            if images.shape != self.shape:
                raise ValueError(
                    f"{self.name}, {split} split: images of shape {images.shape}, those to train on have {self.shape}"
                )
            if images.augment is not None and split != "train":
                raise ValueError(f"{self.name}, {split} split: only images to train on may be augmented")
            if (images.mean, images.std) != (self.train.mean, self.train.std):
                raise ValueError(f"{self.name}, {split} split: normalised otherwise than the images to train on")
            if len(images) and not 0 <= int(images.y.min()) <= int(images.y.max()) < self.num_classes:
                raise ValueError(f"{self.name}, {split} split: y must have classes from 0 to {self.num_classes - 1}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.shape

    @property
    def empty(self) -> dict[Split, dict[str, int]]:
        """Nothing: images are never empty."""
        return {}

    def labels(self, samples: Images) -> Tensor:
        """A copy of the class of each of some of the set's images."""
        return samples.y.clone()
