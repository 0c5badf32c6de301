"""What was counted on a graph's edges and travels with it: a ticket prunes the graph as if it came alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.data import GraphData
from graphprune.graphs import PackedGraphs
from graphprune.methods.core.joint import JointNetwork
from tests.methods.graphs import narrow_gcn as network
from tests.methods.graphs import plain_fit, small_data
from tests.methods.graphs import walking_predictor as predictor


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data(graphs=14)


METHODS: dict[str, Callable[[GraphData], Any]] = {
    "ICPG": lambda data: gp.ICPG(rounds=3, edge_rate=0.3, weight_rate=0.2, predictor=predictor(data)),
    "GICP": lambda data: gp.GICP(densities=(0.7, 0.5, 0.3), stop=2, predictor=predictor(data)),
    "UGS": lambda data: gp.UGS(rounds=3, edge_rate=0.3, weight_rate=0.2, noise=0.1),
    "UGS random": lambda data: gp.UGS(rounds=3, edge_rate=0.3, weight_rate=0.2, noise=0.1, unseen="random"),
}


def bare(graph: Data) -> Data:
    return Data(x=graph.x, edge_index=graph.edge_index, y=graph.y)


def cut(graph: Data) -> Data:
    """With fewer edges, by a user's hand."""
    graph = graph.clone()
    graph.edge_index = graph.edge_index[:, (graph.edge_index != 0).all(0)]
    return graph


@pytest.mark.parametrize("kind", METHODS)
def test_graphs_of_a_training_are_pruned_as_bare_ones(kind: str, data: GraphData) -> None:
    met: list[PackedGraphs] = []

    def fit(job: Any) -> Any:
        if job.phase == "search":
            met.extend([job.data.train, job.data.test])
        return plain_fit(3)(job)

    tickets = list(METHODS[kind](data).rounds(network(data), data, fit))
    names = {name for graphs in met for name in (*graphs.node, *graphs.edge, *graphs.graph)}
    assert names > ({"edge_unit"} if "UGS" in kind else {"graphprune_walks"})
    for ticket in tickets:
        for graphs in met:
            alone = PackedGraphs.of([bare(graph) for graph in graphs])
            assert torch.equal(ticket.prune(graphs).edge_index, ticket.prune(alone).edge_index)
            for graph in graphs.select([1, 5, 6]):
                for given in (graph, cut(graph)):
                    assert torch.equal(ticket.prune_graph(given).edge_index, ticket.prune_graph(bare(given)).edge_index)
                    if kind != "UGS":
                        assert torch.equal(ticket.score_edges(given), ticket.score_edges(bare(given)))


@pytest.mark.parametrize("training", [True, False])
def test_a_loop_may_change_edges(training: bool, data: GraphData) -> None:
    compared = 0

    def fit(job: Any) -> Any:
        nonlocal compared
        if isinstance(job.model, JointNetwork):
            batch = Batch.from_data_list([cut(graph) for graph in job.data.train])
            fresh = [bare(cut(graph)) for graph in job.data.train]
            for graph, given in zip(fresh, job.data.train, strict=True):
                graph.original_units = given.original_units
            outputs = [job.model.train(training)(given) for given in (batch, Batch.from_data_list(fresh))]
            torch.testing.assert_close(*outputs)
            compared += 1
        return plain_fit(3)(job)

    list(METHODS["ICPG"](data).rounds(network(data), data, fit))
    assert compared == 3
