"""VGG-19 for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from graphprune.models.base import Shape
from graphprune.models.image import ConvNorm, ImageClassifier

# Convolutions a group, and their channels as multiples of the first group's.
GROUPS = ((2, 1), (2, 2), (4, 4), (4, 8), (4, 8))


class VGG19(ImageClassifier):
    """VGG-19 with batch norm and one linear layer for 32 x 32 images; 20,040,522 parameters on CIFAR-10.

    The 16 convolutions of Simonyan & Zisserman (ICLR 2015), with biases, each with batch norm and ReLU; the maximum of
    2 x 2 pixels after all groups but the last, the mean of what is left after that, and a linear head: the network of
    the sparse-training literature. Weights start as in He et al. (ICCV 2015).

    Args:
        shape: channels, height and width of an image, at least 16 x 16 pixels.
        num_outputs: logits an image.
        hidden: channels of the first group; the others have 2, 4, 8 and 8 times as many.
    """

    smallest = 16  # halved four times

    def __init__(self, shape: Shape, num_outputs: int, hidden: int = 64) -> None:
        super().__init__(shape, num_outputs, hidden)
        self.stem = ConvNorm(shape[0], hidden, bias=True)
        self.groups = nn.ModuleList()
        inputs = hidden
        for number, (convolutions, factor) in enumerate(GROUPS):
            group = nn.ModuleList()
            for _ in range(convolutions - (number == 0)):  # the stem is the first group's first
                group.append(ConvNorm(inputs, hidden * factor, bias=True))
                inputs = hidden * factor
            self.groups.append(group)
        self.head = nn.Linear(inputs, num_outputs)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from images of the right shape."""
        x = functional.relu(self.stem(x))
        for number, group in enumerate(self.groups):
            if number:
                x = functional.max_pool2d(x, 2)
            for layer in group:  # type: ignore[attr-defined]
                x = functional.relu(layer(x))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]
