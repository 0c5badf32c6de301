"""Gradual inductive co-pruning: one training, tickets of many densities."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

import graphprune as gp
from graphprune.graphs import edge_units, score_arcs
from graphprune.graphs.segments import pointers
from graphprune.masks import keep_top
from graphprune.methods import GICP, TrainingDiverged
from graphprune.methods.core.edge_gates import GradualGates, TopGates
from graphprune.methods.core.norms import recalibrate_
from graphprune.train import Fit
from tests.methods.graphs import plain_fit
from tests.train.tiny import tiny

DENSITIES = (1.0, 0.6, 0.3)
EPOCHS, BATCH = 6, 64


@pytest.fixture(scope="module")
def data() -> gp.data.GraphData:
    return gp.data.load("MUTAG")


def model(data: gp.data.GraphData) -> Any:
    torch.manual_seed(0)
    return gp.models.GCN.for_data(data, hidden=8, layers=2)


def method(data: gp.data.GraphData, **changes: Any) -> GICP:
    torch.manual_seed(1)
    predictor = gp.EdgePredictor.for_data(data, hidden=8, layers=1)
    return GICP(
        **{"predictor": predictor, "densities": DENSITIES, "weight_density": 0.2, "stop": 9, "every": 3} | changes
    )


def fit(epochs: int = EPOCHS) -> Fit:
    return Fit(epochs=epochs, batch_size=BATCH, lr=0.01, seed=0)


@pytest.fixture(scope="module")
def tickets(data: gp.data.GraphData) -> list[gp.Ticket]:
    return list(method(data).rounds(model(data), data, fit()))


def test_one_training_gives_tickets_of_all_densities_in_exact_counts(
    data: gp.data.GraphData, tickets: list[gp.Ticket]
) -> None:
    assert [ticket.round for ticket in tickets] == [1, 2, 3]
    assert [ticket.row["epochs_trained"] for ticket in tickets] == [EPOCHS, 0, 0]
    whole = [data.test[i].edge_index.size(1) // 2 for i in range(len(data.test))]
    for ticket, density in zip(tickets, DENSITIES, strict=True):
        assert ticket.masks.kept == round(0.2 * ticket.masks.total)
        assert ticket.masks == tickets[0].masks
        assert all(torch.equal(value, tickets[0].last[name]) for name, value in ticket.last.items())
        left = [ticket.prune_graph(data.test[i]).edge_index.size(1) // 2 for i in range(len(data.test))]
        assert left == [round(density * units) for units in whole]


def test_what_a_row_says_is_what_the_deployed_ticket_does(data: gp.data.GraphData, tickets: list[gp.Ticket]) -> None:
    for ticket in tickets:
        network, pruned = ticket.build(model(data)).eval(), ticket.prune(data.test)
        with torch.no_grad():
            outputs = torch.cat([network(pruned.batch([i])) for i in range(len(pruned))])
        metric = data.evaluate(data.labels(data.test), outputs, split="test")
        assert metric == pytest.approx(ticket.row["test_metric"], abs=1e-9)


def test_tickets_differ_in_their_norms_alone_which_are_those_of_their_own_graphs(
    data: gp.data.GraphData, tickets: list[gp.Ticket]
) -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for ticket in tickets:
        for name, value in ticket.trained.items():
            assert name.endswith(statistics) or torch.equal(value, tickets[0].trained[name])
        network = ticket.build(model(data))
        recalibrate_(network, [ticket.prune(data.train).batch(torch.arange(len(data.train)))])
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, ticket.trained[name])
    means = [ticket.trained["norms.1.running_mean"] for ticket in tickets]
    assert not torch.allclose(means[0], means[-1])


def test_a_network_that_breaks_down_at_some_density_gives_no_ticket_of_it(data: gp.data.GraphData) -> None:
    class Fragile(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model(data)

        def forward(self, batch: Any) -> Tensor:
            out: Tensor = self.inner(batch)
            return out if self.training or batch.num_edges > 1.1 * batch.num_nodes else out * float("nan")

    run = method(data, weight_density=1.0, densities=(1.0, 0.9, 0.3)).rounds(Fragile(), data, fit())
    assert [next(run).round, next(run).round] == [1, 2]
    with pytest.raises(TrainingDiverged, match=r"with 30\.0% of the edges .* val are not finite"):
        next(run)


def test_settings_from_a_file_are_those_of_a_program(data: gp.data.GraphData) -> None:
    assert method(data, densities=(1, 0.5)).settings() == method(data, densities=[1.0, 0.5]).settings()


def test_any_density_of_the_range_is_had_from_any_ticket(
    data: gp.data.GraphData, tickets: list[gp.Ticket], tmp_path: Any
) -> None:
    tickets[0].save(tmp_path / "ticket")
    loaded = gp.Ticket.load(tmp_path / "ticket")
    again = method(data).at(0.6, loaded, model(data), data)
    assert again.row["test_metric"] == tickets[1].row["test_metric"]
    assert all(torch.equal(value, again.trained[name]) for name, value in tickets[1].trained.items())
    other = method(data).at(0.45, loaded, model(data), data)
    graph = data.test[0]
    assert other.prune_graph(graph).num_edges // 2 == round(0.45 * (graph.num_edges // 2))
    assert method(data).at(np.float32(0.45), loaded, model(data), data).row["edge_density"] == pytest.approx(0.45)
    with pytest.raises(ValueError, match="density must be a number, got True"):
        method(data).at(True, loaded, model(data), data)
    for density in (0.2, 1.1):
        with pytest.raises(ValueError, match=r"density must lie between 0\.3, the lowest trained, and 1"):
            method(data).at(density, loaded, model(data), data)
    with pytest.raises(TypeError, match="ticket must be a Ticket"):
        method(data).at(0.6, None, model(data), data)  # type: ignore[arg-type]
    assert [ticket.row["edge_density"] for ticket in (*tickets, other)] == [*DENSITIES, 0.45]
    with pytest.raises(ValueError, match="weight_density"):
        method(data, weight_density=0.5).at(0.6, loaded, model(data), data)


def test_a_ticket_tuned_further_keeps_its_edges_and_masks(
    data: gp.data.GraphData, tickets: list[gp.Ticket], tmp_path: Any
) -> None:
    plain, jobs = method(data).at(0.45, tickets[0], model(data), data), []

    def tuning(job: Any) -> Any:
        jobs.append((job.phase, job.data.train.num_edges, {k: v.clone() for k, v in job.model.state_dict().items()}))
        return fit(3)(job)

    tuned = method(data).at(0.45, tickets[0], model(data), data, tuning)
    ((phase, edges, start),) = jobs
    assert (phase, edges) == ("ticket", plain.prune(data.train).num_edges)
    assert all(torch.equal(start[name], tickets[0].last[name]) for name in start)
    assert tuned.masks == plain.masks
    assert torch.equal(tuned.edge_mask(data.test).keep, plain.edge_mask(data.test).keep)
    assert not torch.equal(tuned.trained["head.weight"], plain.trained["head.weight"])
    assert (tuned.row["epochs_trained"], len(tuned.history)) == (3, 3)
    assert tuned.row["tuned_epoch"] in (1, 2, 3)
    assert "tuning" in tuned.provenance["tuned_by"]
    network, pruned = tuned.build(model(data)).eval(), tuned.prune(data.test)
    with torch.no_grad():
        metric = data.evaluate(data.labels(data.test), network(pruned.batch(range(len(pruned)))), split="test")
    assert metric == pytest.approx(tuned.row["test_metric"], abs=1e-9)
    tuned.save(tmp_path / "tuned")
    # What another density is made of is the one training, not the tuning.
    again = method(data).at(0.6, gp.Ticket.load(tmp_path / "tuned"), model(data), data)
    assert all(torch.equal(value, again.trained[name]) for name, value in tickets[1].trained.items())
    with pytest.raises(TypeError, match="fit must return a FitResult"):
        method(data).at(0.45, tickets[0], model(data), data, lambda job: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("behind", [1, 2])
def test_a_run_goes_on_behind_a_ticket(
    data: gp.data.GraphData, tickets: list[gp.Ticket], behind: int, tmp_path: Any
) -> None:
    tickets[behind - 1].save(tmp_path / "ticket")
    rest = method(data).rounds(model(data), data, fit(), after=gp.Ticket.load(tmp_path / "ticket"))
    for found, expected in zip(rest, tickets[behind:], strict=True):
        assert found.masks == expected.masks and found.row["test_metric"] == expected.row["test_metric"]
        assert all(torch.equal(value, expected.trained[name]) for name, value in found.trained.items())


def removed(logits: Tensor, sizes: Tensor, density: float) -> Tensor:
    return keep_top(logits, pointers(sizes), (sizes.double() * density).round().long()).float()


def test_gates_remove_what_deployment_removes_and_teach_the_predictor() -> None:
    torch.manual_seed(0)
    logits, sizes = torch.randn(30, requires_grad=True), torch.tensor([7, 0, 20, 3])
    counts = (sizes.double() * 0.4).round().long()
    open_ = TopGates(0.4, 1.0)(logits, sizes, lambda: counts)
    assert torch.equal(open_.detach(), removed(logits.detach(), sizes, 0.4))
    worth = torch.randn(30)
    (open_ * worth).sum().backward()
    assert logits.grad is not None
    graphs = logits.grad.split(sizes.tolist())
    assert all(bool((part != 0).all()) and abs(float(part.sum())) < 1e-5 for part in graphs if len(part))  # rivals


def unused() -> Tensor:
    raise AssertionError("the gates have a density of their own")


@pytest.mark.parametrize("removal", ["top", "gumbel"])
def test_batches_meet_all_densities_down_to_the_schedules(removal: Any) -> None:
    torch.manual_seed(0)
    gates = GradualGates(removal, 1.0, over_range=True)
    logits, sizes = torch.randn(1000), torch.tensor([1000])
    assert torch.equal(gates(logits, sizes, unused), torch.ones(1000))  # dense at first
    lowest = 0.4
    gates.lowest = lambda: lowest
    shares = [float(gates(logits, sizes, unused).mean()) for _ in range(300)]
    slack = 1e-3 if removal == "top" else 0.05
    assert lowest - slack <= min(shares) < lowest + 0.05 and 0.95 < max(shares) <= 1
    alone = GradualGates(removal, 1.0, over_range=False)
    alone.lowest = lambda: lowest
    assert abs(float(alone(logits, sizes, unused).mean()) - lowest) <= slack


def test_a_global_budget_is_met_on_the_training_graphs_and_its_threshold_goes_along(data: gp.data.GraphData) -> None:
    budget = gp.Protocol(rule=gp.EdgeRule(budget="global"))
    found = list(method(data, protocol=budget).rounds(model(data), data, fit()))
    pairs = sum(data.train[i].num_edges // 2 for i in range(len(data.train)))
    shares = set()
    for ticket, density in zip(found, DENSITIES, strict=True):
        assert ticket.row["edge_sparsity_train"] == pytest.approx(1 - round(density * pairs) / pairs)
        left = ticket.prune(data.train)  # by the threshold, which edges of equal score reach together
        stage = ticket.edges.rounds[-1]
        assert stage.scorer is not None and stage.threshold is not None
        batch = data.train.batch(torch.arange(len(data.train)))
        units = edge_units(batch.edge_index, int(batch.num_nodes), "pair")
        above = int((units.mean(score_arcs(stage.scorer, batch)).float() > stage.threshold).sum())
        assert above < round(density * pairs) <= left.num_edges // 2
        shares |= {round(left[i].num_edges / data.train[i].num_edges, 3) for i in range(20)}
    assert len(shares) > 10  # not each graph's own share
    again = method(data, protocol=budget).at(0.6, found[0], model(data), data)
    assert again.row["edge_sparsity_test"] == found[1].row["edge_sparsity_test"]


def test_weights_can_keep_a_share_of_each_layer(data: gp.data.GraphData) -> None:
    (ticket,) = method(data, scope="layer", densities=(0.5,)).rounds(model(data), data, fit())
    for mask in ticket.masks.values():
        assert int(mask.sum()) == round(0.2 * mask.numel())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"densities": (0.3, 0.6)}, "densities must fall"),
        ({"densities": (0.5, 0.5)}, "densities must fall"),
        ({"densities": ()}, "densities must be shares"),
        ({"densities": (1.0, 0.0)}, "densities must be shares"),
        ({"weight_density": 0.0}, "weight_density must lie"),
        ({"train_densities": "all"}, "train_densities must be one of range, lowest"),
        ({"predictor": None}, "needs a predictor"),
        ({"temperature": 0.0}, "temperature must be above 0 and finite"),
        ({"temperature": float("inf")}, "temperature must be above 0 and finite"),
        ({"stop": 0}, "stop must be"),
        ({"edge_gates": "soft"}, "edge_gates must be one of gumbel, top, got 'soft'"),
        ({"scope": "block"}, "scope must be one of global, layer"),
        ({"predictor_lr": -1.0}, "predictor_lr must be above 0"),
        ({"predictor_lr": "x"}, "predictor_lr must be a number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data: gp.data.GraphData, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(data, **changes)


def test_data_and_trainings_that_do_not_fit_are_refused_before_anything_is_trained(data: gp.data.GraphData) -> None:
    with pytest.raises(ValueError, match=r"densities: 0\.001 leaves no training graph"):
        next(method(data, densities=(1.0, 0.001)).rounds(model(data), data, fit()))
    with pytest.raises(ValueError, match=r"weight_density=1e-06 keeps none of the"):
        next(method(data, weight_density=1e-6).rounds(model(data), data, fit()))
    with pytest.raises(ValueError, match=r"predictor reads features=4, those of MUTAG are 109"):
        next(method(data, predictor=gp.EdgePredictor(4, hidden=8)).rounds(model(data), data, fit()))
    with pytest.raises(ValueError, match="predictor must be a module"):
        next(method(data, predictor="mine").rounds(model(data), data, fit()))
    digits = gp.data.load("digits")
    with pytest.raises(ValueError, match="digits is a set of images"):
        next(method(data).rounds(gp.models.LeNet300.for_data(digits), digits, fit()))
    for weights in (1.0, 0.2):
        with pytest.raises(ValueError, match="stop=500 lies after the"):
            next(method(data, stop=500, weight_density=weights).rounds(model(data), data, fit()))
    floor = gp.Protocol(rule=gp.EdgeRule(count="floor"))
    with pytest.raises(ValueError, match="count='cumulative'"):
        next(method(data, protocol=floor).rounds(model(data), data, fit()))


def test_a_loop_of_ones_own_that_is_too_short_is_told_so(data: gp.data.GraphData) -> None:
    with pytest.raises(RuntimeError, match="ended after optimiser step 3, but densities fall until stop=500: lower"):
        next(method(data, stop=500, weight_density=1.0).rounds(model(data), data, plain_fit(3)))


def test_only_epochs_with_the_final_schedule_are_selected(data: gp.data.GraphData) -> None:
    steps = -(-len(data.train) // BATCH)
    late = method(data, stop=4 * steps + 1, weight_density=1.0, densities=(0.5,))
    (ticket,) = late.rounds(model(data), data, fit())
    assert ticket.row["epoch"] >= 5 and ticket.masks.sparsity == 0


@pytest.mark.parametrize("kind", ["GIN", "SAGE", "GAT"])
@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_rows_are_of_the_deployed_ticket_with_every_network_and_task(kind: str, task: Any) -> None:
    rings = tiny(task)
    torch.manual_seed(0)
    network = getattr(gp.models, kind).for_data(rings, hidden=8, layers=2)
    predictor = gp.EdgePredictor.for_data(rings, hidden=8, layers=1, score="bilinear", walks=4)
    run = method(rings, predictor=predictor, weight_density=0.5, stop=2, densities=(0.8, 0.5))
    for ticket in run.rounds(network, rings, Fit(epochs=3, batch_size=12, precision="bf16-mixed")):
        built = ticket.build(network).eval()
        sparse = [ticket.prune_graph(rings.test[i]) for i in range(len(rings.test))]
        whole = [rings.test[i].num_edges // 2 for i in range(len(rings.test))]
        share = (0.8, 0.5)[ticket.round - 1]
        assert [graph.num_edges // 2 for graph in sparse] == [round(share * units) for units in whole]
        with torch.no_grad():
            outputs = torch.cat([built(Batch.from_data_list([graph])) for graph in sparse])
        assert rings.evaluate(rings.labels(rings.test), outputs, split="test") == pytest.approx(
            ticket.row["test_metric"], abs=1e-5
        )


def test_a_stop_may_be_a_share_of_the_training(data: gp.data.GraphData) -> None:
    steps = EPOCHS * -(-len(data.train) // BATCH)
    first, second = (next(method(data, stop=stop).rounds(model(data), data, fit())) for stop in (9, 9 / steps))
    assert all(torch.equal(value, second.trained[name]) for name, value in first.trained.items())
    assert second.provenance["settings"]["stop"] == 9 / steps
    with pytest.raises(ValueError, match="stop must be a whole number of optimiser steps, or a share"):
        method(data, stop=1.0)
