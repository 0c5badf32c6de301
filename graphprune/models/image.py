"""What all networks over images share: sizes, construction for a data set, and the block of convolution and norm."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from graphprune.checks import whole
from graphprune.graphs.attributes import check_data
from graphprune.models.base import HasImages, Network, Shape


class ImageClassifier(Network):
    """A network from images to logits: ``model(x)`` with ``x`` of shape ``(B, C, H, W)`` gives ``(B, num_outputs)``.

    Args:
        shape: channels, height and width of an image.
        num_outputs: logits an image.
        hidden: width; all layers grow with it.

    Raises:
        ValueError: a size below 1, or images of which the network's pooling leaves nothing.
    """

    smallest: ClassVar[int] = 1  # height and width that the network needs

    def __init__(self, shape: Shape, num_outputs: int, hidden: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be channels, height and width, of at least 1 each, got {shape!r}")
        whole("num_outputs", num_outputs, 1)
        whole("hidden", hidden, 1)
        if min(shape[1:]) < self.smallest:
            raise ValueError(
                f"{type(self).__name__} needs images of at least {self.smallest} x {self.smallest} pixels, "
                f"got {shape[1]} x {shape[2]}"
            )
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self._config = {"shape": list(self.shape), "num_outputs": num_outputs, "hidden": hidden}

    @classmethod
    def for_data(cls, data: HasImages, **options: Any) -> Self:
        """A model for this data set's images and classes; ``options`` go to the constructor.

        Raises:
            ValueError: labels of graphs or nodes, or images that are too small.
        """
        check_data(data)
        if data.level != "image":
            raise ValueError(
                f"{cls.__name__} classifies images, this data has labels of a {data.level}: take a graph network, "
                "such as GIN"
            )
        return cls(data.shape, data.num_outputs, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, num_outputs)`` of images ``(B, C, H, W)``.

        Raises:
            ValueError: images of another shape than the network was made for.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"{type(self).__name__} was made for images of shape {self.shape}, got x of shape {tuple(x.shape)}"
            )
        return self.classify(x)

    @abstractmethod
    def classify(self, x: Tensor) -> Tensor:
        """Logits from images of the right shape."""


class ConvNorm(nn.Module):
    """A convolution that keeps height and width (up to its stride), and a batch norm.

    Weights start as in He et al. (ICCV 2015), by the number of outgoing connections, biases at 0.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side of the kernel, odd.
        stride: of the convolution.
        bias: of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(B, inputs, H, W)`` to ``(B, outputs, H', W')``."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]
