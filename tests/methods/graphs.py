"""Small random data sets, a plain training loop, and all bits of a ticket, for the tests of the methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune import EdgePredictor, Ticket
from graphprune.data import GraphData, from_graphs
from graphprune.methods import FitJob, FitResult
from graphprune.models import GCN


class Given(nn.Module):
    """A predictor whose logits are what it was made with."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, batch: Data) -> Tensor:
        return self.logits


def random_graph(generator: torch.Generator, nodes: int, pairs: int, features: int = 3) -> Data:
    """An undirected graph of at most ``pairs`` edges, its label by the parity of its size."""
    index = torch.randint(0, nodes, (2, pairs), generator=generator)
    index = torch.unique(torch.sort(index[:, index[0] != index[1]], dim=0).values, dim=1)
    return Data(
        x=torch.randn(nodes, features, generator=generator),
        edge_index=torch.cat([index, index.flip(0)], dim=1),
        y=torch.tensor([nodes % 2]),
    )


def small_data(seed: int = 0, graphs: int = 12) -> GraphData:
    """Train, validation and test graphs of 3 to 9 nodes, two classes."""
    generator = torch.Generator().manual_seed(seed)
    splits = [
        [random_graph(generator, 3 + number % 7, 2 + 2 * (number % 7)) for number in range(graphs)] for _ in range(3)
    ]
    return from_graphs(*splits, name="small", task="multiclass", metric="accuracy")


def plain_fit(epochs: int = 3, lr: float = 0.05) -> Callable[[FitJob], FitResult]:
    """Full-batch Adam whose every epoch counts as better than the one before."""

    def fit(job: FitJob) -> FitResult:
        optimizer = torch.optim.Adam(job.param_groups(lr))
        track = job.track()
        everything = torch.arange(len(job.data.train))
        with job.attach(optimizer):
            for epoch in range(epochs):
                job.model.train()
                batch = job.data.train.batch(everything)
                loss = functional.cross_entropy(job.model(batch), batch.y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                track.epoch(val=float(epoch), loss=float(loss.detach()))
        return track.result(lambda: accuracy(job))

    return fit


@torch.no_grad()
def accuracy(job: FitJob) -> float:
    """Test accuracy of a job's model."""
    job.model.eval()
    batch = job.data.test.batch(torch.arange(len(job.data.test)))
    guess: Tensor = job.model(batch).argmax(1)
    return float((guess == batch.y).double().mean())


def narrow_gcn(data: GraphData) -> nn.Module:
    """Always with the same initial weights."""
    torch.manual_seed(0)
    model: nn.Module = GCN.for_data(data, hidden=8, layers=2)
    return model


def walking_predictor(data: GraphData) -> EdgePredictor:
    """One that reads pairs and walks, always with the same initial weights."""
    torch.manual_seed(1)
    return EdgePredictor.for_data(data, hidden=8, layers=2, score="bilinear", walks=5)


def digest(ticket: Ticket) -> list[Any]:
    """Masks, metric, and every number of the networks and edge scorers of a ticket."""
    scorers = [edge_round.scorer.state_dict() for edge_round in ticket.edges.rounds if edge_round.scorer is not None]
    tensors = [*ticket.trained.values(), *ticket.last.values(), *(v for state in scorers for v in state.values())]
    return [ticket.masks.digest(), ticket.row["test_metric"], [tensor.tolist() for tensor in tensors]]
