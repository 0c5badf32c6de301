from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from graphprune.grids import demo
from graphprune.runs import RunConfig
from tests.runs.samples import tiny_run, tiny_set


def small(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo on the tiny set, in this process."""
    config = tiny_run(root).plain()
    monkeypatch.setattr(demo, "COMMON", {name: config[name] for name in ("data", "model", "fit")})
    monkeypatch.setattr(demo, "SEEDS", (0, 1))
    monkeypatch.setattr(demo, "processes", lambda workers: ThreadPoolExecutor(1))
    rates: dict[str, Any] = {"rounds": 1, "weight_rate": 0.3}
    methods = {"icpg": rates | {"edge_rate": 0.2}, "imp": rates, "dense": {}}
    monkeypatch.setattr(demo, "METHODS", methods)


def test_the_demo_ends_with_a_table_and_a_report_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tiny_set(tmp_path / "raw"), monkeypatch)
    out = tmp_path / "demo"
    assert demo.run_demo(out, 1) == 0
    text = capsys.readouterr().out
    for word in ("8 runs", "8/8", "icpg", "imp", "dense", "small-dense", "edges removed, test", "report.html"):
        assert word in text
    assert (out / "report.html").exists()
    tickets = {file: file.stat().st_mtime_ns for file in out.rglob("ticket.json")}
    assert len(tickets) == 8
    assert demo.run_demo(out, 1) == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("ticket.json")} == tickets
    small_dense = RunConfig.load(out / "small-dense-seed1/config.yaml")
    assert small_dense.method["params"] > 0


def test_a_failed_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tiny_set(tmp_path / "raw"), monkeypatch)
    blocked = tmp_path / "demo/imp-seed1"
    blocked.mkdir(parents=True)
    (blocked / "something").write_text("else")
    assert demo.run_demo(tmp_path / "demo", 1) == 1
    captured = capsys.readouterr()
    assert "holds other files" in captured.err
    assert "icpg" in captured.out


def test_the_real_settings_are_valid(tmp_path: Path) -> None:
    for name, options in demo.METHODS.items():
        job = demo._job(tmp_path, name, 0, options)
        assert job.config.data["name"] == "ogbg-molbace"
    assert {"dense", "no-edges", "icpg", "imp", "random"} <= demo.METHODS.keys()
    assert len(demo.SEEDS) >= 3


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--workers"):
        demo.run_demo(tmp_path, 0)
