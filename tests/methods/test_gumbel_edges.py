"""Edges that are removed by chance while ICPG's predictor trains: how often, for whom, with which gradient."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import TAGConv, global_add_pool

from graphprune import ICPG, EdgePredictor, Ticket
from graphprune.data import GraphData
from graphprune.graphs import EdgeRound, EdgeRule, register_soft_edges
from graphprune.graphs.edges import drop_arcs
from graphprune.methods import Protocol, TrainingDiverged
from graphprune.methods.core.edge_gates import SampledGates, soft_gates, to_share
from graphprune.methods.core.joint import JointNetwork
from graphprune.models import GAT, GCN, GIN, SAGE
from graphprune.train import Fit
from tests.methods.graphs import Given, digest, plain_fit, small_data

RATES = {"edge_rate": 0.25, "weight_rate": 0.3}


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def network(data: GraphData, kind: Any = GCN) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = kind.for_data(data, hidden=8, layers=2)
    return model


def icpg(data: GraphData, **options: Any) -> ICPG:
    torch.manual_seed(1)
    predictor = EdgePredictor.for_data(data, hidden=8, layers=2)
    return ICPG(**{"rounds": 2, "predictor": predictor, "edge_gates": "gumbel", **RATES, **options})


def joint(data: GraphData, predictor: nn.Module, gates: Any, kind: Any = GCN, **rule: Any) -> JointNetwork:
    edge_round = EdgeRound(predictor, 0.25, 0.75)
    return JointNetwork(network(data, kind), predictor, edge_round, EdgeRule(**rule), data.train, unit_gates=gates)


def whole(data: GraphData) -> Data:
    return data.train.batch(torch.arange(len(data.train)))


# ---------------------------------------------------------------------- the shift


@st.composite
def segments(draw: st.DrawFn) -> tuple[Tensor, list[int]]:
    sizes = draw(st.lists(st.integers(0, 7), min_size=1, max_size=5))
    scale = draw(st.sampled_from([0.0, 1.0, 30.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return scale * torch.randn(sum(sizes), generator=generator, dtype=torch.float64), sizes


@settings(max_examples=60, deadline=None)
@given(segments(), st.sampled_from([0.02, 0.5, 0.95]), st.floats(-50, 50))
def test_each_segment_has_the_wanted_mean_whatever_is_added(
    case: tuple[Tensor, list[int]], share: float, added: float
) -> None:
    logits, sizes = case
    shifted = to_share(logits, torch.tensor(sizes), share)
    for before, after in zip(logits.split(sizes), shifted.split(sizes), strict=True):
        if before.numel():
            assert abs(float(after.sigmoid().mean()) - share) < 1e-4
            assert torch.allclose(before - after, (before - after)[0])
    first = torch.arange(len(logits)) < sizes[0]
    again = to_share(torch.where(first, logits + added, logits), torch.tensor(sizes), share)
    assert torch.allclose(again.sigmoid(), shifted.sigmoid(), atol=1e-4)


def test_the_shift_has_the_gradient_of_the_equation_that_it_solves() -> None:
    sizes, weight = torch.tensor([4, 0, 1, 6]), torch.randn(11, dtype=torch.float64)

    def objective(logits: Tensor) -> Tensor:
        return (to_share(logits, sizes, 0.8).sigmoid() * weight).sum()

    logits = torch.randn(11, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(objective(logits), logits)
    for part in grad.split(sizes.tolist()):  # what all edges of a graph gain together, the shift takes back
        assert abs(float(part.sum())) < 1e-9
    step = 1e-3
    for place in range(11):
        near = [logits.detach().clone() for _ in range(2)]
        near[0][place] += step
        near[1][place] -= step
        slope = (objective(near[0]) - objective(near[1])) / (2 * step)
        assert abs(float(slope - grad[place])) < 1e-3


@pytest.mark.parametrize("logits", [[0.0, 1e6, -1e6, 3.0], [1e4, 0.0, 0.0, 0.0], [7.0] * 4])
@pytest.mark.parametrize("share", [0.25, 0.5, 1 - 1e-9, 1.0])
def test_logits_far_apart_give_finite_gates_and_gradients(logits: list[float], share: float) -> None:
    values = torch.tensor(logits, requires_grad=True)
    shifted = to_share(values, torch.tensor([4]), share)
    shifted.sigmoid().square().sum().backward()
    assert bool(shifted.isfinite().all()) and values.grad is not None and bool(values.grad.isfinite().all())
    assert abs(float(shifted.detach().sigmoid().mean()) - share) < 0.02


# ---------------------------------------------------------------------- the gates


def test_gates_are_0_or_1_shared_by_both_arcs_and_fresh(data: GraphData) -> None:
    batch = whole(data)
    loop = torch.full((2, 1), 2)
    batch.edge_index = torch.cat([batch.edge_index, loop], dim=1)
    both = joint(data, Given(torch.randn(batch.num_edges)), SampledGates(0.6, 1.0))
    torch.manual_seed(0)
    draws = torch.stack([both.gates(batch) for _ in range(8)]).detach()
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert bool((draws[:, -1] == 1).all())
    assert len({tuple(draw.tolist()) for draw in draws}) == 8
    for arcs in (batch.edge_index[:, number] for number in range(batch.num_edges - 1)):
        state = (batch.edge_index == arcs[:, None]).all(0)
        back = (batch.edge_index == arcs.flip(0)[:, None]).all(0)
        assert torch.equal(draws[:, state], draws[:, back])
    torch.manual_seed(0)
    assert torch.equal(both.gates(batch), draws[0])


@pytest.mark.parametrize("budget", ["graph", "global"])
def test_edges_stay_as_often_as_their_logits_and_the_rate_say(budget: str, data: GraphData) -> None:
    batch, rate = whole(data), 0.25
    graph = batch.batch[batch.edge_index[0]]
    torch.manual_seed(3)
    logits = torch.randn(batch.num_edges) + 3 * (graph % 2)
    both = joint(data, Given(logits), SampledGates(1 - rate, 1.0), unit="arc", budget=budget)
    with torch.no_grad():
        often = torch.stack([both.gates(batch) for _ in range(3000)]).mean(0)
    groups = [graph == number for number in graph.unique()] if budget == "graph" else [graph >= 0]
    for group in groups:
        low, high = -20.0, 20.0  # the shift by hand
        while high - low > 1e-6:
            middle = (low + high) / 2
            stay = (logits[group].double() - middle).sigmoid().mean()
            low, high = (middle, high) if stay > 1 - rate else (low, middle)
        assert torch.allclose(often[group].double(), (logits[group].double() - low).sigmoid(), atol=0.045)
        assert abs(float(often[group].mean()) - (1 - rate)) < 0.02


@pytest.mark.parametrize("kind", [GCN, GIN, SAGE, GAT])
def test_a_closed_gate_is_a_missing_edge(kind: Any, data: GraphData) -> None:
    batch = whole(data)
    both = joint(data, Given(torch.randn(batch.num_edges)), SampledGates(0.6, 1.0), kind)
    gates = both.gates(batch).detach()
    assert 0 < int(gates.sum()) < len(gates)
    forced = joint(data, Given(gates * 2 - 1), lambda logits, sizes, targets: (logits > 0).float(), kind).train()
    bare = copy.deepcopy(forced.model)
    assert torch.allclose(forced(batch), bare(drop_arcs(batch, gates > 0)), atol=1e-5)


def test_evaluation_removes_edges_by_rank_as_ever(data: GraphData) -> None:
    method = icpg(data)
    seen = []

    def fit(job: Any) -> Any:
        if job.phase == "search":
            job.model.eval()
            batch = job.data.val.batch(torch.arange(len(job.data.val)))
            with torch.no_grad():
                seen.append((job.model(batch), job.model(batch)))
        return plain_fit(1)(job)

    for gates in ("gumbel", "soft"):
        next(method.replace(edge_gates=gates).rounds(network(data), data, fit))
    (first, again), (soft, _) = seen
    assert torch.equal(first, again) and torch.equal(first, soft)


def test_gradients_reach_the_predictor_and_fade_with_the_temperature(data: GraphData) -> None:
    batch, sizes = whole(data), []
    for temperature in (1.0, 50.0):
        torch.manual_seed(1)
        predictor = EdgePredictor.for_data(data, hidden=8, layers=2)
        both = joint(data, predictor, SampledGates(0.75, temperature)).train()
        torch.manual_seed(2)
        nn.functional.cross_entropy(both(batch), batch.y).backward()
        grads = [parameter.grad for parameter in predictor.parameters()]
        assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
        assert any(bool((grad != 0).any()) for grad in grads if grad is not None)
        sizes.append(sum(float(grad.abs().sum()) for grad in grads if grad is not None))
    assert sizes[1] < sizes[0]


def test_graphs_without_edges_are_left_alone(data: GraphData) -> None:
    full = whole(data)
    alone = drop_arcs(full, torch.zeros(full.num_edges, dtype=torch.bool))
    some = drop_arcs(full, full.batch[full.edge_index[0]] == 5)
    for batch in (alone, some):
        both = joint(data, Given(torch.zeros(batch.num_edges)), SampledGates(0.5, 1.0)).train()
        assert both.gates(batch).shape == (batch.num_edges,)
        assert bool(both(batch).isfinite().all())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("gates", [soft_gates, SampledGates(0.5, 1.0)])
def test_scores_that_are_no_numbers_are_a_divergence(bad: float, gates: Any, data: GraphData) -> None:
    batch = whole(data)
    logits = torch.zeros(batch.num_edges)
    logits[3] = bad
    with pytest.raises(TrainingDiverged, match="predictor's scores"):
        joint(data, Given(logits), gates).gates(batch)


# ---------------------------------------------------------------------- the method


def train(seed: int = 0) -> Fit:
    return Fit(epochs=2, lr=0.02, batch_size=6, seed=seed)


@pytest.mark.parametrize("options", [{}, {"protocol": Protocol(rule=EdgeRule(budget="global"))}, {"protocol": "paper"}])
def test_the_same_seed_gives_the_same_tickets_and_resuming_too(
    options: dict[str, Any], data: GraphData, tmp_path: Any
) -> None:
    method, model = icpg(data, **options), network(data)
    first, second = method.rounds(model, data, train())
    torch.rand(5)  # what was drawn before does not matter
    again = next(method.rounds(model, data, train()))
    assert digest(again) == digest(first)
    again.save(tmp_path / "ticket")
    (resumed,) = method.rounds(model, data, train(), after=Ticket.load(tmp_path / "ticket"))
    assert digest(resumed) == digest(second)


def test_gates_and_seeds_make_a_difference(data: GraphData) -> None:
    method, model = icpg(data), network(data)
    found = [digest(next(method.rounds(model, data, train(seed)))) for seed in (0, 1)]
    found.append(digest(next(method.replace(temperature=0.2).rounds(model, data, train()))))
    found.append(digest(next(method.replace(edge_gates="soft").rounds(model, data, train()))))
    assert all(left != right for number, left in enumerate(found) for right in found[:number])


def test_runs_from_before_there_were_gates_can_go_on(data: GraphData) -> None:
    soft, model = icpg(data, edge_gates="soft"), network(data)
    assert soft.settings().keys() & {"edge_gates", "temperature"} == set()
    old = next(soft.rounds(model, data, plain_fit(1)))
    assert [ticket.round for ticket in soft.rounds(model, data, plain_fit(1), after=old)] == [2]
    sampled = icpg(data)
    with pytest.raises(ValueError, match=r"edge_gates: 'nothing' in the ticket, 'gumbel' now"):
        next(sampled.rounds(model, data, plain_fit(1), after=old))
    new = next(sampled.rounds(model, data, plain_fit(1)))
    for other in (soft, sampled.replace(temperature=2.0)):
        with pytest.raises(ValueError, match=r"edge_gates|temperature"):
            next(other.rounds(model, data, plain_fit(1), after=new))


@pytest.mark.parametrize("rule", [EdgeRule(), EdgeRule(unit="arc", count="floor"), EdgeRule(budget="global")])
def test_straight_through_training_removes_as_many_edges_as_the_round_will(rule: EdgeRule, data: GraphData) -> None:
    method, met = icpg(data, edge_gates="top", rounds=3, edge_rate=0.15, protocol=Protocol(rule=rule)), []

    def fit(job: Any) -> Any:
        if job.phase == "search":
            batch = whole(job.data)
            gates = job.model.train().gates(batch).detach()
            assert set(gates.tolist()) <= {0.0, 1.0}
            met.append(torch.zeros(len(job.data.train)).index_add(0, batch.batch[batch.edge_index[0]], gates))
        return plain_fit(1)(job)

    for ticket in method.rounds(network(data), data, fit):
        left = ticket.prune(data.train).edge_count
        if rule.budget == "global":  # all of one budget; edges of equal score may stay together where it is deployed
            assert abs(int(met[-1].sum()) - int(left.sum())) <= 4
        else:
            assert met[-1].tolist() == left.tolist()


def test_straight_through_training_is_another_training(data: GraphData) -> None:
    digests = [
        digest(next(icpg(data, edge_gates=gates).rounds(network(data), data, train())))
        for gates in ("soft", "gumbel", "top")
    ]
    assert all(left != right for number, left in enumerate(digests) for right in digests[:number])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_above_0_is_refused(temperature: float, data: GraphData) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        icpg(data, temperature=temperature)


def test_unknown_gates_are_refused(data: GraphData) -> None:
    with pytest.raises(ValueError, match="edge_gates must be one of soft, gumbel, top, got 'hard'"):
        icpg(data, edge_gates="hard")


class ByWeight(TAGConv):
    """A convolution that a user has taught by weights of edges, which have no gradient at nodes without edges."""


def by_weight(conv: Any, gate: Any) -> list[Any]:
    def weigh(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {**kwargs, "edge_weight": gate()}

    return [conv.register_forward_pre_hook(weigh, with_kwargs=True)]


register_soft_edges(ByWeight, by_weight)


class Taught(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = ByWeight(3, 8), nn.Linear(8, 2)

    def forward(self, data: Data) -> Tensor:
        return self.head(global_add_pool(self.conv(data.x, data.edge_index), data.batch))


@pytest.mark.parametrize("gates", ["top", "gumbel"])
def test_an_adapter_without_gradients_is_named(gates: Any, data: GraphData) -> None:
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match=r"conv \(ByWeight\): the gradient of its gates is not finite"):
        list(icpg(data, edge_gates=gates, edge_rate=0.9).rounds(Taught(), data, plain_fit()))
