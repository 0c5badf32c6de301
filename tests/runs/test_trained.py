"""Commands that take a ticket work on the data of its run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from graphprune.cli import main
from graphprune.data import load
from graphprune.runs import RunConfig, run_one
from graphprune.runs.trained import Trained
from graphprune.ticket.models import model_of
from tests.runs.samples import NAME, tiny_run, tiny_set

OPTIONS = {"fold": 3, "split_seed": 7, "features": "raw"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of random pruning on data that have no option at its default; most of 8 channels go."""
    folder = tmp_path_factory.mktemp("trained")
    values = tiny_run(tiny_set(folder / "raw"), "random", weight_rate=0.5, edge_rate=0.3, unit="channel").plain()
    run_one(RunConfig.of({**values, "data": {**values["data"], **OPTIONS}}), folder / "run")
    return folder / "run"


def own_data(run: Path):
    return load(NAME, root=run.parent / "raw", **OPTIONS)


@pytest.mark.parametrize("part", [".", "round-1", "round-2"])
def test_a_ticket_in_a_run_has_the_data_of_its_run(run: Path, part: str) -> None:
    trained = Trained.at(run / part)
    assert trained.ticket.round == (1 if part == "round-1" else 2)
    data = trained.data({})
    assert data.digest() == own_data(run).digest()
    # The ticket's own test metric is that of its network on this test split.
    network = trained.ticket.build(model_of(trained.ticket.provenance["model"])).eval()
    with torch.no_grad():
        test = trained.ticket.edge_mask(data.test)
        y = network(data.test.keep_edges(test.keep).batch(range(len(data.test)))).argmax(1)
    assert float((y == data.test.graph["y"]).float().mean()) == pytest.approx(trained.ticket.row["test_metric"])


WRONG = [
    {"layers": "3"},
    {"head_layers": 1.5},
    {"nonsense": 1},
    {"dropout": None},
    {"encodings": 3},
    {"features": None},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_options_of_a_ticket_that_no_model_takes_are_named(run: Path, wrong: dict) -> None:
    ticket = Trained.at(run).ticket
    recorded = ticket.provenance["model"]
    ticket.provenance["model"] = {**recorded, "config": {**recorded["config"], **wrong}}
    with pytest.raises(ValueError, match=r"^the options of a recorded \w+: "):
        model_of(ticket.provenance["model"])
    for odd in (3, None, [1]):
        ticket.provenance["model"] = {**recorded, "config": odd}
        with pytest.raises(ValueError, match=r"model"):
            model_of(ticket.provenance["model"])


def test_compact_measures_the_test_samples_of_the_run(run: Path, tmp_path: Path, capsys) -> None:
    assert main(["compact", str(run), "--out", str(tmp_path / "small")]) == 0
    costs = json.loads((tmp_path / "small/costs.json").read_text())
    test = own_data(run).test
    assert {row["samples"] for row in costs.values()} == {len(test)}
    assert costs["masked"]["arcs"] == pytest.approx(test.num_edges / len(test))


def test_prune_graphs_takes_the_data_of_the_run_or_others(run: Path, tmp_path: Path) -> None:
    assert main(["prune-graphs", str(run / "round-2"), "--out", str(tmp_path / "own")]) == 0
    data, ticket = own_data(run), Trained.at(run).ticket
    for split, graphs in data.splits.items():
        assert (np.load(tmp_path / f"own/{split}.npy") == ticket.edge_mask(graphs).keep.numpy()).all()
    # An option that is given is heeded, and all others stay the run's.
    assert main(["prune-graphs", str(run), "--data-fold", "5", "--out", str(tmp_path / "fold")]) == 0
    summary = json.loads((tmp_path / "fold/summary.json").read_text())
    other = load(NAME, root=run.parent / "raw", **{**OPTIONS, "fold": 5})
    assert summary["data"]["digest"] == other.digest()
    assert main(["prune-graphs", str(run), "--data", "MUTAG", "--out", str(tmp_path / "other")]) == 0
    assert json.loads((tmp_path / "other/summary.json").read_text())["data"]["digest"] == load("MUTAG").digest()


@pytest.mark.parametrize("command", ["compact", "prune-graphs"])
def test_outside_of_a_run_the_data_are_to_be_named_and_to_be_the_tickets(
    command: str, run: Path, tmp_path: Path, capsys
) -> None:
    shutil.copytree(run / "round-2", tmp_path / "ticket")
    words = [command, str(tmp_path / "ticket"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert f"lies in no run's folder, whose config.yaml would say what it was trained on: give --data {NAME}" in (
        capsys.readouterr().err
    )
    words += ["--data", NAME, "--data-root", str(run.parent / "raw")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "was trained on other data (fold is '3 of 10, seed 7' in the ticket, '0 of 10, seed 12345' here)" in error
    assert not (tmp_path / "out").exists()
    assert main([*words, "--data-fold", "3", "--data-split-seed", "7", "--data-features", "raw"]) == 0


def test_compact_refuses_other_data_than_the_tickets(run: Path, tmp_path: Path, capsys) -> None:
    assert main(["compact", str(run), "--data-fold", "4", "--out", str(tmp_path / "out")]) == 2
    assert "fold is '3 of 10, seed 7' in the ticket, '4 of 10, seed 7' here" in capsys.readouterr().err
    changed = tiny_set(tmp_path / "changed", graphs=44)
    for command in ("compact", "prune-graphs"):
        assert main([command, str(run), "--data-root", str(changed), "--out", str(tmp_path / "out")]) == 2
        assert "was trained on other data (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_finished_round_is_named(run: Path, tmp_path: Path, capsys) -> None:
    shutil.copy(run / "config.yaml", tmp_path)
    assert main(["compact", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "has no finished round" in capsys.readouterr().err
