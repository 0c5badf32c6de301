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
    grid["sparsity"] = [{"rounds": 1, "weight_rate": 0.3, "edge_rate": 0.2}]
    grid["methods"] = [name for name in grid["methods"] if name not in ("random", "no-edges")]
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
    for word in ("8 cells", "8/8", "icpg", "imp", "dense", "small-dense", "edges removed, test", "report.html"):
        assert word in text
    assert (out / "report.html").exists()
    tickets = {file: file.stat().st_mtime_ns for file in out.rglob("ticket.json")}
    assert len(tickets) == 8
    assert demo(out) == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("ticket.json")} == tickets
    (small_dense,) = out.glob("*/*/small-dense/seed-1/config.yaml")
    assert RunConfig.load(small_dense).method["density"] == round(0.8**5, 5)


@pytest.mark.usefixtures("small")
def test_a_failed_run_is_told(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(config: RunConfig, out: Path) -> list[Any]:
        if (config.method["name"], config.seed) == ("imp", 1):
            raise ArithmeticError("epoch 2: loss is nan")
        return run_one(config, out)

    monkeypatch.setattr("graphprune.grids.grid.run_one", picky)
    assert demo(tmp_path / "demo") == 1
    captured = capsys.readouterr()
    assert "imp,weight_rate=0.3/seed-1: ArithmeticError: epoch 2: loss is nan" in captured.err
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
    assert {config.data["name"] for config in configs} == {"ogbg-molbace"}
    names = ("dense", "no-edges", "small-dense", "icpg", "imp", "random")
    assert {config.method["name"] for config in configs} == set(names)
    assert len({config.seed for config in configs}) >= 3
    # What the small dense network is the size of.
    assert {config.method["rounds"] for config in configs if "rounds" in config.method} == {5}


def test_no_workers_are_refused(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--workers", "0"]) == 2
    assert "--workers" in capsys.readouterr().err
