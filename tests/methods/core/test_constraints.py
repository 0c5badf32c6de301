"""Components stay together and nodes keep neighbours under every method, in its training graphs and in unseen ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from graphprune import (
    GICP,
    GSAT,
    ICPG,
    UGS,
    EdgePredictor,
    EdgeRule,
    NoEdges,
    PGExplainer,
    Protocol,
    RandomPruning,
    Sparsifier,
    Ticket,
)
from graphprune.data import GraphData, from_graphs
from graphprune.graphs import EdgeRound
from graphprune.graphs.rule import original_units
from graphprune.methods import Method
from graphprune.methods.core.edge_gates import GradualGates, SampledGates, TopGates, soft_gates
from graphprune.methods.core.joint import JointNetwork
from graphprune.methods.core.state import ORIGINAL_UNITS
from graphprune.models import GCN
from graphprune.runs import RunConfig, run_one
from tests.methods.graphs import plain_fit, random_graph

RULE = EdgeRule(connected=True, min_degree=2)
RATES: dict[str, Any] = {"rounds": 2, "edge_rate": 0.6, "weight_rate": 0.2}


@pytest.fixture(scope="module")
def data() -> GraphData:
    """Graphs of 5 to 9 nodes with edges to spare."""
    rng = torch.Generator().manual_seed(0)
    splits = [[random_graph(rng, 5 + number % 5, 12 + 3 * (number % 5)) for number in range(10)] for _ in range(3)]
    return from_graphs(*splits, name="dense", task="multiclass", metric="accuracy")


def network(data: GraphData) -> nn.Module:
    torch.manual_seed(0)
    return GCN.for_data(data, hidden=8, layers=2)


def predictor(data: GraphData) -> EdgePredictor:
    torch.manual_seed(1)
    return EdgePredictor.for_data(data, hidden=8, layers=2)


def simple(graph: Data) -> nx.Graph:
    found = nx.Graph()
    found.add_nodes_from(range(int(graph.num_nodes or 0)))
    found.add_edges_from((u, v) for u, v in graph.edge_index.t().tolist() if u != v)
    return found


def holds(full: Data, less: Data, degree: int = 2) -> bool:
    before, after = simple(full), simple(less)
    parts = [{frozenset(each) for each in nx.connected_components(graph)} for graph in (before, after)]
    return parts[0] == parts[1] and all(after.degree[node] >= min(degree, before.degree[node]) for node in before)


METHODS: dict[str, Callable[[GraphData, Protocol], Method]] = {
    "icpg": lambda data, protocol: ICPG(predictor=predictor(data), protocol=protocol, **RATES),
    "icpg top": lambda data, protocol: ICPG(predictor=predictor(data), protocol=protocol, edge_gates="top", **RATES),
    "gicp": lambda data, protocol: GICP(
        predictor=predictor(data), densities=(0.8, 0.1), weight_density=0.5, stop=2, every=1, protocol=protocol
    ),
    "gsat": lambda data, protocol: GSAT(predictor=predictor(data), protocol=protocol, **RATES),
    "pg-explainer": lambda data, protocol: PGExplainer(predictor=predictor(data), protocol=protocol, **RATES),
    "ugs": lambda data, protocol: UGS(unseen="random", protocol=protocol, **RATES),
    "random": lambda data, protocol: RandomPruning(protocol=protocol, **RATES),
    "sparsifier": lambda data, protocol: Sparsifier(edges="jaccard", protocol=protocol, **RATES),
}


@pytest.mark.parametrize("budget", ["graph", "global"])
@pytest.mark.parametrize("name", METHODS)
def test_constraints_hold_in_every_method(name: str, budget: Any, data: GraphData, tmp_path: Path) -> None:
    rule = EdgeRule(budget=budget, connected=True, min_degree=2)
    method = METHODS[name](data, Protocol(rule=rule))
    *_, ticket = method.rounds(network(data), data, plain_fit(2))
    ticket.save(tmp_path / "ticket")
    again = Ticket.load(tmp_path / "ticket")
    assert again.edges.rule == rule
    for graphs in (data.train, data.test):
        pruned = again.prune(graphs)
        assert pruned.num_edges < graphs.num_edges
        assert all(holds(graphs[i], pruned[i]) for i in range(len(graphs)))
    graph = data.test[6]
    assert torch.equal(again.prune_graph(graph).edge_index, again.prune(data.test)[6].edge_index)
    assert "connected=True, min_degree=2" in ticket.row["protocol"] and ticket.row["protocol"] in ticket.summary()


def test_without_them_graphs_fall_apart(data: GraphData) -> None:
    *_, ticket = METHODS["sparsifier"](data, Protocol()).rounds(network(data), data, plain_fit(1))
    assert not all(holds(data.train[i], ticket.prune(data.train)[i]) for i in range(len(data.train)))


def test_runs_go_on_after_a_ticket_with_the_same_constraints_only(data: GraphData) -> None:
    model, protocol = network(data), Protocol(rule=RULE)
    method = Sparsifier(edges="degree", protocol=protocol, **RATES)
    first, second = method.rounds(model, data, plain_fit(1))
    (resumed,) = method.rounds(model, data, plain_fit(1), after=first)
    assert torch.equal(resumed.edge_mask(data.train).keep, second.edge_mask(data.train).keep)
    for other in (Protocol(), Protocol(rule=EdgeRule(connected=True))):
        with pytest.raises(ValueError, match=r"protocol\.rule"):
            next(method.replace(protocol=other).rounds(model, data, plain_fit(1), after=first))


def test_files_without_constraints_are_as_they_were(data: GraphData, tmp_path: Path) -> None:
    words = {"unit": "pair", "count": "cumulative", "budget": "graph", "scoring": "eval"}
    method = Sparsifier(edges="degree", **RATES)
    assert method.settings()["protocol"] == {"select": "val", "rule": words, "pruned": "removed"}
    ticket = next(method.rounds(network(data), data, plain_fit(1)))
    ticket.save(tmp_path / "old")
    document = json.loads((tmp_path / "old" / "ticket.json").read_text())
    assert document["ticket"]["rule"] == words
    assert EdgeRule(**words).config() == words and Protocol(rule=RULE).config()["rule"] == words | {
        "connected": True,
        "min_degree": 2,
    }


# ---------------------------------------------------------------------- while a predictor trains


class Given(nn.Module):
    """A predictor whose logits are what it was made with, of a whole batch."""

    follows_dtype = True

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, batch: Data) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize("rule", [RULE, EdgeRule(connected=True, budget="global")], ids=["graph", "global"])
@pytest.mark.parametrize("kind", ["top", "gumbel", "gradual"])
def test_gates_that_remove_edges_leave_the_required_ones(kind: str, rule: EdgeRule, data: GraphData) -> None:
    torch.manual_seed(0)
    train = data.train.with_graph(**{ORIGINAL_UNITS: original_units(data.train, rule)})
    batch = train.batch(range(len(train)))
    gradual = GradualGates("top", 1.0, False)
    gradual.lowest = lambda: 0.3
    gates = {
        "top": TopGates(0.3, 1.0),
        "gumbel": SampledGates(0.3, 1.0),
        "gradual": gradual,
    }[kind]
    scorer = Given(torch.randn(batch.num_edges))
    edge_round = EdgeRound(scorer, 0.7, 0.3)
    joint = JointNetwork(network(data), scorer, edge_round, rule, train, unit_gates=gates)
    found = joint.train().gates(batch)
    assert set(found.detach().unique().tolist()) == {0.0, 1.0}
    (found * torch.randn(len(found))).sum().backward()
    assert scorer.logits.grad is not None and bool((scorer.logits.grad != 0).any())
    open_ = found.detach() == 1
    graph, start = batch.batch[batch.edge_index[0]], data.train.node_ptr
    for number in range(len(data.train)):
        arcs = batch.edge_index[:, open_ & (graph == number)] - start[number]
        left = Data(edge_index=arcs, num_nodes=data.train[number].num_nodes)
        assert holds(data.train[number], left, rule.min_degree)
    if kind != "gumbel":  # as many as evaluation leaves, the same ones
        kept = joint._keep(batch)
        assert torch.equal(kept, open_)


def test_soft_gates_remove_nothing_and_know_of_no_constraint(data: GraphData) -> None:
    train = data.train.with_graph(**{ORIGINAL_UNITS: original_units(data.train, RULE)})
    batch = train.batch(range(len(train)))
    scorer = Given(torch.zeros(batch.num_edges))
    joint = JointNetwork(network(data), scorer, EdgeRound(scorer, 0.7, 0.3), RULE, data.train, unit_gates=soft_gates)
    assert joint.gates(batch).eq(0.5).all()


# ---------------------------------------------------------------------- the command line, and what cannot be


def test_a_control_without_edges_cannot_keep_some(data: GraphData) -> None:
    for rule in (EdgeRule(connected=True), EdgeRule(min_degree=1)):
        with pytest.raises(ValueError, match="no-edges removes every edge: take a protocol without connected"):
            next(NoEdges(protocol=Protocol(rule=rule)).rounds(network(data), data, plain_fit(1)))


def test_a_run_by_its_configuration(tmp_path: Path) -> None:
    method = {"name": "sparsifier", "edges": "degree", "rounds": 1, "edge_rate": 0.9, "weight_rate": 0}
    values = {
        "method": method | {"protocol": {"rule": {"connected": True}}},
        "data": {"name": "MUTAG", "fold": 0},
        "model": {"name": "gcn", "hidden": 4, "layers": 1},
        "fit": {"epochs": 1},
    }
    config = RunConfig.of(values)
    run_one(config, tmp_path / "run")
    assert RunConfig.load(tmp_path / "run" / "config.yaml") == config
    assert config.method["protocol"]["rule"] == {
        "unit": "pair", "count": "cumulative", "budget": "graph", "scoring": "eval", "connected": True, "min_degree": 0,
    }  # fmt: skip
    assert Ticket.load(tmp_path / "run" / "round-1").row["protocol"] == "connected=True"
    with pytest.raises(ValueError, match="did you mean connected"):
        RunConfig.of(values | {"method": method | {"protocol": {"rule": {"conected": True}}}})
