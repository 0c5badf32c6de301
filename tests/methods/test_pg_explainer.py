"""PGExplainer: what is frozen, what it trains for, its temperature, and what it refuses."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch

import graphprune as gp
from graphprune.data import GraphData, from_graphs
from graphprune.methods import FitJob, FitResult
from graphprune.methods.core.joint import JointNetwork
from graphprune.methods.pg_explainer import by_predictions
from tests.methods.graphs import digest, narrow_gcn, plain_fit, random_graph, small_data, walking_predictor


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def explainer(data: GraphData, **options: Any) -> gp.PGExplainer:
    return gp.PGExplainer(rounds=2, predictor=walking_predictor(data), edge_rate=0.25, weight_rate=0.3, **options)


def test_the_temperature_falls_by_the_same_factor() -> None:
    cooling = gp.PGExplainer(edge_rate=0.0, temperature_epochs=4)
    found = [cooling.temperature_at(epoch) for epoch in range(7)]
    assert found[0] == 5 and found[4:] == pytest.approx([2, 2, 2])
    assert [two / one for one, two in pairwise(found[:5])] == pytest.approx([0.4**0.25] * 4)


def test_an_explainer_leaves_its_network_as_it_is_and_trains_for_what_it_says(data: GraphData) -> None:
    jobs, ends = [], []

    def fit(job: FitJob) -> FitResult:
        before = copy.deepcopy(job.model.state_dict())
        result = plain_fit(2)(job)
        jobs.append((job, before))
        ends.append(result)
        return result

    first, second = explainer(data).rounds(narrow_gcn(data), data, fit)
    kinds = [isinstance(job.model, JointNetwork) for job, _ in jobs]
    assert kinds == [False, True, False, True, False]  # dense, explainer, ticket, explainer, ticket
    assert [row["epochs_search"] for row in (first.row, second.row)] == [4, 2]
    for place in (1, 3):
        (job, before), known = jobs[place], ends[place - 1]
        for name, value in job.model.state_dict().items():
            if name.startswith("model."):  # norms' statistics, too
                assert torch.equal(value, known.last[name.removeprefix("model.")]) and torch.equal(value, before[name])
        moved = [not torch.equal(before[f"predictor.{n}"], v) for n, v in job.model.predictor.named_parameters()]
        assert any(moved)
        network = job.model.model.eval()
        full = jobs[place - 1][0].data  # the graphs that this network was trained on
        with torch.no_grad():
            own = network(full.train.batch(torch.arange(len(full.train)))).argmax(1)
        assert torch.equal(job.data.labels(job.data.train), own)
        for split in ("val", "test"):
            assert torch.equal(job.data.labels(job.data.splits[split]), data.labels(data.splits[split]))
    expected, _ = gp.IMP(rounds=2, weight_rate=0.3).rounds(narrow_gcn(data), data, plain_fit(2))
    assert first.masks.digest() == expected.masks.digest()  # weights as IMP prunes them


def test_without_edges_to_prune_an_explainer_is_magnitude_pruning(data: GraphData) -> None:
    found = list(gp.PGExplainer(rounds=2, edge_rate=0.0, weight_rate=0.3).rounds(narrow_gcn(data), data, plain_fit(2)))
    imp = list(gp.IMP(rounds=2, weight_rate=0.3).rounds(narrow_gcn(data), data, plain_fit(2)))
    assert [digest(ticket) for ticket in found] == [digest(ticket) for ticket in imp]


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_labels_that_are_not_known_stay_unknown(task: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = [random_graph(generator, 5, 6) for _ in range(8)]
    for number, graph in enumerate(graphs):
        graph.y = torch.tensor([[float(number % 2), math.nan if number % 3 else 1 - float(number % 2)]])
    data = from_graphs(graphs, graphs, graphs, name="two", task=task)
    model = gp.models.GCN.for_data(data, hidden=8, layers=2)
    own = by_predictions(data, model)
    with torch.no_grad():
        out = model.eval()(data.train.batch(torch.arange(len(data.train))))
    wanted = (out > 0).float() if task == "binary" else out
    labels = data.labels(data.train)
    found = own.labels(own.train)
    assert torch.equal(found.isnan(), labels.isnan())
    torch.testing.assert_close(found[~labels.isnan()], wanted[~labels.isnan()])
    assert own.val is data.val and torch.equal(data.labels(data.train).nan_to_num(), labels.nan_to_num())


def test_an_explainer_refuses_what_it_cannot_do(data: GraphData) -> None:
    with pytest.raises(ValueError, match="ticket_every=1"):
        explainer(data, ticket_every=2).supports(narrow_gcn(data), data)
    degrees = gp.data.load("MUTAG")
    model = gp.models.GCN.for_data(degrees, hidden=8, layers=2)
    made = gp.PGExplainer(predictor=gp.EdgePredictor.for_data(degrees, hidden=8), degree_features="recomputed")
    with pytest.raises(ValueError, match="degree_features='full'"):
        made.supports(model, degrees)
