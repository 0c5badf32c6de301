"""Residual networks for small images, He et al. (CVPR 2016)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from graphprune.models.base import Shape
from graphprune.models.image import ConvNorm, ImageClassifier


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut without parameters, which drops pixels and adds channels of 0 (option A).

    Args:
        inputs: channels.
        width: channels of both convolutions.
        stride: of the first one.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, width, stride=stride)
        self.second = ConvNorm(width, width)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(B, inputs, H, W)`` to ``(B, width, H', W')``."""
        inner = self.second(functional.relu(self.first(x)))
        short = x[:, :, :: self.stride, :: self.stride]
        # Read off the tensors: a network made smaller adds other numbers of channels.
        return functional.relu(inner + functional.pad(short, (0, 0, 0, 0, 0, inner.size(1) - short.size(1))))


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1, the last four times as wide; the shortcut is projected where it must be.

    Args:
        inputs: channels.
        width: channels inside.
        stride: of the 3 x 3 convolution.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.first = ConvNorm(inputs, width, 1)
        self.second = ConvNorm(width, width, stride=stride)
        self.third = ConvNorm(width, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(B, inputs, H, W)`` to ``(B, 4 * width, H', W')``."""
        inner = functional.relu(self.second(functional.relu(self.first(x))))
        return functional.relu(self.third(inner) + self.shortcut(x))


class ResNet(ImageClassifier):
    """A 3 x 3 convolution, stages of blocks, the mean over all pixels, a linear head.

    Each stage but the first halves height and width and doubles the channels. Batch norm after every convolution, none
    of which has a bias; weights start as in He et al. (ICCV 2015).

    Args:
        shape: channels, height and width of an image.
        num_outputs: logits an image.
        hidden: channels of the first stage.
    """

    depths: ClassVar[tuple[int, ...]]  # blocks a stage
    block: ClassVar[type[BasicBlock | Bottleneck]] = BasicBlock
    head_bias: ClassVar[bool] = True

    def __init__(self, shape: Shape, num_outputs: int, hidden: int = 16) -> None:
        super().__init__(shape, num_outputs, hidden)
        self.stem = ConvNorm(shape[0], hidden)
        self.stages = nn.Sequential()
        inputs = hidden
        for number, depth in enumerate(self.depths):
            stage = nn.Sequential()
            for place in range(depth):
                stage.append(self.block(inputs, hidden * 2**number, 2 if number and not place else 1))
                inputs = hidden * 2**number * self.block.expansion
            self.stages.append(stage)
        self.head = nn.Linear(inputs, num_outputs, bias=self.head_bias)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from images of the right shape."""
        x = self.stages(functional.relu(self.stem(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class ResNet20(ResNet):
    """ResNet-20 of He et al.'s CIFAR experiments; 269,722 parameters on CIFAR-10."""

    depths = (3, 3, 3)


class ResNet32(ResNet):
    """ResNet-32 of He et al.'s CIFAR experiments; 464,154 parameters on CIFAR-10."""

    depths = (5, 5, 5)


class ResNet110(ResNet):
    """ResNet-110 of He et al.'s CIFAR experiments; 1,727,962 parameters on CIFAR-10."""

    depths = (18, 18, 18)


class ResNet50(ResNet):
    """ResNet-50 of ImageNet on small images, the sparse-training literature's; 23,520,832 parameters on CIFAR-10.

    The stem is a 3 x 3 convolution without stride or pooling, and the head has no bias.

    Args:
        shape: channels, height and width of an image.
        num_outputs: logits an image.
        hidden: channels inside the first stage's blocks.
    """

    depths = (3, 4, 6, 3)
    block = Bottleneck
    head_bias = False

    def __init__(self, shape: Shape, num_outputs: int, hidden: int = 64) -> None:
        super().__init__(shape, num_outputs, hidden)
