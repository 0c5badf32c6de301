"""Classic sparsifiers as a method: what they share with magnitude and random pruning, and that their tickets travel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from graphprune import IMP, RandomPruning, Sparsifier, Ticket
from graphprune.data import GraphData, from_nodes
from graphprune.graphs import EdgeRule
from graphprune.graphs.sparsifiers import SCORERS
from graphprune.methods import FitJob, FitResult, Protocol
from graphprune.models import GCN
from graphprune.train import Fit
from tests.methods.graphs import plain_fit, small_data

NAMES = tuple(SCORERS)
RATES = {"edge_rate": 0.2, "weight_rate": 0.3}


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def network(data: GraphData, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = GCN.for_data(data, hidden=8, layers=2)
    return model


def pairs(graph: Data) -> set[tuple[int, int]]:
    return {(u, v) for u, v in graph.edge_index.T.tolist() if u < v}


@pytest.mark.parametrize("edges", NAMES)
def test_every_score_prunes_exactly_and_its_ticket_travels(edges: Any, data: GraphData, tmp_path: Path) -> None:
    before = [pairs(graph) for graph in data.test]
    full = [len(edges) for edges in before]
    method = Sparsifier(edges=edges, rounds=3, **RATES)
    for ticket in method.rounds(network(data), data, plain_fit(1)):
        ticket.save(tmp_path / str(ticket.round))
        again = Ticket.load(tmp_path / str(ticket.round))
        assert again.masks.kept == round(again.masks.total * 0.7**ticket.round)
        for number, graph in enumerate(data.test):
            pruned = ticket.prune_graph(graph)
            assert torch.equal(pruned.edge_index, again.prune_graph(graph).edge_index)
            assert torch.equal(pruned.edge_index, ticket.prune(data.test)[number].edge_index)
            left = pairs(pruned)
            assert left <= before[number]
            assert len(left) == round(full[number] * 0.8**ticket.round)
            before[number] = left
        assert bool(((again.score_edges(data.test[6]) > 0) & (again.score_edges(data.test[6]) <= 1)).all())
    # Resuming draws the same random numbers.
    (rest,) = method.rounds(network(data), data, plain_fit(1), after=Ticket.load(tmp_path / "2"))
    assert torch.equal(rest.prune(data.train).edge_index, ticket.prune(data.train).edge_index)


@pytest.mark.parametrize("unit", ["pair", "arc"])
@pytest.mark.parametrize("edges", NAMES)
def test_every_score_serves_every_rule(edges: Any, unit: Any, data: GraphData) -> None:
    arcs = data.train.num_edges
    size = 2 if unit == "pair" else 1
    rule = EdgeRule(unit=unit, budget="global")
    method = Sparsifier(edges=edges, rounds=2, protocol=Protocol(rule=rule), **RATES)
    *_, ticket = method.rounds(network(data), data, plain_fit(1))
    assert ticket.row["edge_sparsity_train"] == 1 - size * round(arcs // size * 0.8**2) / arcs
    floor = Protocol(rule=EdgeRule(unit=unit, count="floor"))
    (ticket,) = method.replace(protocol=floor, rounds=1).rounds(network(data), data, plain_fit(1))
    for graph in data.test:
        units = graph.num_edges // size
        assert ticket.prune_graph(graph).num_edges == size * (units - math.floor(units * 0.2))


def test_weights_fall_as_under_magnitude_pruning(data: GraphData) -> None:
    ours = Sparsifier(edges="degree", rounds=3, edge_rate=0, weight_rate=0.3).rounds(network(data), data, plain_fit())
    theirs = IMP(rounds=3, weight_rate=0.3).rounds(network(data), data, plain_fit())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.masks == other.masks
        assert mine.row["epochs_trained"] == other.row["epochs_trained"]
        assert mine.row["edge_sparsity_train"] == 0


def test_random_edges_are_those_of_random_pruning(data: GraphData) -> None:
    ours = Sparsifier(edges="random", rounds=2, seed=4, **RATES).rounds(network(data), data, plain_fit(1))
    theirs = RandomPruning(rounds=2, seed=4, **RATES).rounds(network(data), data, plain_fit(1))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine.prune(data.test).edge_index, other.prune(data.test).edge_index)


def test_edges_alone_need_no_training_but_the_tickets(data: GraphData) -> None:
    phases: list[str] = []

    def fit(job: FitJob) -> FitResult:
        phases.append(job.phase)
        return plain_fit(1)(job)

    tickets = list(Sparsifier(edges="jaccard", rounds=3, edge_rate=0.2, weight_rate=0).rounds(network(data), data, fit))
    assert phases == ["ticket"] * 3
    assert all(ticket.row["weight_sparsity"] == 0 for ticket in tickets)
    phases.clear()
    list(Sparsifier(edges="jaccard", rounds=3, **RATES).rounds(network(data), data, fit))
    assert phases == ["search", "ticket", "ticket", "ticket"]


def test_a_seed_draws_its_own_edges_where_chance_decides(data: GraphData) -> None:
    for edges in NAMES:
        first, second = (
            next(Sparsifier(edges=edges, rounds=2, seed=seed, **RATES).rounds(network(data), data, plain_fit(1)))
            for seed in (0, 1)
        )
        same = torch.equal(first.prune(data.test).edge_index, second.prune(data.test).edge_index)
        assert same == (edges not in ("random", "forest-fire", "t-spanner", "spanning-forest", "k-neighbour"))


def test_a_global_budget_over_one_graph_cuts_the_same_ties_in_every_split() -> None:
    ring = torch.arange(12)
    index = torch.stack([ring, (ring + 1) % 12])
    masks = {f"{split}_mask": ring % 3 == number for number, split in enumerate(("train", "val", "test"))}
    graph = Data(x=torch.randn(12, 3), edge_index=torch.cat([index, index.flip(0)], 1), y=ring % 2, **masks)
    whole = from_nodes(graph, name="ring")
    method = Sparsifier(edges="jaccard", rounds=2, protocol=Protocol(rule=EdgeRule(budget="global")), **RATES)
    first, second = method.rounds(network(whole), whole, Fit(epochs=1))
    sparsities = {second.row[f"edge_sparsity_{split}"] for split in ("train", "val", "test")}
    assert sparsities == {1 - round(12 * 0.8**2) / 12}
    (again,) = method.rounds(network(whole), whole, Fit(epochs=1), after=first)
    assert again.row["edge_sparsity_test"] == second.row["edge_sparsity_test"]


def test_a_score_has_to_be_named() -> None:
    with pytest.raises(ValueError, match=r"edges must be one of random, degree, .*, got 'degrees'"):
        Sparsifier(edges="degrees")
    with pytest.raises(ValueError, match=r"edges must be one of random, .*, or a module, got 3"):
        Sparsifier(edges=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="edges"):
        Sparsifier()  # type: ignore[call-arg]


class Carried(nn.Module):
    """A scorer of a user's own, which no registry knows: the sum of both ends' first features."""

    def forward(self, graph: Data) -> torch.Tensor:
        assert graph.x is not None and graph.edge_index is not None
        return graph.x[:, 0].double()[graph.edge_index].sum(0)


def test_a_scorer_of_ones_own_prunes_and_its_ticket_travels_once_it_has_a_name(data: GraphData, tmp_path: Path) -> None:
    method = Sparsifier(edges=Carried(), rounds=2, **RATES)
    first, second = method.rounds(network(data), data, plain_fit(1))
    assert isinstance(first.edges.rounds[0].scorer, Carried)
    assert first.provenance["settings"]["edges"] == "Carried()"
    for graph in data.test:
        left = {tuple(arc) for arc in first.prune_graph(graph).edge_index.T.tolist()}
        stays = torch.tensor([tuple(arc) in left for arc in graph.edge_index.T.tolist()])
        assert len(left) == 2 * round(graph.num_edges // 2 * 0.8)
        assert stays.all() or Carried()(graph)[~stays].max() <= Carried()(graph)[stays].min()
    (again,) = method.rounds(network(data), data, plain_fit(1), after=first)
    assert torch.equal(again.prune(data.test).edge_index, second.prune(data.test).edge_index)
    with pytest.raises(TypeError, match=r"tickets cannot hold edge scorers of the class .*Carried"):
        second.save(tmp_path / "ticket")
