"""Graphs whose nodes have categories: networks and predictors read them, and what is pruned is measured and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import GraphData, from_graphs
from graphprune.data.evaluation import evaluate
from graphprune.methods.core.joint import check_predictor

SIZES = [5, 3]


def kinds(seed: int, count: int) -> list[Data]:
    """Rings of nodes of two categories: the class is whether the first category 4 occurs."""
    draw = torch.Generator().manual_seed(seed)
    graphs = []
    for number in range(count):
        nodes, label = 6 + number % 4, number % 2
        x = torch.stack([torch.randint(size, (nodes,), generator=draw) for size in (4, 3)], 1)
        if label:
            x[torch.randint(nodes, (1,), generator=draw), 0] = 4
        ring = torch.stack([torch.arange(nodes), torch.arange(nodes).roll(-1)])
        graphs.append(Data(x=x, edge_index=torch.cat([ring, ring.flip(0)], 1), y=torch.tensor([label])))
    return graphs


@pytest.fixture(scope="module")
def data() -> GraphData:
    splits = (kinds(part, 60) for part in range(3))
    return from_graphs(*splits, name="kinds", task="multiclass", features=SIZES)


def methods(data: GraphData) -> dict[str, Any]:
    predictor = gp.EdgePredictor.for_data(data, hidden=8, layers=2, walks=4)
    return {
        "icpg": gp.ICPG(predictor=predictor, rounds=2, edge_rate=0.3, weight_rate=0.2),
        "gicp": gp.GICP(predictor=predictor, densities=(0.7, 0.4), stop=3),
    }


@pytest.mark.parametrize(("method", "model"), [("icpg", "gin"), ("gicp", "gcn"), ("icpg", "paper-gcn")])
def test_a_ticket_of_graphs_with_categories(method: str, model: str, data: GraphData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = gp.models.MODELS[model].for_data(data, hidden=8)
    *_, ticket = methods(data)[method].rounds(network, data, gp.train.Fit(epochs=12, lr=0.02))
    ticket.save(tmp_path / "ticket")
    again = gp.Ticket.load(tmp_path / "ticket")
    pruned, built = again.prune(data.test), again.build(network)
    assert pruned.node["x"].dtype == torch.int64
    assert ticket.row["test_metric"] == pytest.approx(evaluate(built, pruned, data))
    sparse = again.prune_graph(data.test[3])
    assert torch.equal(sparse.edge_index, pruned[3].edge_index) and torch.equal(sparse.x, data.test[3].x)


def test_what_the_categories_say_is_learnt_and_made_small(data: GraphData) -> None:
    torch.manual_seed(0)
    network = gp.models.GIN.for_data(data, hidden=16, layers=1, readout="sum")
    method = gp.IMP(rounds=1, weight_rate=0.5, unit=gp.masks.Channel())
    *_, ticket = method.rounds(network, data, gp.train.Fit(epochs=40, lr=0.02))
    assert ticket.row["test_metric"] > 0.9
    built, batch = ticket.build(network).eval(), data.test.batch(range(9))
    small = gp.compact(built, example=data.train[0])
    assert sum(each.numel() for each in small.parameters()) < sum(each.numel() for each in built.parameters())
    torch.testing.assert_close(small(batch), built(batch), atol=1e-5, rtol=1e-5)


def test_only_distinct_rows_of_categories_cost_something(data: GraphData) -> None:
    model = gp.models.GCN.for_data(data, hidden=8, layers=1)
    columns = gp.models.GCN(2, data.num_outputs, hidden=8, layers=1)
    batch = data.train.batch(range(4))
    real = batch.clone()
    real.x = real.x.float()
    found, other = (gp.measure.macs.count_macs(each, graphs) for each, graphs in ((model, batch), (columns, real)))
    assert other.total - found.total == 2 * 8 * (batch.num_nodes - len(batch.x.unique(dim=0)))


def test_a_predictor_of_other_categories_is_refused(data: GraphData) -> None:
    with pytest.raises(ValueError, match=r"the predictor reads features=\[5, 2\], those of kinds are \[5, 3\]"):
        check_predictor(gp.EdgePredictor([5, 2], hidden=8), data)


def test_classifiers_of_nodes_with_real_features_say_so() -> None:
    graph = Data(x=torch.tensor([[0], [1], [2]]), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([0, 1, 1]))
    graph.train_mask, graph.val_mask, graph.test_mask = torch.eye(3, dtype=torch.bool).unbind()
    nodes = gp.data.from_nodes(graph, name="three", num_classes=2, features=[3])
    assert gp.models.GCN.for_data(nodes, hidden=4)(nodes.train.batch([0])).shape == (3, 2)
    with pytest.raises(ValueError, match=r"features \[3\]: take GCN"):
        gp.models.NodeGCN.for_data(nodes)


def test_a_category_that_nobody_knows_is_named(data: GraphData) -> None:
    strange = data.test[0]
    strange.x[2, 1] = 3
    with pytest.raises(ValueError, match=r"below \[5, 3\], got 3 in column 1 of row 2"):
        gp.models.GIN.for_data(data, hidden=4)(strange)
