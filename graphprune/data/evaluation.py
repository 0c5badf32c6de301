"""What a network makes of graphs, nodes or images, and the metric of it."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from graphprune.data.images import ImageBatch
from graphprune.data.labelled import LabelledData, Samples
from graphprune.graphs.attributes import check_data
from graphprune.masks.copies import without_caches
from graphprune.masks.networks import check_forward, logits_of

S = TypeVar("S", bound=Samples)


def outputs(model: nn.Module, batch: Batch | ImageBatch) -> Tensor:
    """What a model makes of a batch: networks over images are given ``x``, those over graphs the whole batch.

    Raises:
        TypeError: no tensor; the text says how to return one.
    """
    return logits_of(model, model(batch.x if isinstance(batch, ImageBatch) else batch))


@torch.no_grad()
def predict(model: nn.Module, samples: Samples, batch_size: int = 512) -> Tensor:
    """The model's outputs for every graph, node or image, in ``eval()`` mode and on the model's device.

    Args:
        model: ``model(batch)`` of graphs or ``model(x)`` of images gives shape ``(B, outputs)``; its modes are given
            back to it, and so is what its convolutions have cached of a graph, which is not read here.
        samples: graphs or images of one split.
        batch_size: graphs or images a batch; bounds the memory, and changes a result by rounding only.

    Returns:
        Shape ``(G, outputs)``, or ``(N, outputs)`` for nodes, on the CPU.

    Raises:
        TypeError: no network, one that takes other arguments or returns no tensor.
    """
    check_forward(model)
    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), samples.device)
    model.eval()
    try:
        with without_caches(model):
            return torch.cat([outputs(model, batch.to(device)) for batch in samples.loader(batch_size)]).cpu()
    finally:
        for module, training in modes:
            module.training = training


def evaluate(
    model: nn.Module, samples: S, data: LabelledData[S], *, split: str = "given", batch_size: int = 512
) -> float:
    """The data set's metric of a model on some of its graphs or images.

    Args:
        model: see :func:`predict`.
        samples: graphs or images with labels ``y``.
        data: whose task and metric.
        split: named in errors.
        batch_size: graphs or images a batch.

    Returns:
        The metric; NaN if an output is not finite.

    Raises:
        ValueError: the outputs do not fit the task, or the metric is not defined on these labels.
        TypeError: no data set, or what :func:`predict` raises.
    """
    check_data(data)
    return data.evaluate(data.labels(samples), predict(model, samples, batch_size), split=split)
