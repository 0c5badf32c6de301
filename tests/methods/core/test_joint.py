"""Walks that are counted once a training: those of the graphs of that very round, and gone behind it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import GraphData
from graphprune.graphs.walks import RETURN_WALKS, walk_features
from graphprune.methods.core import joint
from tests.methods.graphs import narrow_gcn as network
from tests.methods.graphs import plain_fit, small_data
from tests.methods.graphs import walking_predictor as predictor


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def methods(data: GraphData) -> list[Any]:
    return [
        gp.ICPG(rounds=2, edge_rate=0.3, weight_rate=0.2, predictor=predictor(data)),
        gp.GICP(densities=(0.7, 0.4), stop=2, predictor=predictor(data)),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_searches_bring_along_the_walks_of_their_own_graphs_and_tickets_none(number: int, data: GraphData) -> None:
    method, searches = methods(data)[number], []

    def fit(job: Any) -> Any:
        graphs = [job.data.train, job.data.val, job.data.test]
        if job.phase == "search":
            searches.append(sum(part.num_edges for part in graphs))
            for part in graphs:
                batch = part.batch(torch.arange(len(part)))
                torch.testing.assert_close(batch[RETURN_WALKS], walk_features(batch, 5))
                scorer = job.model.predictor.eval()
                counted = scorer(batch)
                del batch[RETURN_WALKS]
                torch.testing.assert_close(scorer(batch), counted)
        else:
            assert all(RETURN_WALKS not in part.node for part in graphs)
        return plain_fit(3)(job)

    tickets = list(method.rounds(network(data), data, fit))
    assert len(searches) == 2 - number and len(tickets) == 2
    assert searches == sorted(searches, reverse=True)  # ICPG's second search sees pruned graphs, and walks on these
    sparse = tickets[-1].prune_graph(data.test[0])
    assert RETURN_WALKS not in sparse and RETURN_WALKS not in tickets[-1].prune(data.test).node


def test_sets_whose_walks_would_fill_the_memory_are_walked_batch_by_batch(
    data: GraphData, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, met = next(methods(data)[1].rounds(network(data), data, plain_fit(3))), []

    def fit(job: Any) -> Any:
        met.append(RETURN_WALKS in job.data.train.node)
        return plain_fit(3)(job)

    monkeypatch.setattr(joint, "_MOST_WALKED", 10)
    again = next(methods(data)[1].rounds(network(data), data, fit))
    assert met == [False]
    assert again.row["test_metric"] == pytest.approx(first.row["test_metric"])


class TooWide(nn.Module):
    """A predictor of a user's that gives a column."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(1, 1)

    def forward(self, data: Data) -> Tensor:
        return self.lin(torch.ones(data.num_edges, 1))


def test_predictors_of_another_shape_are_named(data: GraphData) -> None:
    method = gp.ICPG(rounds=1, predictor=TooWide(), edge_rate=0.2, weight_rate=0)
    with pytest.raises(ValueError, match=r"TooWide gives scores of shape \(\d+, 1\) for \d+ arcs, expected"):
        list(method.rounds(network(data), data, plain_fit()))
