from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphprune import cli
from graphprune.grids.file import read_grid
from graphprune.runs import RunConfig, run_one
from tests.runs.samples import tiny_run, tiny_set

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo on the tiny set, in this process."""
    config = tiny_run(tiny_set(tmp_path / "raw")).plain()
    grid = yaml.safe_load(cli.DEMO.read_text())
    grid["common"] = {"fit": config["fit"]}
    grid |= {"data": [config["data"]], "models": [config["model"]], "seeds": [0, 1]}
    methods = {entry if isinstance(entry, str) else entry["name"]: entry for entry in grid["methods"]}
    grid["methods"] = ["dense", {**methods["icpg"], "rounds": 1}, {**methods["random"], "rounds": 1}]
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump(grid))
    monkeypatch.setattr(cli, "DEMO", file)
    monkeypatch.setattr("graphprune.grids.executors.processes", lambda workers: ThreadPoolExecutor(1))


def demo(out: Path) -> int:
    return cli.main(["demo", "--out", str(out)])


@pytest.mark.usefixtures("small")
def test_the_demo_ends_with_a_table_and_a_report_and_goes_on(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "demo"
    assert demo(out) == 0
    text = capsys.readouterr().out
    for word in ("6 cells", "6/6", "icpg", "random", "dense", "edges removed, test", "report.html", "dense reaches"):
        assert word in text
    assert (out / "report.html").exists()
    tickets = {file: file.stat().st_mtime_ns for file in out.rglob("ticket.json")}
    assert len(tickets) == 6
    assert demo(out) == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("ticket.json")} == tickets


@pytest.mark.usefixtures("small")
def test_a_failed_run_is_told(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(config: RunConfig, out: Path) -> list[Any]:
        if (config.method["name"], config.seed) == ("random", 1):
            raise ArithmeticError("epoch 2: loss is nan")
        return run_one(config, out)

    monkeypatch.setattr("graphprune.grids.grid.run_one", picky)
    assert demo(tmp_path / "demo") == 1
    captured = capsys.readouterr()
    assert "random/seed-1: ArithmeticError: epoch 2: loss is nan" in captured.err
    assert "icpg" in captured.out


@pytest.mark.usefixtures("small")
def test_a_folder_of_something_else_is_refused_before_anything_runs(tmp_path: Path, capsys: Capture) -> None:
    blocked = tmp_path / "demo" / read_grid(cli.DEMO).cells[-1].name
    blocked.mkdir(parents=True)
    (blocked / "something").write_text("else")
    assert demo(tmp_path / "demo") == 2
    assert "holds other files" in capsys.readouterr().err
    assert not list(tmp_path.rglob("ticket.json"))


def test_the_real_settings_are_valid() -> None:
    configs = [cell.config for cell in read_grid(cli.DEMO).cells]
    seeds = {
        name: {one.seed for one in configs if one.data["name"] == name} for name in ("planted-motif", "ogbg-molbace")
    }
    assert len(seeds["planted-motif"]) >= 5 and len(seeds["ogbg-molbace"]) >= 3
    names = {"dense", "no-edges", "icpg", "gicp", "ugs", "random", "sparsifier"}
    assert {config.method["name"] for config in configs} == names
    assert len(configs) == len(names) * sum(map(len, seeds.values()))
