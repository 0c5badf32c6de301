"""The networks that every method is run on: ours, and a user's own over graphs and over images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import BatchNorm, GCNConv, GINConv, global_add_pool

import graphprune as gp
from graphprune.data import GraphData, ImageData
from tests.contract.data import graph_data, image_data

WIDTH = 12


class UserNet(nn.Module):
    """A user's network in plain PyG, with a skip connection."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.convs = nn.ModuleList([GCNConv(features, WIDTH), GINConv(inner)])
        self.norm1 = BatchNorm(WIDTH)
        self.skip = nn.Linear(features, WIDTH)
        self.norm2 = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, data) -> Tensor:
        x = self.norm1(self.convs[0](data.x, data.edge_index)).relu()
        x = self.convs[1](x, data.edge_index) + self.skip(data.x)
        return self.head(global_add_pool(self.norm2(x).relu(), data.batch))


class ScaledNet(UserNet):
    """The same, which scales its input."""

    def forward(self, data) -> Tensor:
        data = data.clone()
        data.x.mul_(0.5).clamp_(-2, 2)
        return super().forward(data)


class InPlaceNet(UserNet):
    """The same function, which writes its input as many networks do."""

    def forward(self, data) -> Tensor:
        data.x.mul_(0.5).clamp_(-2, 2)
        return super().forward(data)


class UserConvNet(nn.Module):
    """A user's network over images."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(WIDTH)
        self.skip = nn.Conv2d(WIDTH, WIDTH, 1, stride=2, bias=False)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).relu()
        x = (self.norm2(self.conv2(x)) + self.skip(x)).relu()
        return self.head(x.mean((2, 3)))


@dataclass(frozen=True)
class Network:
    """A network and its data.

    Attributes:
        data: makes the data set.
        make: makes the network for it.
        together: weights that a sum adds up, which have their channels in common.
        heads: weights whose outputs leave the network.
        protected: parameters of two dimensions that are no weights.
    """

    data: Callable[[], GraphData | ImageData]
    make: Callable[[GraphData | ImageData], nn.Module]
    together: tuple[tuple[str, ...], ...] = ()
    heads: tuple[str, ...] = ("head.weight",)
    protected: tuple[str, ...] = ()

    @property
    def edges(self) -> bool:
        return self.data is graph_data

    def build(self, data: GraphData | ImageData) -> nn.Module:
        """The network with the same initial weights each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return self.make(data)


NETWORKS = {
    "gin": Network(graph_data, lambda data: gp.models.GIN.for_data(data, hidden=8, layers=2)),
    "user": Network(
        graph_data,
        lambda data: UserNet(data.features, data.num_outputs),
        together=(("convs.1.nn.3.weight", "skip.weight"),),
    ),
    "conv": Network(
        image_data,
        lambda data: UserConvNet(data.shape[0], data.num_outputs),
        together=(("conv2.weight", "skip.weight"),),
    ),
}
# Other networks of ours, for what a method does with its weights.
OTHERS = {
    "gcn": Network(graph_data, lambda data: gp.models.GCN.for_data(data, hidden=8, layers=2)),
    "sage": Network(graph_data, lambda data: gp.models.SAGE.for_data(data, hidden=8, layers=2)),
    "gat": Network(
        graph_data,
        lambda data: gp.models.GAT.for_data(data, hidden=8, layers=2),
        protected=("convs.0.att_src", "convs.0.att_dst", "convs.1.att_src", "convs.1.att_dst"),
    ),
    "mlp": Network(image_data, lambda data: gp.models.LeNet300.for_data(data, hidden=24)),
}
# The same function of a graph, written in two ways.
WRITERS = {
    "scaled": Network(graph_data, lambda data: ScaledNet(data.features, data.num_outputs)),
    "in-place": Network(graph_data, lambda data: InPlaceNet(data.features, data.num_outputs)),
}
