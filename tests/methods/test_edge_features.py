"""Predictors that read edge features, in the methods that train one: they find what the features tell, and carry on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import GraphData, from_graphs
from graphprune.graphs import EdgeRound, PackedGraphs, PruneEdges
from graphprune.methods.core.joint import check_predictor
from tests.methods.graphs import plain_fit


def stars(seed: int, count: int, kind: str) -> list[Data]:
    """A hub among nine nodes of value 1 or -1: the class is the sign of the sum over the five that marked edges join.

    Nothing but ``edge_attr`` tells which are marked: a real column beside one of noise, or a category beside another.
    """
    draw = torch.Generator().manual_seed(seed)
    graphs = []
    for _ in range(count):
        value = torch.randint(2, (10, 1), generator=draw).float() * 2 - 1
        hub = torch.zeros(10, 1)
        value[0], hub[0] = 0, 1
        marked = torch.randperm(9, generator=draw) < 5
        pairs = torch.stack([torch.zeros(9, dtype=torch.int64), torch.arange(1, 10)])
        noise = torch.randn(9, generator=draw)
        told = torch.stack([10 * marked.float() + noise, 100 * noise], 1)
        categories = torch.stack([torch.where(marked, 3, torch.randint(3, (9,), generator=draw)), 0 * pairs[0]], 1)
        attributes = told if kind == "columns" else categories
        graphs.append(
            Data(
                x=torch.cat([value, hub], 1),
                edge_index=torch.cat([pairs, pairs.flip(0)], 1),
                edge_attr=attributes.repeat(2, 1),
                edge_truth=marked.repeat(2),
                y=(value[1:][marked].sum() > 0).long()[None],
            )
        )
    return graphs


def planted(seed: int, kind: str) -> GraphData:
    splits = (stars(3 * seed + part, 150, kind) for part in range(3))
    sizes = {} if kind == "columns" else {"edge_features": [4, 1]}
    return from_graphs(*splits, name="stars", task="multiclass", **sizes)


def area(ticket: gp.Ticket, graphs: Any) -> float:
    """Of true and other arcs, how often the true one has the higher score (ties count half)."""
    scores = torch.cat([ticket.score_edges(graph) for graph in graphs])
    truth = torch.cat([graph.edge_truth for graph in graphs])
    gaps: Tensor = scores[truth][:, None] - scores[~truth]
    return float((gaps > 0).double().mean() + (gaps == 0).double().mean() / 2)


# Soft gates let a network subtract the edges that it does not want: then the others score high.
@pytest.mark.parametrize(("kind", "gates"), [("columns", "gumbel"), ("categories", "soft")])
@pytest.mark.parametrize("seed", range(3))
def test_true_edges_that_a_feature_marks_are_found_by_who_reads_it(seed: int, kind: str, gates: Any) -> None:
    data, found = planted(seed, kind), {}
    for edges in (False, True):
        torch.manual_seed(seed)
        model = gp.models.GIN.for_data(data, hidden=16, layers=1, readout="sum", bonds=False)
        predictor = gp.EdgePredictor.for_data(data, hidden=16, layers=1, edges=edges)
        icpg = gp.ICPG(predictor=predictor, rounds=1, edge_rate=0.44, weight_rate=0, edge_gates=gates)
        (ticket,) = icpg.rounds(model, data, plain_fit(60, lr=0.02))
        found[edges] = area(ticket, data.test)
    assert found[True] > 0.95
    assert 0.4 < found[False] < 0.6


def methods(data: GraphData) -> dict[str, Any]:
    predictor = gp.EdgePredictor.for_data(data, hidden=8, layers=2, score="bilinear", edges=True)
    return {
        "icpg": gp.ICPG(predictor=predictor, rounds=2, edge_rate=0.3, weight_rate=0.2),
        "gicp": gp.GICP(predictor=predictor, densities=(0.7, 0.4), stop=3),
    }


@pytest.mark.parametrize("features", ["deg+odeg10+edges", "raw"])
@pytest.mark.parametrize("method", ["icpg", "gicp"])
def test_two_epochs_on_the_bonds_of_mutag(method: str, features: str, tmp_path: Path) -> None:
    data = gp.data.load("MUTAG", features=features)
    torch.manual_seed(0)
    model = gp.models.GIN.for_data(data, hidden=8, layers=2, bonds=True)
    *_, ticket = methods(data)[method].rounds(model, data, gp.train.Fit(epochs=2, batch_size=64))
    ticket.save(tmp_path / "ticket")
    again = gp.Ticket.load(tmp_path / "ticket")
    scorer = again.edges.rounds[-1].scorer
    assert isinstance(scorer, gp.EdgePredictor)
    assert scorer.config()["edge_features"] == data.edge_features == ([4] if "+edges" in features else 4)
    network, right, pruned = again.build(model).eval(), 0, ticket.prune(data.test)
    for number, graph in enumerate(data.test):
        sparse = again.prune_graph(graph)
        assert torch.equal(sparse.edge_index, pruned[number].edge_index)
        kept = {
            (u, v): row for (u, v), row in zip(graph.edge_index.t().tolist(), graph.edge_attr.tolist(), strict=True)
        }
        assert [kept[u, v] for u, v in sparse.edge_index.t().tolist()] == sparse.edge_attr.tolist()
        right += int(network(sparse).argmax(1) == graph.y)
    assert right / len(data.test) == pytest.approx(ticket.row["test_metric"])


def test_predictors_of_other_edge_features_are_refused() -> None:
    labels, columns, bare = (gp.data.load("MUTAG", features=name) for name in ("raw+edges", "raw", "deg+odeg10"))
    check_predictor(gp.EdgePredictor.for_data(columns), labels)  # reads none, and both have the same nodes
    check_predictor(gp.EdgePredictor.for_data(labels, edges=True), labels)
    with pytest.raises(
        ValueError, match=r"reads edge_features=\[4\], those of MUTAG are 4: .*for_data\(data, edges=True"
    ):
        check_predictor(gp.EdgePredictor.for_data(labels, edges=True), columns)
    with pytest.raises(ValueError, match="edges=True reads edge features"):
        gp.EdgePredictor.for_data(bare, edges=True)


def test_a_graph_with_a_label_that_nobody_knows_is_named() -> None:
    data = gp.data.load("MUTAG", features="raw+edges")
    strange = data.test[2]
    strange.edge_attr[3, 0] = 4
    rounds = (EdgeRound(gp.EdgePredictor.for_data(data, edges=True), 0.3, 0.7),)
    with pytest.raises(ValueError, match=r"below \[4\], got 4 in column 0 of edge_attr, arc 3"):
        PruneEdges(rounds)(strange)
    graphs = PackedGraphs.of([data.test[0], data.test[1], strange])
    with pytest.raises(ValueError, match=r"got 4 in column 0 of edge_attr, graph 2 of the batch, arc 3"):
        PruneEdges(rounds).mask(graphs)
    with pytest.raises(ValueError, match="graph 2 of the batch, arc 3"):
        gp.models.GIN.for_data(data, hidden=8)(graphs.batch(range(3)))
