"""Networks that change their input in place: the data stay, and every training sees them as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, global_add_pool

from graphprune import ICPG, IMP, UGS, EdgePredictor, RandomPruning
from graphprune.data import GraphData
from graphprune.data.evaluation import evaluate, predict
from graphprune.methods import IterativeMethod
from tests.methods.graphs import plain_fit, small_data


class Halves(nn.Module):
    """A network that halves its input first, where it lies or not."""

    def __init__(self, data: GraphData, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.in_place = in_place
        self.conv, self.head = GCNConv(data.num_features, 8), nn.Linear(8, data.num_outputs)

    def forward(self, batch: Data) -> Tensor:
        assert batch.x is not None and batch.edge_index is not None
        if self.in_place:
            batch.x.mul_(0.5)
            x = nn.functional.relu(batch.x, inplace=True)
        else:
            x = nn.functional.relu(batch.x * 0.5)
        x = self.conv(x, batch.edge_index).relu()
        logits: Tensor = self.head(global_add_pool(x, batch.batch, len(batch.ptr) - 1))
        return logits


class Doubles(EdgePredictor):
    """A predictor that doubles its input where it lies."""

    def forward(self, data: Data) -> Tensor:
        assert data.x is not None
        data.x.mul_(2)
        return super().forward(data)


class Doubled(EdgePredictor):
    """The same without a trace."""

    def forward(self, data: Data) -> Tensor:
        assert data.x is not None
        data = copy.copy(data)
        data.x = data.x * 2
        return super().forward(data)


def methods(data: GraphData, in_place: bool) -> dict[str, IterativeMethod]:
    torch.manual_seed(1)
    predictor = (Doubles if in_place else Doubled).for_data(data, hidden=8, layers=2)
    rates: dict[str, Any] = {"rounds": 2, "edge_rate": 0.2, "weight_rate": 0.3}
    return {
        "imp": IMP(rounds=2, weight_rate=0.3),
        "random": RandomPruning(**rates),
        "ugs": UGS(**rates),
        "icpg": ICPG(predictor=predictor, **rates),
    }


@pytest.mark.parametrize("name", ["imp", "random", "ugs", "icpg"])
def test_rounds_are_those_of_a_network_that_leaves_its_input_alone(name: str) -> None:
    data = small_data()
    digest, rows = data.digest(), []
    for in_place in (True, False):
        method = methods(data, in_place)[name]
        tickets = list(method.rounds(Halves(data, in_place), data, fit=plain_fit()))
        assert data.digest() == digest
        rows.append([(ticket.row["test_metric"], ticket.masks.digest()) for ticket in tickets])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("batch_size", [1, 512])
def test_evaluation_leaves_the_data_alone(batch_size: int) -> None:
    data = small_data()
    digest, network, reference = data.digest(), Halves(data, True), Halves(data, False)
    for _ in range(2):
        ours = predict(network, data.val, batch_size)
        torch.testing.assert_close(ours, predict(reference, data.val, batch_size), rtol=0, atol=0)
        assert evaluate(network, data.test, data) == evaluate(reference, data.test, data)
    assert data.digest() == digest
