"""Tiny labelled graphs and images and small models, so that a training takes a moment."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import GraphData
from graphprune.data.images import Augment, ImageData, Images
from graphprune.data.metrics import Task
from graphprune.masks import MaskSet
from graphprune.methods import FitJob
from graphprune.train.tasks import Losses, Objective


def task_loss(task: Task, out: Tensor, y: Tensor, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The task's own loss: its sum over known labels, and what that is divided by."""
    objective = Objective(task, Losses(label_smoothing=label_smoothing).terms(task))
    return objective.total(out, y), objective.count(y)


def ring(generator: torch.Generator, task: Task, dtype: torch.dtype = torch.float32) -> Data:
    """A ring with a few chords; the label depends on the first feature column, which the second hides partly."""
    size = int(torch.randint(3, 8, (), generator=generator))
    nodes = torch.arange(size)
    chords = torch.randint(size, (2, 2), generator=generator)
    ends = torch.cat([torch.stack([nodes, nodes.roll(1)]), chords[:, chords[0] != chords[1]]], 1)
    index = torch.unique(torch.cat([ends, ends.flip(0)], 1), dim=1)
    x = torch.randn(size, 4, generator=generator, dtype=dtype)
    signal = torch.randn((), generator=generator, dtype=dtype)
    x[:, 0] += 2 * signal
    label = {
        "multiclass": (signal > 0).long().view(1),
        "binary": torch.stack([signal > 0, signal < 0.5]).float().view(1, 2),
        "regression": torch.stack([signal, -signal]).float().view(1, 2),
    }[task]
    if task != "multiclass" and size == 5:
        label[0, 1] = torch.nan
    return Data(x=x, edge_index=index, y=label)


def tiny(task: Task = "multiclass", train: int = 24, dtype: torch.dtype = torch.float32, seed: int = 0) -> GraphData:
    """A data set of ``train`` + 12 + 12 rings."""
    generator = torch.Generator().manual_seed(seed)
    graphs = [ring(generator, task, dtype) for _ in range(train + 24)]
    return gp.data.from_graphs(
        graphs[:train], graphs[train : train + 12], graphs[train + 12 :], name="rings", task=task
    )


class Smooth(nn.Module):
    """One hop of sums and a mean readout, without batch norm: the same function of a graph in any batch."""

    def __init__(self, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
        x = self.first(data.x).tanh()
        messages = x[data.edge_index[0]] if edge_gate is None else x[data.edge_index[0]] * edge_gate[:, None]
        x = x.index_add(0, data.edge_index[1], messages)
        graphs = data.ptr.diff().to(x.dtype)[:, None]
        pooled = x.new_zeros(len(graphs), x.size(1)).index_add(0, data.batch, x) / graphs
        return self.second(self.dropout(pooled))


class Ends(nn.Module):
    """An edge predictor without batch norm: a linear score of both ends' features."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, data: Data) -> Tensor:
        return self.score(data.x[data.edge_index].transpose(0, 1).flatten(1)).squeeze(1)


def smooth(data: GraphData, dropout: float = 0.0) -> nn.Module:
    """The small model with the same initial weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return Smooth(data.num_outputs, dropout)


def thinned(model: nn.Module, density: float = 0.5) -> MaskSet:
    """Masks of the largest weights."""
    masks = MaskSet.dense(model)
    return masks.tighten({name: model.get_parameter(name).abs() for name in masks}, density)


def job_for(data: GraphData, model: nn.Module | None = None, **options: Any) -> FitJob:
    """The training of a model, of the small one unless another is given, with dense masks unless they are given."""
    model = smooth(data) if model is None else model
    return FitJob(model, data, options.pop("masks", MaskSet.dense(model)), **options)


def pictures(train: int = 60, augment: Augment | None = None, seed: int = 0) -> ImageData:
    """Noisy 8 x 8 images with one bright quarter of four, the class: ``train`` + 20 + 20 of them."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (train + 40,), generator=generator)
    bright = functional.one_hot(y, 4).view(-1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    x = (120 * bright + torch.randint(100, bright.shape, generator=generator)).to(torch.uint8)
    sizes = [train, 20, 20]
    parts = [Images(*part, mean=[0.3], std=[0.3]) for part in zip(x.split(sizes), y.split(sizes), strict=True)]
    return ImageData(name="quarters", train=parts[0].with_augment(augment), val=parts[1], test=parts[2], num_classes=4)
