"""Files that the version before wrote load, hold what they held, and go on; see write.py.

What is computed again may differ in its last digits, as processors do; counts and what was stored may not.
"""

import json
import re
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from graphprune import EdgeMask, Ticket
from graphprune.cli import main
from graphprune.data import open_stored
from graphprune.grids.command import run_bench
from graphprune.report.report import Written, write_report
from graphprune.runs import RunConfig
from graphprune.runs.trained import Trained
from tests.before import write
from tests.report.committed import FEW, NUMBER

ARCHIVE = Path(__file__).with_name("files.tar.gz")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files, in the working directory."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def held() -> dict[str, Any]:
    """What the version before said that they hold."""
    found: dict[str, Any] = json.loads(Path("held.json").read_text())
    return found


def assert_close(found: Any, wanted: Any) -> None:
    """Equal, but for the last digits of what is not whole."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert_close(found[name], wanted[name])
    elif isinstance(wanted, list) and not any(isinstance(value, float) for value in wanted):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other)
    else:  # numbers of an output are as exact as the largest of them
        size = max(map(abs, wanted)) if isinstance(wanted, list) else 0
        near = isinstance(wanted, list | float)
        assert found == (pytest.approx(wanted, rel=1e-4, abs=1e-4 * size) if near else wanted)


@pytest.mark.parametrize("run", write.RUNS)
def test_tickets_do_what_they_did(run: str, held: dict[str, Any]) -> None:
    data = write.data_of(run)
    for folder, wanted in held["tickets"].items():
        if Path(folder).parts[1] == run:
            assert_close(write.told(Path(folder), data), wanted)


def test_every_ticket_comes_back_whole() -> None:
    files = sorted(Path().rglob("ticket.json"))
    assert len(files) > 30
    for number, file in enumerate(files):
        again = Path("again", str(number))
        Ticket.load(file.parent).save(again)
        assert json.loads((again / file.name).read_text())["ticket"] == json.loads(file.read_text())["ticket"]
        names = ("ticket.safetensors", again / "ticket.safetensors")
        one, other = write.load_file(file.with_name(names[0])), write.load_file(names[1])
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_configurations_stay_as_they_are() -> None:
    for file in sorted(Path().rglob("config.yaml")):
        RunConfig.load(file).save(Path("again.yaml"))
        assert Path("again.yaml").read_text() == file.read_text()


@pytest.mark.parametrize("run", write.RUNS)
def test_a_finished_run_has_nothing_left_to_do(run: str, held: dict[str, Any]) -> None:
    folder = Path("runs", run)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert main(["run", *write.RUNS[run], "--out", str(folder)]) == 0
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}
    assert after == before
    assert_close(write.rows(folder), held["rows"][run])


def same_run(folder: Path, held: dict[str, Any], name: str) -> None:
    """A run that went on came to the same end, as near as another processor does."""
    found, wanted = write.rows(folder), held["rows"][name]
    about = ("val_metric", "test_metric", "epoch")  # which a graph or two decide
    for row, like in zip(found, wanted, strict=True):
        assert row["test_metric"] == pytest.approx(like["test_metric"], abs=0.11)
        assert_close({**row, **dict.fromkeys(about)}, {**like, **dict.fromkeys(about)})
    assert write.losses(folder) == pytest.approx(held["losses"][name], rel=1e-2)


@pytest.mark.parametrize("run", ["icpg", "gicp"])
def test_a_run_whose_process_died_goes_on(run: str, held: dict[str, Any]) -> None:
    folder = Path("cut", run)
    assert main(["run", *write.RUNS[run], "--out", str(folder)]) == 0
    same_run(folder, held, run)
    assert not list(folder.glob(".round-*"))


@pytest.mark.parametrize("run", ["icpg-paper", "ugs", "degree", "hamp"])
def test_a_run_without_its_last_round_goes_on(run: str, held: dict[str, Any]) -> None:
    folder = Path("runs", run)
    shutil.rmtree(folder / "round-2")
    assert main(["run", *write.RUNS[run], "--out", str(folder)]) == 0
    same_run(folder, held, run)


def test_a_search_goes_on_from_its_journal(held: dict[str, Any]) -> None:
    journal = Path("cut/hamp/search/evaluations.jsonl")
    known = journal.read_text().splitlines()[:-1]
    assert main(["run", *write.RUNS["hamp"], "--out", "cut/hamp"]) == 0
    lines = journal.read_text().splitlines()
    assert lines[: len(known)] == known and len(lines) == len(known) + 1
    assert [row["round"] for row in write.rows(Path("cut/hamp"))] == [row["round"] for row in held["rows"]["hamp"]]


def test_a_grid_goes_on(held: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.grids.command.write_report", lambda *_: Written(Path("a"), Path("b"), "told"))
    for name in write.GRIDS:
        trained = {file.parent: file.stat().st_mtime_ns for file in Path(name).rglob("ticket.json")}
        assert run_bench(Path(f"{name}.yaml"), Path(name), ThreadPoolExecutor(1)) == 0
        assert all(cell["state"] == "done" for cell in json.loads(Path(name, "cells.json").read_text()))
        now = {file.parent: file.stat().st_mtime_ns for file in Path(name).rglob("ticket.json")}
        assert {file for file in now if now[file] != trained.get(file)} == (
            {Path(write.UNFINISHED, "round-2")} if name == "grid" else set()
        )
    cells = {file.parent.as_posix() for file in Path().glob("*/MUTAG/**/results.json")}
    assert cells == held["cells"].keys()
    for cell, wanted in held["cells"].items():
        kept = [{key: value for key, value in row.items() if key in ("params_kept", "fit_seed")} for row in wanted]
        assert [{key: row[key] for key in kept[0]} for row in write.rows(Path(cell))] == kept


@pytest.mark.parametrize("folder", ["runs", *write.GRIDS])
def test_a_report_has_the_same_numbers(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(figure: Figure, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".png").write_bytes(b"\x89PNG")
        return path.with_suffix(".png")

    monkeypatch.setattr("graphprune.report.style.save", save)
    wanted = numbers(Path(folder, "report.md").read_text())
    found = numbers(write_report([Path(folder)], Path("new")).markdown.read_text())
    assert len(wanted) >= 10 and found == wanted


def numbers(page: str) -> list[list[str]]:
    """The numbers of each row of each table."""
    lines = [line for line in page.splitlines() if re.match(r"\| (?!-)", line)]
    return [NUMBER.findall(FEW.sub("", line)) for line in lines]


def test_graphs_are_pruned_as_they_were(held: dict[str, Any]) -> None:
    for name, ticket in (("icpg", "runs/icpg/round-2"), ("degree", "runs/degree")):
        assert EdgeMask.load(f"pruned/{name}/test.npy").kept == held["pruned"][name]
        assert main(["prune-graphs", ticket, "--out", f"new/{name}"]) == 0
        for split in ("train", "val", "test"):
            one, other = (EdgeMask.load(Path(parent, name, f"{split}.npy")) for parent in ("pruned", "new"))
            assert torch.equal(one.keep, other.keep) and torch.equal(one.ptr, other.ptr)
        one, other = (json.loads(Path(parent, name, "summary.json").read_text()) for parent in ("pruned", "new"))
        assert one == other


def test_small_networks_are_those_that_they_were(held: dict[str, Any]) -> None:
    for name, ticket in (("clad", "runs/clad/round-1"), ("hamp", "runs/hamp")):
        assert_close(write.outputs(write.small_network(name), write.data_of(name)), held["small"][name])
        assert main(["compact", ticket, "--out", f"new/{name}"]) == 0
        one, other = (write.load_file(Path(parent, name, "weights.safetensors")) for parent in ("small", "new"))
        assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in other.items()}
        costs = [json.loads(Path(parent, name, "costs.json").read_text()) for parent in ("small", "new")]
        timed = ("latency", "throughput", "peak", "file")
        one, other = ({key: rows_without(row, timed) for key, row in cost.items()} for cost in costs)
        assert one == other


def rows_without(row: dict[str, Any], beginnings: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith(beginnings)}


@pytest.mark.parametrize("verify", [True, False])
def test_a_stored_set_and_a_mask_of_its_arcs_open(verify: bool, held: dict[str, Any]) -> None:
    few, mask = open_stored("stored", verify=verify), EdgeMask.load("edges.npy")
    found = {"digest": few.digest(), "arcs": few.test[1].edge_index.tolist(), "mask": mask.keep.nonzero().tolist()}
    assert found == held["set"]
    assert few.train.keep_edges(mask.keep).num_edges == mask.kept


def test_tickets_know_their_run_and_its_data() -> None:
    trained = Trained.at("runs/icpg")
    assert trained.ticket.round == 2
    assert trained.data({}).digest() == trained.ticket.provenance["data"]["digest"]
