"""Where the test graphs select, graphs that were only held out for validation train."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graphprune import ICPG, IMP, UGS, EdgePredictor, NoEdges, Protocol
from graphprune.data import GraphData, load
from graphprune.data.sets import bundled
from graphprune.data.splits import SEED, stratified_folds
from graphprune.graphs import PackedGraphs
from graphprune.methods import FitJob, FitResult, Method
from graphprune.models import GCN
from graphprune.runs import RunConfig, run_one
from graphprune.runs.trained import Trained
from tests.methods.graphs import plain_fit, small_data


def network(data: GraphData) -> GCN:
    torch.manual_seed(0)
    return GCN.for_data(data, hidden=4, layers=1)


def trained_on(method: Method, data: GraphData) -> list[FitJob]:
    """The trainings of a method."""
    jobs: list[FitJob] = []

    def fit(job: FitJob) -> FitResult:
        jobs.append(job)
        return plain_fit(1)(job)

    list(method.rounds(network(data), data, fit))
    return jobs


def bags(graphs: PackedGraphs) -> list[str]:
    """All that there is of each graph."""
    return [str([graph[name].tolist() for name in ("x", "edge_index", "y")]) for graph in graphs]


@pytest.mark.parametrize("fold", [0, 4, 9])
def test_nine_folds_train_under_the_published_protocol(fold: int) -> None:
    data = load("MUTAG", fold=fold)
    jobs = trained_on(IMP(rounds=1, protocol="paper"), data)
    # The other nine folds are the graphs that test in them.
    others = [load("MUTAG", fold=other).test for other in range(10) if other != fold]
    for job in jobs:
        assert Counter(bags(job.data.train)) == Counter(bag for part in others for bag in bags(part))
        assert bags(job.data.val) == bags(job.data.test) == bags(data.test)
    assert len(jobs[0].data.train) == 188 - len(data.test) == {0: 169, 4: 169, 9: 170}[fold]
    # They stand in the order of the set, as the authors have them: their scores are of 128 graphs at a time.
    whole = bundled.mutag().graphs
    nine = np.flatnonzero(stratified_folds(whole.graph["y"].numpy(), 10, SEED) != fold)
    assert torch.equal(jobs[0].data.train.edge_index, whole.select(nine.tolist()).edge_index)
    assert torch.equal(jobs[0].data.train.graph["y"], whole.graph["y"][nine])


def test_all_methods_that_are_compared_train_on_the_same_graphs() -> None:
    data = load("MUTAG")
    torch.manual_seed(0)
    predictor = EdgePredictor.for_data(data, hidden=4, layers=1)
    methods = [ICPG(rounds=1, predictor=predictor, protocol="paper"), NoEdges(protocol=Protocol(select="test"))]
    assert [[len(job.data.train) for job in trained_on(method, data)] for method in methods] == [[169, 169], [169]]


@pytest.mark.parametrize("protocol", ["clean", Protocol(rule=UGS(protocol="paper").protocol.rule)])
def test_where_validation_selects_its_graphs_do_not_train(protocol: str | Protocol) -> None:
    data = load("MUTAG")
    (job,) = trained_on(NoEdges(protocol=protocol), data)
    assert [len(graphs) for graphs in job.data.splits.values()] == [152, 17, 19]


@pytest.mark.parametrize("kind", ["published", "of the user", "generated", "cut by the user"])
def test_splits_that_were_not_drawn_from_the_training_graphs_stay(kind: str) -> None:
    part = load("MUTAG")
    data = {
        "published": load("ogbg-molbace"),
        "of the user": small_data(),
        "generated": load("planted-motif"),
        "cut by the user": part.with_splits(train=part.train.select(range(20))),
    }[kind]
    (job,) = trained_on(NoEdges(protocol=Protocol(select="test")), data)
    assert len(job.data.train) == len(data.train)


def test_graphs_with_more_attributes_are_held_out_as_before() -> None:
    data = load("MUTAG")
    more = {split: graphs.with_graph(extra=graphs.graph["y"]) for split, graphs in data.splits.items()}
    (job,) = trained_on(NoEdges(protocol="paper"), data.with_splits(**more))
    assert len(job.data.train) == 169
    with pytest.raises(ValueError, match="'extra' is not in all of the training and validation graphs"):
        trained_on(NoEdges(protocol="paper"), data.with_splits(train=more["train"]))


def test_a_run_goes_on_behind_its_own_tickets_and_not_behind_those_of_other_graphs() -> None:
    data, method = load("MUTAG"), IMP(rounds=2, protocol="paper")
    tickets = list(method.rounds(network(data), data, plain_fit(1)))
    (again,) = method.rounds(network(data), data, plain_fit(1), after=tickets[0])
    assert again.masks == tickets[1].masks
    assert all(torch.equal(value, tickets[1].trained[name]) for name, value in again.trained.items())
    apart = replace(data, held_out=())  # as older versions had them
    old = next(method.rounds(network(data), apart, plain_fit(1)))
    with pytest.raises(ValueError, match="cannot continue after round 1"):
        next(method.rounds(network(data), data, plain_fit(1), after=old))


def test_the_command_line_trains_on_them_and_says_so(tmp_path: Path) -> None:
    values = {
        "method": {"name": "imp", "rounds": 1, "protocol": "paper"},
        "data": {"name": "MUTAG", "fold": 2},
        "model": {"name": "gcn", "hidden": 4, "layers": 1},
        "fit": {"epochs": 1},
    }
    run_one(RunConfig.of(values), tmp_path)
    (entry,) = json.loads((tmp_path / "provenance.json").read_text())
    assert entry["data"]["graphs"] == {"train": 169, "val": 19, "test": 19}
    assert "which trains here: the test graphs select" in entry["data"]["split"]
    assert entry["data"]["digest"] == load("MUTAG", fold=2).digest()  # reports put runs on the same data together
    trained = Trained.at(tmp_path)
    assert trained.ticket.provenance["data"]["split"] == entry["data"]["split"]
    assert trained.data({}).digest() == load("MUTAG", fold=2).digest()
