"""Controls control under every protocol: what they say is gone is gone when counted from the graphs."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from graphprune import ICPG, UGS, Dense, NoEdges, Protocol, RandomPruning, SmallDense, Sparsifier, Ticket
from graphprune.data import GraphData, from_nodes, load
from graphprune.graphs import EdgeRule
from graphprune.methods import IterativeMethod
from graphprune.models import GCN, NodeGCN
from graphprune.train import Fit
from tests.methods.graphs import plain_fit

PROTOCOLS = {
    "clean": "clean",
    "paper": "paper",
    "arcs": Protocol(rule=EdgeRule(unit="arc")),
    "floor": Protocol(rule=EdgeRule(count="floor")),
    "global": Protocol(rule=EdgeRule(budget="global")),
    "global floor": Protocol("test", EdgeRule(unit="arc", count="floor", budget="global", scoring="batch")),
}


@pytest.fixture(scope="module")
def mutag() -> GraphData:
    data = load("MUTAG")
    assert isinstance(data, GraphData)
    return data


def network(data: GraphData) -> GCN:
    torch.manual_seed(0)
    return GCN.for_data(data, hidden=4, layers=1)


def arcs(ticket: Ticket, data: GraphData, split: str) -> tuple[list[int], list[int]]:
    """Arcs of each graph before and behind pruning, counted graph by graph."""
    graphs = list(data.splits[split])  # type: ignore[index]
    return [graph.num_edges for graph in graphs], [ticket.prune_graph(graph).num_edges for graph in graphs]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_edges_removes_all_edges(protocol: str, mutag: GraphData, tmp_path: Path) -> None:
    (ticket,) = NoEdges(protocol=PROTOCOLS[protocol]).rounds(network(mutag), mutag, plain_fit(1))
    ticket.save(tmp_path / "ticket")
    for each in (ticket, Ticket.load(tmp_path / "ticket")):
        for split in ("train", "val", "test"):
            assert each.row[f"edge_sparsity_{split}"] == 1.0
            assert sum(arcs(each, mutag, split)[1]) == 0
    assert ticket.row["weight_sparsity"] == 0.0
    # What was trained has seen no edge: its predictions are those on graphs that have none.
    built = ticket.build(network(mutag)).eval()
    batch = mutag.test.keep_edges(torch.zeros(mutag.test.num_edges, dtype=torch.bool)).batch(range(len(mutag.test)))
    with torch.no_grad():
        right = (built(batch).argmax(1) == batch.y).float().mean()
    assert ticket.row["test_metric"] == pytest.approx(float(right))


@pytest.mark.parametrize("protocol", ["clean", "arcs", "floor"])
def test_no_edges_removes_the_edges_of_one_large_graph(protocol: str) -> None:
    graph = Data(x=torch.eye(6), y=torch.arange(6) % 2)
    graph.edge_index = torch.tensor([[0, 1, 2, 3, 4, 5, 2], [1, 0, 3, 2, 5, 4, 2]])
    for part, split in enumerate(("train", "val", "test")):
        graph[f"{split}_mask"] = torch.arange(6) % 3 == part
    data = from_nodes(graph, name="ring")
    (ticket,) = NoEdges(protocol=PROTOCOLS[protocol]).rounds(NodeGCN(6, 2, 4), data, Fit(epochs=1, lr=0.01))
    assert ticket.row["edge_sparsity_test"] == 1.0
    (graph,) = data.test
    assert ticket.prune_graph(graph).edge_index.tolist() == [[2], [2]]  # the loop is no edge that could be pruned


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [Dense, partial(SmallDense, params=300)])
def test_dense_controls_keep_every_edge_and_weight(kind: Callable[..., Dense], protocol: str, mutag: GraphData) -> None:
    (ticket,) = kind(protocol=PROTOCOLS[protocol]).rounds(network(mutag), mutag, plain_fit(1))
    for split in ("train", "val", "test"):
        before, behind = arcs(ticket, mutag, split)
        assert before == behind
    assert ticket.row["edge_sparsity_test"] == ticket.row["weight_sparsity"] == 0.0
    size = sum(value.numel() for value in ticket.trained.values())
    buffers = sum(value.numel() for name, value in ticket.trained.items() if "running" in name or "tracked" in name)
    assert ticket.row["params_kept"] == ticket.row["params_total"] == size - buffers
    assert all(bool(mask.all()) for mask in ticket.masks.values())


def pruning(name: str, edge_rate: float, protocol: str) -> IterativeMethod:
    rates = {"rounds": 2, "edge_rate": edge_rate, "weight_rate": 0.3, "protocol": PROTOCOLS[protocol]}
    if name == "random":
        return RandomPruning(**rates)
    return ICPG(edge_scores="random", **rates) if name == "icpg" else Sparsifier(edges=name, **rates)


@pytest.mark.parametrize("protocol", ["clean", "paper", "arcs", "floor"])
@pytest.mark.parametrize(("name", "edge_rate"), [("random", 0.1), ("random", 0.5), ("icpg", 0.1), ("jaccard", 0.1)])
def test_random_and_classic_controls_remove_what_their_protocol_says(
    name: str, edge_rate: float, protocol: str, mutag: GraphData
) -> None:
    method = pruning(name, edge_rate, protocol)
    *_, ticket = method.rounds(network(mutag), mutag, plain_fit(1))
    mutag = method.protocol.splits(mutag)
    by_arcs = protocol in ("paper", "arcs")
    for split in ("train", "val", "test"):
        before, behind = arcs(ticket, mutag, split)
        for full, left in zip(before, behind, strict=True):
            units = full if by_arcs else full // 2
            wanted = round(units * (1 - edge_rate) ** 2)
            if protocol in ("paper", "floor"):
                wanted = units - math.floor(units * edge_rate)
                wanted -= math.floor(wanted * edge_rate)
            assert left == (wanted if by_arcs else 2 * wanted)
        assert ticket.row[f"edge_sparsity_{split}"] == pytest.approx(1 - sum(behind) / sum(before))
    kept = sum(int(mask.sum()) for mask in ticket.masks.values())
    assert kept == round(sum(mask.numel() for mask in ticket.masks.values()) * 0.7**2)


def test_controls_refuse_a_protocol_that_removes_nothing(mutag: GraphData) -> None:
    gated = UGS(protocol="paper").protocol
    for method in (NoEdges(protocol=gated), RandomPruning(protocol=gated)):
        with pytest.raises(ValueError, match="pruned='gated' is for UGS"):
            next(method.rounds(network(mutag), mutag, plain_fit(1)))
