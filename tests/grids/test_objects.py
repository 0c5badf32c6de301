"""Grids from Python with a user's own objects: their cells, folders, resume and report, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from graphprune import grids
from graphprune.data import GraphData
from graphprune.grids.file import read_grid
from graphprune.methods import Dense, RandomPruning
from graphprune.report.report import Written
from graphprune.runs import run_one
from graphprune.train import Fit
from tests.runs import own
from tests.runs.same import assert_same_run
from tests.runs.samples import NAME, tiny_set

FIT = Fit(epochs=2, batch_size=16, lr=0.01)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_set(tmp_path_factory.mktemp("raw")))


@pytest.fixture(scope="module")
def data(root: str) -> GraphData:
    return own.tiny(root)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds."""
    written = Written(Path("report.md"), Path("report.html"), "the summary")
    monkeypatch.setattr("graphprune.grids.command.write_report", lambda *_: written)


def grid(own_data: Any, **changes: Any) -> dict[str, Any]:
    return {"common": {"fit": FIT}, "data": [own_data], "models": [own.make_net], "methods": [Dense()], **changes}


def run(content: dict[str, Any], out: Path) -> list[grids.Outcome]:
    with ThreadPoolExecutor(1) as executor:
        return grids.run(content, out, executor=executor)


def names(content: dict[str, Any]) -> list[str]:
    return [cell.name for cell in read_grid(content).cells]


# ---------------------------------------------------------------------- cells


def test_objects_stand_where_names_stand(root: str, data: GraphData) -> None:
    content = grid(
        data,
        data=[data, {"object": own.tiny, "name": "folds", "root": root, "folds": [0, 1]}, {"name": NAME, "root": root}],
        models=["gcn", {"object": own.make_net, "hidden": [4, 8]}, {"object": own.Made, "label": "six"}],
        methods=["dense", own.make_icpg, {"name": "imp", "weight_rate": 0.5}],
        sparsity=[{"rounds": np.int64(2)}],
        seeds=np.arange(2),
    )
    found = names(content)
    assert len(found) == len(set(found)) == 4 * 2 * 4 * 3
    for name in ("mine/gcn/dense/seed-0", "folds/six/make_icpg/seed-1-fold-1", "mine/make_net,hidden=4/imp/seed-0"):
        assert name in found
    cells = {cell.name: cell.config for cell in read_grid(content).cells}
    icpg = cells["folds/make_net,hidden=8/make_icpg/seed-1-fold-1"]
    assert icpg.method.items() >= {"object": "tests.runs.own:make_icpg", "rounds": 2}.items()
    assert icpg.data["fold"] == 1
    assert icpg.fit["epochs"] == 2
    assert icpg.objects.keys() == {"data", "model", "method"}
    assert cells["mine/gcn/dense/seed-0"].objects.keys() == {"data"}
    assert "predictor" not in icpg.plain()


def test_a_training_replaces_what_was_said_before(data: GraphData) -> None:
    methods = [
        "dense",
        {"name": "no-edges", "fit": own.train},
        {"object": Dense(), "label": "long", "fit": replace(FIT, epochs=9)},
    ]
    dense, free, long = (cell.config for cell in read_grid(grid(data, methods=methods)).cells)
    assert free.fit == {"name": "train", "object": "tests.runs.own:train", "source": free.fit["source"]}
    assert free.objects["fit"] is own.train
    assert (dense.fit["epochs"], long.fit["epochs"]) == (2, 9)
    with pytest.raises(ValueError, match=r"methods\[0\].fit.lr: common.fit is an object, beside which no option"):
        read_grid(grid(data, common={"fit": own.train}, methods=[{"name": "dense", "fit": {"lr": 0.1}}]))


def test_two_objects_of_one_class_are_told_apart(data: GraphData) -> None:
    two = [RandomPruning(rounds=1), {"object": RandomPruning(rounds=1, edge_rate=0.5), "label": "half"}]
    content = grid(data, methods=two)
    assert [cell.config.method["edge_rate"] for cell in read_grid(content).cells] == [0.05, 0.5]
    with pytest.raises(ValueError, match="two cells would share the folder mine/make_net/random"):
        read_grid(grid(data, methods=[two[0], RandomPruning(rounds=1, edge_rate=0.5)]))
    with pytest.raises(ValueError, match="are the same run: leave one out"):
        read_grid(grid(data, methods=[two[0], {"object": RandomPruning(rounds=1), "label": "again", "name": "random"}]))


# ---------------------------------------------------------------------- folders, going on, report


def test_a_grid_of_objects_has_folders_and_a_report_like_any_other(
    root: str, data: GraphData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = grid(data, methods=["dense", own.make_icpg, own.Halving], seeds=[0, 1])
    outcomes = run(content, tmp_path)
    assert [outcome.error for outcome in outcomes] == [None] * 6
    assert [outcome.job.name for outcome in outcomes] == names(content)
    assert not any(outcome.job.config.objects for outcome in outcomes)
    text = capsys.readouterr().out
    assert "6/6" in text
    assert "own-halving" in text
    assert yaml.safe_load((tmp_path / "grid.yaml").read_text())["methods"][1]["object"] == "tests.runs.own:make_icpg"
    assert {cell["state"] for cell in json.loads((tmp_path / "cells.json").read_text())} == {"done"}
    page = (tmp_path / "report.md").read_text()
    # The report needs nothing of the user's: a process that cannot import the objects writes the same.
    code = "import sys; sys.modules['tests'] = None\nfrom pathlib import Path\n"
    paths = f"[Path({str(tmp_path)!r})], Path({str(tmp_path / 'again')!r})"
    code += f"from graphprune.report.report import write_report; write_report({paths})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200, env=environment(), cwd="/")
    again = (tmp_path / "again/report.md").read_text()
    assert [line for line in again.splitlines() if line.startswith("| ")] == [
        line for line in page.splitlines() if line.startswith("| ")
    ]


@pytest.mark.usefixtures("no_report")
def test_a_grid_goes_on_and_refuses_what_changed(
    data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(grid(data), tmp_path)
    more = run(grid(data, methods=[Dense(), own.Halving], seeds=[0, 1]), tmp_path)
    assert [outcome.earlier for outcome in more] == [True, False, False, False]
    with pytest.raises(FileExistsError, match=r"method.protect: .* That is cell mine/make_net/dense/seed-0, .*label"):
        run(grid(data, methods=[Dense(protect="head.*")], seeds=[0, 1]), tmp_path)
    monkeypatch.setattr("inspect.getsource", lambda value: "def make_net(data):\n    return 1\n")
    with pytest.raises(FileExistsError, match=r"model.source: \w+ -> \w+.*label of its own, or delete"):
        run(grid(data), tmp_path)


@pytest.mark.usefixtures("no_report")
def test_a_failing_object_costs_its_own_cells(data: GraphData, tmp_path: Path) -> None:
    one, other = run(grid(data, models=[own.make_net, own.numbers]), tmp_path)
    assert one.error is None
    assert "TypeError: the model is an object of builtins.list: expected a class with for_data" in str(other.error)


@pytest.mark.usefixtures("no_report")
def test_objects_travel_to_processes(data: GraphData, tmp_path: Path) -> None:
    content = grid(data, methods=[own.make_icpg], common={"fit": own.make_fit})
    (there,) = grids.run(content, tmp_path / "there", workers=1)
    assert there.error is None
    (cell,) = read_grid(content).cells
    run_one(cell.config, tmp_path / "here")
    assert_same_run(tmp_path / "there" / cell.name, tmp_path / "here")


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"models": ["gin", lambda data: None]},
            r"^models\[1\]: .*<lambda> cannot be imported \(a lambda\)",
        ),
        ({"methods": [{"name": "x", "object": 3}]}, r"^methods\[0\]: expected a Method, or a function"),
        ({"data": ["MUTAG", Dense()]}, r"^data\[1\]: expected a GraphData"),
        ({"common": {"fit": Fit(on_epoch=print)}}, r"^common.fit: a Fit with on_epoch"),
        (
            {"methods": [{"name": "dense", "fit": lambda job: None}]},
            r"^methods\[0\].fit: .*<lambda> cannot be imported",
        ),
        ({"folds": [0, 1]}, r"^data\[0\]: mine takes no fold: give a function"),
        (
            {"models": [{"object": own.make_net, "hiden": 3}]},
            r"^models\[0\].hiden: .*cannot be called with the options",
        ),
        ({"models": [{"name": "mine", "object": "my_module:make"}]}, r"^models\[0\].object: objects come from Python"),
        ({"methods": [{"object": Dense(), "protect": "x"}]}, r"^methods\[0\].protect: .*has all its options"),
        ({"methods": [own.Halving], "sparsity": [{"halvigns": 3}]}, r"^sparsity\[0\].halvigns: nothing has an option"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    changes: dict[str, Any], problem: str, data: GraphData, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=problem):
        run(grid(data, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_workers_and_an_executor_exclude_each_other(data: GraphData, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="workers or an executor"):
        grids.run(grid(data), tmp_path, workers=2, executor=executor)


def test_what_was_typed_into_a_prompt_is_refused_for_processes(root: str, tmp_path: Path) -> None:
    typed = "def make(data):\n    return own.make_net(data)\n\n"
    code = f"import functools\nfrom graphprune import grids\nfrom tests.runs import own\n\n{typed}"
    code += f"content = {{'data': [functools.partial(own.tiny, {root!r})], 'models': [make], 'methods': ['dense']}}\n"
    code += f"grids.run(content, {str(tmp_path / 'out')!r}, workers=1)\n"
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, env=environment())
    assert "make was typed into this session, where worker processes do not find it" in done.stderr
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------- a script that is killed

SCRIPT = """
import functools
import sys

import graphprune as gp
from tests.runs import own


def make_model(data):
    return own.Net(data, hidden=6)


def grid():
    return {
        "common": {"fit": gp.train.Fit(epochs=12, batch_size=16, lr=0.01)},
        "data": [functools.partial(own.tiny, sys.argv[2])],
        "models": [{"name": "mine", "object": make_model}],
        "methods": [{"object": own.make_icpg, "rounds": 5}],
        "seeds": [0, 1],
    }


GUARD
    outcomes = gp.grids.run(grid(), out=sys.argv[1], workers=2)
    print("DONE", [outcome.error or outcome.earlier for outcome in outcomes])
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}


def script(folder: Path, guard: str = 'if __name__ == "__main__":', seeds: str = "[0, 1]") -> Path:
    file = folder / "study.py"
    file.write_text(SCRIPT.replace("GUARD", guard).replace("[0, 1]", seeds))
    return file


def test_a_script_that_is_killed_goes_on_in_its_processes(root: str, tmp_path: Path) -> None:
    command, out = [sys.executable, str(script(tmp_path)), str(tmp_path / "out"), root], tmp_path / "out"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
        end = time.monotonic() + 200
        while not list(out.rglob("round-2")) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    rounds = {file.relative_to(out): file.stat().st_mtime_ns for file in out.rglob("round-*/ticket.json")}
    assert 2 <= len(rounds) < 10, (tmp_path / "log").read_text()
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=environment())
    assert "DONE [" in done.stdout, done.stderr
    assert "Error" not in done.stdout
    after = {file.relative_to(out): file.stat().st_mtime_ns for file in out.rglob("round-*/ticket.json")}
    assert len(after) == 10
    assert {file: after[file] for file in rounds} == rounds  # none was computed again
    config = yaml.safe_load((out / "tiny/mine/make_icpg/seed-0/config.yaml").read_text())
    assert config["model"]["object"] == "__main__:make_model"


@pytest.mark.slow  # each of its processes imports torch to find out
def test_a_script_without_the_guard_is_told(root: str, tmp_path: Path) -> None:
    command = [sys.executable, str(script(tmp_path, "if True:", "[0]")), str(tmp_path / "out"), root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=environment())
    assert re.search(r"RuntimeError: a worker came here .* under if __name__ == '__main__':", done.stderr)


def test_the_documented_script_runs_in_its_processes(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/grids-from-python.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.S)[0].replace('"seeds": [0, 1]', '"seeds": [0]')
    (tmp_path / "study.py").write_text(code)
    command = [sys.executable, "study.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment(), cwd=tmp_path)
    assert re.findall(r"^(mine/\S+/seed-0) \d\.\d{3}$", done.stdout, re.M) == [
        f"mine/{model}/{method}/seed-0" for model in ("gin", "wide") for method in ("dense", "random", "icpg-2")
    ], done.stderr
