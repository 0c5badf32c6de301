"""Small graphs of every awkward kind, and images, the same each time they are made."""

import torch
from torch import Tensor
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import GraphData, ImageData
from tests.train.tiny import pictures

SIZES = {"train": 24, "val": 12, "test": 12}


def graph(number: int, generator: torch.Generator) -> Data:
    """A ring with chords, self-loops, parallel edges, one-way arcs and an isolated node; each fifth has no edge.

    ``edge_attr[:, 0]`` is the number of the arc over 64, so that arcs are known again once others are gone.
    """
    size = int(torch.randint(4, 9, (), generator=generator))
    signal = number % 2
    x = torch.randn(size + 1, 4, generator=generator)  # the last node is isolated
    x[:, 0] += 2 * signal
    index = torch.zeros(2, 0, dtype=torch.long)
    if number % 5 != 3:
        nodes = torch.arange(size)
        chord = torch.randint(size, (2, 2 + signal), generator=generator)
        chord = chord[:, chord[0] != chord[1]]
        both = torch.cat([torch.stack([nodes, nodes.roll(1)]), chord, chord[:, :1]], 1)  # the first chord twice
        loops = torch.tensor([[0, size - 1], [0, size - 1]])
        one_way = torch.tensor([[0], [2]])
        index = torch.cat([torch.stack([both, both.flip(0)], 2).flatten(1), loops, one_way], 1)
        if number % 3:  # sorted, or in no order at all; else each arc stands beside its reverse
            order = index[0].argsort(stable=True) if number % 3 == 1 else _shuffled(index.size(1), generator)
            index = index[:, order]
    numbers = torch.arange(index.size(1)) / 64
    attr = torch.stack([numbers, torch.randn(index.size(1), generator=generator)], 1)
    return Data(x=x, edge_index=index, edge_attr=attr, y=torch.tensor([signal]))


def _shuffled(size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(size, generator=generator)


def graphs() -> dict[str, list[Data]]:
    """The graphs of each split, as a user has them."""
    generator = torch.Generator().manual_seed(5)
    return {split: [graph(number, generator) for number in range(size)] for split, size in SIZES.items()}


def graph_data() -> GraphData:
    return gp.data.from_graphs(**graphs(), name="awkward", task="multiclass")


def image_data() -> ImageData:
    return pictures(train=24)
