"""Grids from the file to the report: resumed, changed, killed, and on a Dask scheduler that loses a worker."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphprune.cli import main
from graphprune.files import below
from graphprune.grids.command import run_bench
from graphprune.grids.file import read_grid
from graphprune.report.report import Written
from graphprune.runs import RunConfig, run_one
from tests.runs.same import assert_same_run
from tests.runs.samples import NAME, tiny_set

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("raw"))


def grid(folder: Path, root: Path, **changes: Any) -> Path:
    """A grid file of quick cells."""
    content = {
        "common": {
            "model": {"hidden": 8, "layers": 2},
            "fit": {"epochs": 2, "batch_size": 16, "lr": 0.01},
            "predictor": {"hidden": 8, "layers": 1},
        },
        "data": [{"name": NAME, "root": str(root), "features": "deg+odeg10"}],
        "models": ["gcn"],
        "methods": ["dense", "icpg"],
        "sparsity": [{"rounds": 2, "edge_rate": 0.2, "weight_rate": 0.3}],
        **changes,
    }
    file = folder / "grid.yaml"
    file.write_text(yaml.safe_dump({name: value for name, value in content.items() if value is not None}))
    return file


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds."""
    written = Written(Path("report.md"), Path("report.html"), "the summary")
    monkeypatch.setattr("graphprune.grids.command.write_report", lambda *_: written)


def states(out: Path) -> dict[str, str]:
    return {cell["cell"]: cell["state"] for cell in json.loads((out / "cells.json").read_text())}


def tickets(out: Path) -> dict[Path, int]:
    return {file.relative_to(out): file.stat().st_mtime_ns for file in out.rglob("ticket.json")}


def test_a_grid_ends_with_a_report_and_the_state_of_every_cell(root: Path, tmp_path: Path, capsys: Capture) -> None:
    file, out = grid(tmp_path, root, seeds=[0, 1]), tmp_path / "out"
    assert run_bench(file, out, ThreadPoolExecutor(1)) == 0
    names = [cell.name for cell in read_grid(file).cells]
    assert states(out) == dict.fromkeys(names, "done")
    for cell in read_grid(file).cells:
        assert RunConfig.load(out / cell.name / "config.yaml") == cell.config
    assert (out / "grid.yaml").read_text() == file.read_text()
    text = capsys.readouterr().out
    assert "4 cells" in text
    assert "4/4" in text
    assert "edges removed, test" in text
    assert str(out / "report.html") in text
    assert (out / "report.html").exists()


@pytest.mark.usefixtures("no_report")
def test_a_changed_grid_keeps_what_fits_and_refuses_what_does_not(root: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert run_bench(grid(tmp_path, root), out, ThreadPoolExecutor(1)) == 0
    before = tickets(out)
    longer = [{"rounds": 3, "edge_rate": 0.2, "weight_rate": 0.3}]
    changed = ["icpg", "no-edges", {"name": "dense", "fit": {"lr": 0.5}}]
    with pytest.raises(FileExistsError, match=r"fit.lr: 0.01 -> 0.5.*label"):
        run_bench(grid(tmp_path, root, methods=changed, sparsity=longer), out, ThreadPoolExecutor(1))
    assert tickets(out) == before  # nothing ran
    methods = ["icpg", "no-edges", {"name": "dense", "label": "fast", "fit": {"lr": 0.5}}]
    assert run_bench(grid(tmp_path, root, methods=methods, sparsity=longer), out, ThreadPoolExecutor(1)) == 0
    icpg = f"{NAME}/gcn/icpg,edge_rate=0.2,weight_rate=0.3/seed-0"
    fast, empty = (f"{NAME}/gcn/{method}/seed-0" for method in ("fast", "no-edges"))
    assert states(out) == {icpg: "done", empty: "done", fast: "done"}
    after = tickets(out)
    assert {file: after[file] for file in before} == before
    new = {Path(icpg, "round-3/ticket.json"), Path(empty, "round-1/ticket.json"), Path(fast, "round-1/ticket.json")}
    assert after.keys() - before.keys() == new
    assert run_bench(grid(tmp_path, root, methods=["no-edges"]), out, ThreadPoolExecutor(1)) == 0
    err = capsys.readouterr().err
    assert "not in this grid" in err
    assert icpg in err


@pytest.mark.usefixtures("no_report")
def test_a_failing_cell_is_listed_and_the_rest_goes_on(
    root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(config: RunConfig, out: Path) -> list[Any]:
        if config.seed == 1:
            raise ArithmeticError("epoch 2: loss is nan")
        return run_one(config, out)

    monkeypatch.setattr("graphprune.grids.grid.run_one", picky)
    file, out = grid(tmp_path, root, methods=["dense"], seeds=[0, 1, 2], sparsity=None), tmp_path / "out"
    assert run_bench(file, out, ThreadPoolExecutor(1)) == 1
    assert list(states(out).values()) == ["done", "failed", "done"]
    failed = json.loads((out / "cells.json").read_text())[1]
    assert failed["error"] == "ArithmeticError: epoch 2: loss is nan"
    assert "Traceback" in failed["trace"]
    captured = capsys.readouterr()
    assert "the summary" in captured.out
    assert f"failed: {NAME}/gcn/dense/seed-1: ArithmeticError: epoch 2: loss is nan" in captured.err
    monkeypatch.undo()
    assert run_bench(file, out, ThreadPoolExecutor(1)) == 0


def test_a_grid_without_any_result_has_no_report(root: Path, tmp_path: Path, capsys: Capture) -> None:
    file = grid(tmp_path, root, methods=[{"name": "small-dense", "params": 10**9}], sparsity=None)
    assert run_bench(file, tmp_path / "out", ThreadPoolExecutor(1)) == 1
    err = capsys.readouterr().err
    assert "no report: " in err
    assert "params must lie between" in err


@pytest.mark.usefixtures("no_report")
def test_a_hundred_finished_cells_are_looked_through_in_seconds(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [round(0.05 * number, 2) for number in range(10)]
    changes = {
        "methods": ["random"],
        "sparsity": None,
        "joint": {"rounds": 2, "edge_rate": rates, "weight_rate": rates},
    }
    file, out = grid(tmp_path, root, **changes), tmp_path / "out"
    cells = read_grid(file).cells
    assert len(cells) == 100
    run_one(cells[-1].config, out / cells[-1].name)
    for cell in cells[:-1]:
        shutil.copytree(out / cells[-1].name, out / cell.name)
        cell.config.save(out / cell.name / "config.yaml")

    parsers: list[str] = []

    def unwanted(*arguments: object, **options: object) -> None:
        parsers.append(str(arguments))
        raise AssertionError("a finished cell needs neither data nor model nor parser")

    for name in ("data.load", "runs.build.load", "runs.run.build", "runs.options.ArgumentParser"):
        monkeypatch.setattr(f"graphprune.{name}", unwanted)
    started = time.monotonic()
    assert run_bench(file, out, ThreadPoolExecutor(1)) == 0
    assert time.monotonic() - started < 10
    assert not parsers
    assert set(states(out).values()) == {"done"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.yaml"], "there is no file nowhere.yaml"),
        (["GRID", "--executor", "dask"], "go together"),
        (["GRID", "--scheduler", "tcp://127.0.0.1:9"], "go together"),
        (["GRID", "--executor", "dask", "--scheduler", "x", "--workers", "2"], "--workers is for local processes"),
        (["GRID", "--workers", "0"], "--workers must be at least 1"),
        (["GRID", "--executor", "slurm"], "invalid choice: 'slurm'"),
        (["BAD"], "bad.yaml, line 3: methods[0].name: unknown method 'icgp': did you mean icpg"),
    ],
)
def test_mistakes_cost_one_clear_line(
    words: list[str], message: str, root: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "bad.yaml").write_text("data: [MUTAG]\nmethods:\n- icgp\n")
    files = {"GRID": str(grid(tmp_path, root)), "BAD": str(tmp_path / "bad.yaml")}
    out = tmp_path / "out"
    assert main(["bench", *(files.get(word, word) for word in words), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not out.exists()


def test_the_folder_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    file = grid(tmp_path, root)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("")
    for out in (tmp_path / "run", file):
        with pytest.raises(FileExistsError, match="choose another --out"):
            run_bench(file, out, ThreadPoolExecutor(1))


# ---------------------------------------------------------------------- kills


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": path, "DASK_CONFIG": str(folder)}


def start(log: Path, *words: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        return subprocess.Popen([sys.executable, *words], stdout=stream, stderr=stream, env=environment(log.parent))


@contextlib.contextmanager
def started(log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = start(log, *words)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def in_the_middle(out: Path, but: int = 0) -> tuple[Path, int]:
    """A cell that has finished a round and not its last, and the process that holds its lock, if not this one."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        for lock in below(out, ".lock"):
            rounds = len(list(lock.parent.glob("round-*")))
            if 1 <= rounds <= 3 and (holder := holds(lock)) not in (None, but):
                return lock.parent, holder
        time.sleep(0.02)
    raise AssertionError("no cell was seen in the middle")


def holds(lock: Path) -> int | None:
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) == str(lock) for fd in Path(f"/proc/{process}/fd").iterdir()):
                return int(process)
    return None


LONG = {"methods": ["icpg", "random"], "seeds": [0, 1], "sparsity": [{"rounds": 5, "edge_rate": 0.1}]}


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an undisturbed grid."""
    folder = tmp_path_factory.mktemp("whole")
    for cell in read_grid(grid(folder, root, **LONG)).cells:
        run_one(cell.config, folder / "out" / cell.name)
    return folder / "out"


def assert_same_grid(out: Path, whole: Path) -> None:
    names = [str(file.parent.relative_to(whole)) for file in whole.rglob("results.json")]
    assert states(out) == dict.fromkeys(states(out), "done")
    assert sorted(states(out)) == sorted(names)
    for name in names:
        assert_same_run(out / name, whole / name)


def sittings(run: Path) -> int:
    return len(json.loads((run / "provenance.json").read_text()))


@pytest.mark.usefixtures("no_report")
def test_a_killed_grid_and_a_killed_process_lose_a_round_at_most(root: Path, whole: Path, tmp_path: Path) -> None:
    file, out = grid(tmp_path, root, **LONG), tmp_path / "out"
    words = ["-m", "graphprune.cli", "bench", str(file), "--out", str(out), "--workers", "1"]
    with started(tmp_path / "log", *words) as parent:
        first, process = in_the_middle(out)
        os.kill(process, signal.SIGKILL)  # a process: its cell goes on in another
        second, _ = in_the_middle(out, but=process)
        parent.kill()  # the grid: its process ends with it
        parent.wait()
    assert run_bench(file, out, ThreadPoolExecutor(1)) == 0
    assert_same_grid(out, whole)
    assert sittings(first) > 1
    assert sittings(second) > 1


def test_a_grid_outlives_a_dask_worker(root: Path, whole: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, out = f"tcp://127.0.0.1:{port}", tmp_path / "out"
    dask = ["--host", "127.0.0.1", "--no-dashboard"]
    worker = ["-m", "distributed.cli.dask_worker", address, *dask, "--nthreads", "1", "--no-nanny"]
    worker += ["--local-directory", str(tmp_path / "scratch")]
    words = ["-m", "graphprune.cli", "bench", str(grid(tmp_path, root, **LONG)), "--out", str(out)]
    with contextlib.ExitStack() as stack:
        scheduler = ["-m", "distributed.cli.dask_scheduler", *dask, "--port", str(port)]
        stack.enter_context(started(tmp_path / "scheduler", *scheduler))
        workers = [stack.enter_context(started(tmp_path / f"worker{n}", *worker)) for n in range(2)]
        bench = stack.enter_context(started(tmp_path / "bench", *words, "--executor", "dask", "--scheduler", address))
        run, process = in_the_middle(out)
        assert process in [worker.pid for worker in workers]
        os.kill(process, signal.SIGKILL)
        assert bench.wait(200) == 0, (tmp_path / "bench").read_text()
        survivor = next(worker for worker in workers if worker.pid != process)
        assert survivor.poll() is None
    assert sittings(run) == 2
    assert_same_grid(out, whole)
    assert not re.search("Traceback|Error", (tmp_path / "bench").read_text())
