"""Runs and grids on sets with encodings: options, folders, unseen graphs, and reports that tell them apart."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune import cli
from graphprune.report.collect import collect
from graphprune.report.report import facts
from graphprune.runs import RunConfig, run_one
from tests.runs.same import assert_same_run

WALKS = {"walks": 4}


def config(rounds: int = 1, encodings: Any = WALKS, **options: Any) -> RunConfig:
    values: dict[str, Any] = {
        "method": {"name": "icpg", "rounds": rounds, "edge_rate": 0.2},
        "data": {"name": "MUTAG"} | ({} if encodings is None else {"encodings": encodings}),
        "model": {"name": "gcn", "hidden": 4, "layers": 1},
        "fit": {"epochs": 1, "batch_size": 64},
        "predictor": {"hidden": 4, "layers": 1},
    }
    return RunConfig.of({name: section | options.get(name, {}) for name, section in values.items()})


def test_a_run_is_resumed_and_knows_other_data(tmp_path: Path) -> None:
    run_one(config(2), tmp_path / "whole")
    run_one(config(1), tmp_path / "grown")
    rows = run_one(config(2), tmp_path / "grown")
    assert_same_run(tmp_path / "grown", tmp_path / "whole")
    assert rows[0]["data.encodings.walks"] == 4
    ticket = gp.Ticket.load(tmp_path / "whole/round-2")
    assert ticket.edges.encodings == gp.Encodings(walks=4) and "walks=4" in ticket.provenance["data"]["encodings"]
    for other in (None, {"walks": 5}):
        with pytest.raises(FileExistsError, match=r"data\.encodings\.walks: 4 -> "):
            run_one(config(2, other), tmp_path / "whole")


def test_configurations_without_are_as_they_were() -> None:
    assert "encodings" not in config(encodings=None).plain()["data"]
    assert config(encodings=gp.Encodings(walks=4).config()) == config()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 4}, r"unknown option data\.encodings\.steps: there are walks"),
        ({"walks": "x"}, r"data\.encodings: walks: expected int, got 'x'"),
        (4, r"data\.encodings: expected a mapping of options, got '4'"),
        ("walks", r"data\.encodings: expected a mapping of options, got 'walks'"),
    ],
)
def test_bad_options_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(encodings=given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encodings.walks", "1"], "encodings: walks must be from 2"),
        (["--encodings.steps", "3"], "data.encodings: Option 'steps' is not accepted"),
        (["--data", "digits", "--model", "lenet-300-100", "--encodings.walks", "4"], "digits has images, no graphs"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "dense", "--data", "MUTAG", *words, "--epochs", "1", "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_from_the_command_line_to_graphs_nobody_has_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "gcn", "--hidden", "4", "--layers", "1", "--predictor.hidden", "4", "--epochs", "1"]
    words = ["--data", "MUTAG", "--data.encodings.walks", "4", "--rounds", "1", "--edge-rate", "0.2", *small]
    run = tmp_path / "run"
    assert cli.main(["run", "icpg", *words, "--out", str(run)]) == 0
    assert cli.main(["prune-graphs", str(run), "--out", str(tmp_path / "own")]) == 0
    bare = ["--data.fold", "0", "--data.encodings", "null"]
    assert cli.main(["prune-graphs", str(run), *bare, "--out", str(tmp_path / "bare")]) == 0
    masks = [np.load(tmp_path / folder / "test.npy") for folder in ("own", "bare")]
    assert masks[0].tolist() == masks[1].tolist() and not masks[0].all()
    capsys.readouterr()
    assert cli.main(["prune-graphs", str(run), "--data.encodings.walks", "5", "--out", str(tmp_path / "other")]) == 2
    assert "the ticket reads the encodings walks=4, the graphs of MUTAG have walks=5" in capsys.readouterr().err


def test_rows_with_and_without_stand_in_tables_of_their_own(tmp_path: Path) -> None:
    data = [{"name": "MUTAG", "encodings": [None, {"walks": 4}]}]
    grid = {
        "data": [*data, {"name": "MUTAG", "label": "six", "encodings": {"walks": 6}}],
        "models": [{"name": "gcn", "hidden": 4, "layers": 1}],
        "methods": ["dense", "no-edges"],
        "common": {"fit": {"epochs": 1}},
    }
    gp.grids.run(grid, out=tmp_path / "grid", executor=ThreadPoolExecutor(1))
    groups = collect([tmp_path / "grid"])
    assert [group.title for group in groups] == [f"MUTAG, GCN (encodings.walks={walks})" for walks in (4, 6, None)]
    assert all(len(group.series) == 2 for group in groups)
    told = [dict(facts(group)).get("Encodings", "none") for group in groups]
    assert [text.partition("(")[2] for text in told] == ["walks=4)", "walks=6)", ""]
    (alone,) = collect([tmp_path / "grid" / "six"])
    assert alone.title == "MUTAG, GCN" and "walks=6" in dict(facts(alone))["Encodings"]
    assert json.loads((tmp_path / "grid" / "six" / "gcn/dense/seed-0/results.json").read_text())


def test_data_sets_as_objects_are_told_apart(tmp_path: Path) -> None:
    mutag: Any = gp.data.load("MUTAG")
    grid = {
        "data": [mutag, {"object": mutag.with_encodings(walks=4), "label": "walked"}],
        "models": [{"name": "gcn", "hidden": 4, "layers": 1}],
        "methods": ["dense"],
        "common": {"fit": {"epochs": 1}},
    }
    gp.grids.run(grid, out=tmp_path / "grid", executor=ThreadPoolExecutor(1))
    groups = collect([tmp_path / "grid"])
    assert len(groups) == 2 and {"encodings.walks=4", "encodings.walks=None"} == {
        group.title.partition("(")[2].rstrip(")").rpartition(", ")[2] for group in groups
    }
