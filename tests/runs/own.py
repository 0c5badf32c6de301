"""A user's own data, networks, methods and trainings, as a script or a package would have them."""

from dataclasses import dataclass, replace
from functools import partial

import attrs
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, global_mean_pool

from graphprune.data import GraphData, load
from graphprune.graphs import EdgePredictor, RandomEdges
from graphprune.methods import ICPG, Decision, FitJob, FitResult, IterativeMethod, RunState
from graphprune.methods.core.method import Fit as FitFunction
from graphprune.train import Fit
from tests.runs.samples import NAME


def tiny(root: str, fold: int = 0) -> GraphData:
    data = load(NAME, root=root, features="deg+odeg10", fold=fold)
    assert isinstance(data, GraphData)
    return replace(data, name="mine")


def drawn(root: str) -> GraphData:
    """Another choice of training graphs at each call."""
    data = tiny(root)
    return data.with_splits(train=data.train.select(torch.randperm(len(data.train))[:24]))


class Net(nn.Module):
    """A network that no registry knows, and that says nothing of how it was made."""

    def __init__(self, data: GraphData, hidden: int = 8) -> None:
        super().__init__()
        self.conv = GCNConv(int(data.features), hidden)
        self.head = nn.Linear(hidden, data.num_outputs)

    def forward(self, data: Data) -> Tensor:
        x = torch.relu(self.conv(data.x, data.edge_index, data.get("edge_weight")))
        out: Tensor = self.head(global_mean_pool(x, data.batch, data.num_graphs))
        return out


class Made(Net):
    @classmethod
    def for_data(cls, data: GraphData, width: int = 6) -> "Made":
        return cls(data, width)


def make_net(data: GraphData, hidden: int = 8) -> nn.Module:
    return Net(data, hidden)


def make_icpg(data: GraphData, rounds: int = 2) -> IterativeMethod:
    predictor = EdgePredictor.for_data(data, hidden=8, layers=1)
    return ICPG(predictor=predictor, rounds=rounds, edge_rate=0.2, weight_rate=0.3)


@attrs.frozen(kw_only=True)
class Halving(IterativeMethod):
    """Halves the edges as often as told."""

    num_rounds: int = attrs.field(default=1, init=False)
    edge_rate: float = attrs.field(default=0.5, init=False)
    weight_rate: float = attrs.field(default=0.0, init=False)
    halvings: int = 2

    name = "own-halving"

    @property
    def last_round(self) -> int:
        return self.halvings

    def search(self, state: RunState, fit: FitFunction) -> Decision:
        return Decision(RandomEdges(state.round), None)


def train(job: FitJob, epochs: int = 2) -> FitResult:
    """A loop of one's own."""
    optimizer = torch.optim.Adam(job.param_groups(0.01), lr=0.01)
    track = job.track()
    with job.attach(optimizer):
        for epoch in range(epochs):
            batch = job.data.train.batch(range(len(job.data.train)))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(job.model(batch), batch.y)
            loss.backward()
            optimizer.step()
            track.epoch(val=float(epoch), loss=loss.item())
    return track.result(lambda: 0.5)


def make_fit(seed: int) -> Fit:
    return Fit(epochs=3, batch_size=16, lr=0.01, seed=seed + 100)


@dataclass(frozen=True)
class Long(Fit):
    """A training of the package's, extended."""


quick = partial(train, epochs=1)


def nothing() -> None:
    return None


def numbers(data: GraphData) -> list[int]:
    return [1]


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule of torch's for ``Fit(schedule=one_cycle)``."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps, cycle_momentum=False)
