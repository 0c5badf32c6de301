"""Runs, grids and reports on images."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.data import load
from graphprune.models import MODELS, ImageClassifier
from graphprune.report.report import write_report
from graphprune.runs import RunConfig, run_one
from graphprune.runs.build import build, check, trial
from graphprune.runs.listing import listing
from graphprune.runs.options import canonical, run_parser
from graphprune.runs.run import weights
from graphprune.runs.tickets import prune_data
from graphprune.ticket import Ticket
from tests.runs.same import assert_same_run

IMAGES = [name for name, model in MODELS.items() if issubclass(model, ImageClassifier)]


def config(method: str = "dense", model: str = "lenet-300-100", data: str = "digits", **options: Any) -> RunConfig:
    pytest.importorskip("sklearn", reason="digits are scikit-learn's")
    sections = {"method": {"name": method, **options}, "data": {"name": data}, "model": {"name": model, "hidden": 12}}
    if data == "digits":
        sections["data"]["limit"] = 200
    return RunConfig.of({**sections, "fit": {"epochs": 2, "lr": 0.05, "batch_size": 32, "optimizer": "nesterov"}})


@pytest.mark.parametrize("model", IMAGES)
def test_settings_of_large_networks_are_checked_without_making_them(model: str) -> None:
    RunConfig.of({"method": {"name": "dense"}, "data": {"name": "cifar10"}, "model": {"name": model}})
    huge = trial(MODELS[model], hidden=3000)
    assert all(parameter.is_meta for parameter in huge.parameters())
    wrong = RunConfig.of(
        {"method": {"name": "dense"}, "data": {"name": "cifar10"}, "model": {"name": model, "hidden": 0}}
    )
    with pytest.raises(ValueError, match=r"hidden must be .* got 0"):
        check(wrong)


def test_the_options_of_published_trainings_come_from_files_and_the_command_line(tmp_path: Path) -> None:
    fit = {"optimizer": "nesterov", "milestones": [0.5, 0.75], "label_smoothing": 0.1}
    values = {"method": {"name": "dense"}, "data": {"name": "cifar10"}, "model": {"name": "vgg-19"}, "fit": fit}
    made = RunConfig.of(values)
    made.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == made
    assert {name: made.fit[name] for name in fit} == fit
    parser = run_parser("dense", "vgg-19")
    words = ["--data=cifar10", "--model=vgg-19", "--milestones=[0.5, 0.75]", "--label-smoothing", "0.1"]
    words = canonical([*words, "--optimizer=nesterov"], [action.dest for action in parser._actions])
    assert RunConfig.parsed(parser, parser.parse_args(words)) == made
    for name, value in (("milestones", [0.5, "late"]), ("optimizer", "nestrov"), ("label_smoothing", "some")):
        with pytest.raises(ValueError, match=f"fit.{name}"):
            RunConfig.of(values | {"fit": {name: value}})
    with pytest.raises(ValueError, match=r"milestones must be shares .* got \[0.5, 1.5\]"):
        check(RunConfig.of(values | {"fit": {"milestones": [0.5, 1.5]}}))


def test_a_run_leaves_everything_behind(tmp_path: Path) -> None:
    rows = run_one(config("imp", rounds=2), tmp_path / "run")
    assert [round(row["weight_sparsity"], 2) for row in rows] == [0.2, 0.36]
    (sitting,) = json.loads((tmp_path / "run/provenance.json").read_text())
    assert sitting["data"]["images"] == {"train": 200, "val": 180, "test": 359}
    assert "graphs" not in sitting["data"]
    ticket = Ticket.load(tmp_path / "run/round-2")
    model = ticket.build(MODELS["lenet-300-100"](**ticket.provenance["model"]["config"]))
    data = load("digits", limit=200)
    out = model.eval()(data.test.batch(range(len(data.test))).x)
    assert float((out.argmax(1) == data.test.y).float().mean()) == pytest.approx(rows[1]["test_metric"])


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    run_one(config("imp", rounds=1), tmp_path / "grown")
    run_one(config("imp", rounds=2), tmp_path / "grown")
    run_one(config("imp", rounds=2), tmp_path / "whole")
    assert_same_run(tmp_path / "grown", tmp_path / "whole")


def test_a_report_counts_images(tmp_path: Path) -> None:
    run_one(config(), tmp_path / "dense")
    run_one(config("imp", rounds=1), tmp_path / "imp")
    page = write_report([tmp_path], tmp_path).markdown.read_text()
    assert "Images: 200 train, 180 val, 359 test" in page
    assert "Graphs:" not in page


@pytest.mark.parametrize(
    ("method", "model", "data", "problem"),
    [
        ("icpg", "lenet-300-100", "digits", "digits is a set of images: they have no edges"),
        ("dense", "gin", "digits", "GIN reads graphs, this data has labels of an image: take LeNet300"),
        ("dense", "node-gcn", "digits", "NodeGCN reads graphs"),
        ("dense", "lenet-5", "digits", "LeNet5 needs images of at least 16 x 16 pixels, got 8 x 8"),
        ("dense", "resnet-20", "MUTAG", "ResNet20 classifies images, this data has labels of a graph: take a graph"),
    ],
)
def test_what_does_not_fit_together_is_named(method: str, model: str, data: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        build(config(method, model, data))


def test_no_edges_are_pruned_from_images(tmp_path: Path) -> None:
    run_one(config(), tmp_path / "run")
    ticket = Ticket.load(tmp_path / "run/round-1")
    with pytest.raises(ValueError, match="digits is a set of images: there are no edges to prune"):
        prune_data(ticket, load("digits"), tmp_path / "masks", "here")
    assert not (tmp_path / "masks").exists()


def test_the_list_says_what_a_model_reads() -> None:
    lines = {line.split()[0]: line.split()[1:3] for line in listing().splitlines() if line.split()}
    assert lines["gin"] == lines["ugs-gat"] == ["graphs", "yes"]
    assert all(lines[name] == ["images", "-"] for name in IMAGES)


def test_weights_of_a_deep_network_are_told_briefly() -> None:
    told = weights(build(config(model="resnet-110")))
    assert told.count(".weight") < 30
    assert "stem.conv.weight" in told and "85 more" in told and "480 (head: it gives what leaves the model)" in told


def test_initial_weights_depend_on_the_seed_and_the_model_alone() -> None:
    one, other = (build(config(method)).model for method in ("dense", "imp"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
