import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graphprune.bench import Job, Outcome, processes, run_grid
from tests.bench.samples import tiny_run, tiny_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("raw"))


def test_a_failing_run_does_not_stop_the_others(root: Path, tmp_path: Path) -> None:
    jobs = [
        Job(tiny_run(root, "dense"), tmp_path / "dense"),
        Job(tiny_run(root / "nowhere", "dense"), tmp_path / "lost"),
        Job(tiny_run(root, "no-edges"), tmp_path / "no-edges"),
    ]
    seen: list[list[Outcome]] = []
    with ThreadPoolExecutor(1) as executor:
        dense, lost, empty = run_grid(jobs, executor, seen.append)
    assert dense.rows[0]["method"] == "dense"
    assert empty.rows[0]["edge_sparsity_test"] == 1
    assert isinstance(lost.error, FileNotFoundError)
    assert lost.rows == []
    assert {outcome.job.out for outcome in seen[-1]} == {job.out for job in jobs}
    # Finished runs are read, not run: the tickets stay the same files.
    before = (tmp_path / "dense/round-1/ticket.json").stat().st_mtime_ns
    with ThreadPoolExecutor(1) as executor:
        assert run_grid(jobs[:1], executor)[0].rows == dense.rows
    assert (tmp_path / "dense/round-1/ticket.json").stat().st_mtime_ns == before


def test_processes_compute_what_this_one_computes(root: Path, tmp_path: Path) -> None:
    config = tiny_run(root, "random")
    with processes(1) as executor:
        (there,) = run_grid([Job(config, tmp_path / "there")], executor)
    with ThreadPoolExecutor(1) as executor:
        (here,) = run_grid([Job(config, tmp_path / "here")], executor)
    assert [row["test_metric"] for row in there.rows] == [row["test_metric"] for row in here.rows]


def test_jobs_travel(tmp_path: Path) -> None:
    job = Job(tiny_run(tmp_path), tmp_path)
    assert pickle.loads(pickle.dumps(job)) == job
