import math
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphprune.data import GraphData, load
from graphprune.grids import Job, Outcome, processes, run_grid
from graphprune.grids.grid import run_job, standing
from graphprune.runs import RunConfig
from graphprune.runs.folder import RunFolder
from tests.resealed import reseal
from tests.runs.samples import tiny_run, tiny_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("raw"))


def job(config: RunConfig, out: Path) -> Job:
    return Job(config, out, out.name)


def test_a_failing_run_does_not_stop_the_others(root: Path, tmp_path: Path) -> None:
    jobs = [
        job(tiny_run(root, "dense"), tmp_path / "dense"),
        job(tiny_run(root / "nowhere", "dense"), tmp_path / "lost"),
        job(tiny_run(root, "no-edges"), tmp_path / "no-edges"),
    ]
    seen: list[list[Outcome]] = []
    with ThreadPoolExecutor(1) as executor:
        dense, lost, empty = run_grid(jobs, executor, seen.append)
    assert dense.rows[0]["method"] == "dense"
    assert empty.rows[0]["edge_sparsity_test"] == 1
    assert lost.error is not None
    assert lost.error.startswith("FileNotFoundError: ")
    assert "Traceback" in lost.trace
    assert lost.rows == []
    assert seen[0] == []
    assert {outcome.job.out for outcome in seen[-1]} == {job.out for job in jobs}


def test_finished_runs_are_only_looked_at(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job(tiny_run(root, "dense"), tmp_path / "dense")
    assert standing(made) is None
    first = run_job(made)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    monkeypatch.setattr("graphprune.grids.grid.run_one", None)  # would be called for anything else
    with ThreadPoolExecutor(1) as executor:
        (again,) = run_grid([made], executor)
    assert again.rows == first.rows
    assert again.earlier
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_what_a_folder_says_of_a_job(root: Path, tmp_path: Path) -> None:
    config = tiny_run(root, "random")
    run_job(job(config, tmp_path / "run"))
    finished = standing(job(config, tmp_path / "run"))
    assert finished is not None
    assert len(finished.rows) == 2
    assert standing(job(tiny_run(root, "random", rounds=3), tmp_path / "run")) is None  # more to do
    other = standing(job(tiny_run(root, "random", edge_rate=0.5), tmp_path / "run"))
    assert other is not None
    assert "method.edge_rate: 0.05 -> 0.5" in str(other.error)
    moved = standing(job(tiny_run(root / "moved", "random"), tmp_path / "run"))
    assert moved is not None
    assert moved.rows == finished.rows

    results = tmp_path / "run/results.json"
    reseal(results, lambda row: row.update(val_metric=None))
    mended = standing(job(config, tmp_path / "run"))
    assert mended is not None
    assert math.isnan(mended.rows[0]["val_metric"])
    results.write_text("[]")  # killed between the ticket and the results
    assert standing(job(config, tmp_path / "run")) is None
    assert run_job(job(config, tmp_path / "run")).rows == finished.rows
    results.write_text("[")
    damaged = standing(job(config, tmp_path / "run"))
    assert damaged is not None
    assert "results.json is damaged" in str(damaged.error)


def test_processes_compute_what_this_one_computes(root: Path, tmp_path: Path) -> None:
    config = tiny_run(root, "random")
    with processes(1) as executor:
        (there,) = run_grid([job(config, tmp_path / "there")], executor)
    with ThreadPoolExecutor(1) as executor:
        (here,) = run_grid([job(config, tmp_path / "here")], executor)
    assert [row["test_metric"] for row in there.rows] == [row["test_metric"] for row in here.rows]


def test_threads_of_one_process_take_turns(root: Path, tmp_path: Path) -> None:
    """They share torch's random state: side by side they would draw each other's numbers."""
    alone = run_job(job(tiny_run(root), tmp_path / "alone"))
    jobs = [job(tiny_run(root, seed=seed), tmp_path / str(seed)) for seed in (0, 1, 2)]
    with ThreadPoolExecutor(3) as executor:
        together, *_ = run_grid(jobs, executor)
    assert [row["test_metric"] for row in together.rows] == [row["test_metric"] for row in alone.rows]
    assert [row["val_metric"] for row in together.rows] == [row["val_metric"] for row in alone.rows]


def test_a_job_waits_for_a_process_that_runs_in_its_folder(root: Path, tmp_path: Path) -> None:
    config = tiny_run(root, "dense")
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(run_job(job(config, tmp_path / "run"))))
    with RunFolder(tmp_path / "run").claimed(config):
        thread.start()
        time.sleep(1.5)
        assert not found
    thread.join(60)
    assert found[0].error is None
    assert len(found[0].rows) == 1


def test_a_metric_that_is_undefined_on_a_fold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_class(**options: object) -> GraphData:
        data = load("ogbg-molbace")
        positive = data.test.select((data.test.graph["y"][:, 0] == 1).nonzero()[:20, 0])
        return data.with_splits(train=data.train.select(torch.arange(40)), test=positive)

    monkeypatch.setattr("graphprune.runs.build.load", one_class)
    config = RunConfig.of(
        {
            "method": {"name": "dense"},
            "data": {"name": "ogbg-molbace"},
            "model": {"name": "gcn", "hidden": 4, "layers": 1},
            "fit": {"epochs": 1},
        }
    )
    outcome = run_job(job(config, tmp_path / "run"))
    assert "ogbg-molbace, test split: rocauc is undefined" in str(outcome.error)


def test_a_worker_of_another_version_refuses(root: Path, tmp_path: Path) -> None:
    outcome = run_job(replace(job(tiny_run(root), tmp_path / "run"), version="0.0.1"))
    assert "started by graphprune 0.0.1" in str(outcome.error)
    assert not (tmp_path / "run").exists()


def test_jobs_and_outcomes_travel(root: Path, tmp_path: Path) -> None:
    one = job(tiny_run(root), tmp_path)
    assert pickle.loads(pickle.dumps(one)) == one
    failed = run_job(job(tiny_run(root / "nowhere"), tmp_path / "run"))
    assert pickle.loads(pickle.dumps(failed)) == failed
