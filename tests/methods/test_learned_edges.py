"""Methods that learn edges under a loss of their own: its gradient, evaluation, seeds, resuming, motifs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.nn import global_add_pool

import graphprune as gp
from graphprune.data import GraphData, from_nodes
from graphprune.graphs import EdgeRound, EdgeRule
from graphprune.methods import FitJob, FitResult, Protocol
from graphprune.methods.core.joint import JointNetwork
from graphprune.methods.pg_explainer import by_predictions
from graphprune.train import Fit
from tests.methods.graphs import Given, digest, narrow_gcn, plain_fit, random_graph, small_data, walking_predictor

RATES = {"edge_rate": 0.25, "weight_rate": 0.3}
METHODS = [gp.GSAT, gp.PGExplainer]


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def method(kind: Any, data: GraphData, **options: Any) -> Any:
    return kind(**{"rounds": 2, "predictor": walking_predictor(data), **RATES, **options})


def train(seed: int = 0, **options: Any) -> Fit:
    return Fit(**{"epochs": 2, "lr": 0.02, "batch_size": 6, "seed": seed, **options})


def whole(data: GraphData) -> Data:
    return data.train.batch(torch.arange(len(data.train)))


# ---------------------------------------------------------------------- losses


def coin(p: float, r: float) -> float:
    """The divergence of a coin from another."""
    return sum(a * math.log(a / b) for a, b in ((p, r), (1 - p, 1 - r)))


def searched(method: Any, data: GraphData) -> FitJob:
    """The first job that trains a method's predictor, after it."""
    jobs: list[FitJob] = []

    def fit(job: FitJob) -> FitResult:
        if isinstance(job.model, JointNetwork):
            jobs.append(job)
        return plain_fit(1)(job)

    next(method.rounds(narrow_gcn(data), data, fit))
    return jobs[0]


def by_hand(kind: Any, logits: list[float], noise: list[float], graphs: int, arcs: int) -> float:
    """What joins the task's loss in the first epoch, at the defaults, in plain Python."""
    if kind is gp.GSAT:
        attention = [1 / (1 + math.exp(-logit - more)) for logit, more in zip(logits, noise, strict=True)]
        return sum(coin(a, 0.9) for a in attention) / len(attention)
    attention = [1 / (1 + math.exp(-(logit + more) / 5.0)) for logit, more in zip(logits, noise, strict=True)]
    entropy = -sum(a * math.log(a) + (1 - a) * math.log(1 - a) for a in attention) / len(attention)
    both = arcs / len(attention)  # each arc counts
    return 0.05 * both * sum(attention) / graphs + entropy


@pytest.mark.parametrize("kind", METHODS)
def test_gradients_of_the_search_are_those_of_task_and_term(kind: Any, data: GraphData) -> None:
    """By finite differences of both, with the noise drawn again, in a loop that knows the task's loss alone."""
    batch = whole(data)
    batch.x = batch.x.double()
    made = method(kind, data)
    torch.manual_seed(5)
    start = torch.randn(batch.num_edges, dtype=torch.float64)
    scorer, network = Given(start.clone()), narrow_gcn(data).double()
    gates = made.gates(made._start(narrow_gcn(data), data))
    edge_round = EdgeRound(scorer, 0.25, 0.75)
    frozen = kind is gp.PGExplainer
    joint = JointNetwork(network, scorer, edge_round, EdgeRule(), data.train, None, gates, frozen).train()
    assert joint.model.training is not frozen
    number = gp.graphs.edge_units(batch.edge_index, batch.num_nodes)
    units = len(number.first)

    def task() -> Tensor:
        torch.manual_seed(7)
        return functional.cross_entropy(joint(batch), batch.y)

    def total(logits: Tensor) -> float:
        with torch.no_grad():
            scorer.logits.copy_(logits)
            torch.manual_seed(7)
            margin = 0.01 if kind is gp.PGExplainer else 1e-10
            uniform = torch.rand(units, dtype=torch.float64) * (1 - 2 * margin) + margin
            mean = [float(logits[number.unit == unit].mean()) for unit in range(units)]
            beside = by_hand(kind, mean, uniform.logit().tolist(), len(data.train), int((number.unit >= 0).sum()))
            return float(task()) + beside

    task().backward()
    grad = scorer.logits.grad
    assert grad is not None
    step = 1e-5
    for place in range(0, batch.num_edges, 5):
        ends = []
        for sign in (step, -step):
            moved = start.clone()
            moved[place] += sign
            ends.append(total(moved))
        assert float(grad[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-6)


# ---------------------------------------------------------------------- what is trained, and for what


@pytest.mark.parametrize("kind", METHODS)
def test_evaluation_draws_no_noise_and_removes_edges(kind: Any, data: GraphData) -> None:
    job = searched(method(kind, data), data)
    model, batch = job.model.eval(), job.data.test.batch(torch.arange(len(job.data.test)))
    before = torch.get_rng_state()
    with torch.no_grad():
        first, again = model(batch), model(batch)
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), before)
    left = gp.PruneEdges((EdgeRound(model.predictor, 0.25, 0.75),), EdgeRule())
    with torch.no_grad():
        alone = [model.model(_batched(left(graph))) for graph in data.test]
    torch.testing.assert_close(first, torch.cat(alone), rtol=1e-4, atol=1e-5)


def _batched(graph: Data) -> Data:
    graph.batch = torch.zeros(graph.num_nodes, dtype=torch.int64)
    return graph


@pytest.mark.parametrize("kind", METHODS)
def test_nodes_of_one_graph(kind: Any) -> None:
    graph = random_graph(torch.Generator().manual_seed(0), 30, 60)
    graph.y = torch.arange(30) % 2
    for place, split in enumerate(("train_mask", "val_mask", "test_mask")):
        graph[split] = torch.arange(30) % 3 == place
    data = from_nodes(graph, name="nodes")
    torch.manual_seed(0)
    model, predictor = gp.models.NodeGCN.for_data(data, hidden=8), gp.EdgePredictor.for_data(data, hidden=8)
    made = kind(rounds=2, predictor=predictor, **RATES)
    *_, ticket = made.rounds(model, data, Fit(epochs=2, lr=0.01))
    assert ticket.row["edge_sparsity_test"] == pytest.approx(1 - 0.75**2, abs=0.02)
    if kind is gp.PGExplainer:
        hidden = data.labels(data.train) == -100
        assert torch.equal(by_predictions(data, model).labels(data.train) == -100, hidden)
        assert torch.equal(by_predictions(data, model).train.node["y"] == -100, hidden)


# ---------------------------------------------------------------------- seeds, resuming, protocols


@pytest.mark.parametrize("options", [{}, {"protocol": Protocol(rule=EdgeRule(budget="global"))}, {"protocol": "paper"}])
@pytest.mark.parametrize("kind", METHODS)
def test_the_same_seed_gives_the_same_tickets_and_resuming_too(
    kind: Any, options: dict[str, Any], data: GraphData, tmp_path: Path
) -> None:
    made, model = method(kind, data, **options), narrow_gcn(data)
    first, second = made.rounds(model, data, train())
    torch.rand(5)  # what was drawn before does not matter
    again = next(made.rounds(model, data, train()))
    assert digest(again) == digest(first)
    again.save(tmp_path / "ticket")
    (resumed,) = made.rounds(model, data, train(), after=gp.Ticket.load(tmp_path / "ticket"))
    assert digest(resumed) == digest(second)
    assert digest(next(made.rounds(model, data, train(1)))) != digest(first)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (gp.GSAT, [{"information": 0.0}, {"temperature": 3.0}, {"prior_start": 0.75}]),
        (gp.PGExplainer, [{"size": 0.0}, {"entropy": 0.0}, {"temperature_start": 1.0}, {"temperature_epochs": 1}]),
    ],
)
def test_every_option_makes_a_difference(kind: Any, changes: list[dict[str, Any]], data: GraphData) -> None:
    made, model = method(kind, data, rounds=1, predictor_lr=0.05), narrow_gcn(data)
    found = []
    for change in ({}, *changes):
        torch.manual_seed(0)
        found.append(digest(next(made.replace(**change).rounds(model, data, plain_fit(3)))))
    assert all(left != right for number, left in enumerate(found) for right in found[:number])


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (gp.GSAT, {"predictor": None}, "GSAT needs a predictor"),
        (gp.PGExplainer, {"predictor": None}, "PGExplainer needs a predictor"),
        (gp.GSAT, {"information": -1.0}, "information must be 0 or more"),
        (gp.GSAT, {"prior": 1.0}, "prior must lie between 0 and 1"),
        (gp.GSAT, {"prior": 0.95}, "prior=0.95 lies above prior_start=0.9"),
        (gp.GSAT, {"prior_every": 0}, "prior_every must be a whole number of at least 1"),
        (gp.GSAT, {"temperature": 0.0}, "temperature must be above 0"),
        (gp.PGExplainer, {"size": math.nan}, "size must be 0 or more and finite"),
        (gp.PGExplainer, {"temperature_end": 0.0}, "temperature_end must be above 0"),
        (gp.PGExplainer, {"predictor_lr": 0.0}, "predictor_lr must be above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(kind: Any, options: dict[str, Any], message: str, data: GraphData) -> None:
    with pytest.raises(ValueError, match=message):
        method(kind, data, **options)


@pytest.mark.parametrize("kind", METHODS)
def test_edges_that_cannot_be_gated_are_refused(kind: Any, data: GraphData) -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(3, 8), nn.Linear(8, 2)

        def forward(self, batch: Data) -> Tensor:
            return self.head(global_add_pool(self.body(batch.x), batch.batch))

    with pytest.raises(TypeError, match="no convolution"):
        method(kind, data).supports(Blind(), data)


# ---------------------------------------------------------------------- motifs whose edges are known


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", METHODS)
def test_motifs_outlive_chance(kind: Any, seed: int) -> None:
    motifs = gp.data.load("planted-motif")
    torch.manual_seed(seed)
    predictor = gp.EdgePredictor.for_data(motifs, hidden=32)
    model = gp.models.GIN.for_data(motifs, hidden=32, layers=3)

    def fit(job: FitJob) -> FitResult:
        epochs = 8 if job.phase == "search" else 1  # what the ticket learns is of no interest
        return Fit(epochs=epochs, lr=5e-3, batch_size=64, seed=seed)(job)

    (ticket,) = kind(rounds=1, edge_rate=0.4, weight_rate=0.2, predictor=predictor).rounds(model, motifs, fit)
    left = ticket.prune(motifs.test)
    true = float(left.edge["edge_truth"].sum() / motifs.test.edge["edge_truth"].sum())
    assert left.num_edges / motifs.test.num_edges == pytest.approx(0.6, abs=0.01)
    assert true > 0.8  # chance keeps 0.6
