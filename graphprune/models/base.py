"""What reference networks share: what they have to know of data, and that they can be made again in another width."""

from __future__ import annotations

from abc import ABC
from typing import Any, Literal, Protocol, Self

from torch import nn

from graphprune.graphs.attributes import check_data
from graphprune.graphs.encoders import EdgeFeatures, Features

Shape = tuple[int, int, int]


class HasTask(Protocol):
    """What a network must know of graphs."""

    @property
    def features(self) -> Features: ...  # noqa: D102
    @property
    def edge_features(self) -> EdgeFeatures | None: ...  # noqa: D102
    @property
    def num_outputs(self) -> int: ...  # noqa: D102
    @property
    def level(self) -> Literal["graph", "node"]: ...  # noqa: D102


class HasImages(Protocol):
    """What a network must know of images."""

    @property
    def level(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def num_outputs(self) -> int: ...  # noqa: D102


class Network(nn.Module, ABC):
    """A network that says what it was made from: ``__init__`` keeps its arguments, by name, as ``self._config``."""

    _config: dict[str, Any]

    def config(self) -> dict[str, Any]:
        """The arguments the model was made from."""
        return dict(self._config)

    def resized(self, hidden: int) -> Self:
        """A freshly initialised model of another width."""
        return type(self)(**(self._config | {"hidden": hidden}))


class GraphNetwork(Network):
    """A network over graphs whose forward pass takes a gate per edge itself, so that soft edges need no hooks."""

    reads_edge_gate = True  # a graph's own gates, data.edge_gate
    reads_edge_attr = False

    @classmethod
    def check_graphs(cls, data: HasTask | HasImages) -> None:
        """Make sure that a network over graphs is given a data set, and none of images.

        Raises:
            TypeError: no data set, such as a list of graphs.
            ValueError: images.
        """
        check_data(data)
        if data.level == "image":
            take = "take LeNet300, LeNet5, VGG19 or a ResNet"
            raise ValueError(f"{cls.__name__} reads graphs, this data has labels of an image: {take}")
