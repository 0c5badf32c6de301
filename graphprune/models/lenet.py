"""The two LeNets of the pruning literature, LeCun et al. (Proc. IEEE 1998)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from graphprune.models.base import Shape
from graphprune.models.image import ImageClassifier


class LeNet300(ImageClassifier):
    """LeNet-300-100: two fully connected hidden layers; on MNIST 266,200 weights and 410 biases.

    Args:
        shape: channels, height and width of an image.
        num_outputs: logits an image.
        hidden: width of the first hidden layer; the second has a third of it.
    """

    def __init__(self, shape: Shape, num_outputs: int, hidden: int = 300) -> None:
        super().__init__(shape, num_outputs, hidden)
        channels, height, width = shape
        second = max(1, hidden // 3)
        self.first = nn.Linear(channels * height * width, hidden)
        self.second = nn.Linear(hidden, second)
        self.head = nn.Linear(second, num_outputs)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from images of the right shape."""
        x = functional.relu(self.first(x.flatten(1)))
        return self.head(functional.relu(self.second(x)))  # type: ignore[no-any-return]


class LeNet5(ImageClassifier):
    """LeNet-5 with the sizes of Caffe's MNIST example: 20 and 50 channels, 500 units; on MNIST 431,080 parameters.

    Every layer but the last has a ReLU; Caffe's has one after the 500 units only.

    Args:
        shape: channels, height and width of an image, at least 16 x 16 pixels.
        num_outputs: logits an image.
        hidden: units of the fully connected layer; the convolutions have a 25th and a tenth as many channels.
    """

    smallest = 16  # 5 x 5 without a border and halving, twice

    def __init__(self, shape: Shape, num_outputs: int, hidden: int = 500) -> None:
        super().__init__(shape, num_outputs, hidden)
        channels, height, width = shape
        first, second = max(1, hidden // 25), max(1, hidden // 10)
        self.conv1 = nn.Conv2d(channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc = nn.Linear(second * _left(height) * _left(width), hidden)
        self.head = nn.Linear(hidden, num_outputs)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from images of the right shape."""
        for conv in (self.conv1, self.conv2):
            x = functional.max_pool2d(functional.relu(conv(x)), 2)
        return self.head(functional.relu(self.fc(x.flatten(1))))  # type: ignore[no-any-return]


def _left(size: int) -> int:
    """Of a height or width, after both convolutions and poolings."""
    return ((size - 4) // 2 - 4) // 2
