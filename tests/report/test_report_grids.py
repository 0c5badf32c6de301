import re
import time
from pathlib import Path

import pytest

from graphprune.report.report import write_report
from tests.report.pages import assert_self_contained
from tests.report.rows import LOST, cell, cells, grid, joint

quickly = pytest.mark.usefixtures("unsaved")


@quickly
def test_a_winner_is_named_where_the_intervals_show_one(tmp_path: Path) -> None:
    grid(tmp_path / "runs", losses={"dense": 0.0, "icpg": 0.01, "random": 0.1})
    written = write_report([tmp_path / "runs"], tmp_path / "report")
    for text in (assert_self_contained(written.html).text, written.markdown.read_text(), written.summary):
        assert "icpg is better than every other" in text
        assert "22.62 %" not in text  # three rounds end at 27.10 %
        assert "27.10 % of edges" in text


@quickly
def test_every_interval_comes_with_its_level_and_its_runs(tmp_path: Path) -> None:
    written = write_report([grid(tmp_path / "runs")], tmp_path / "report")
    page = assert_self_contained(written.html)
    figures = re.findall(r"<figcaption>([^<]*)</figcaption>", written.html.read_text())
    assert len(figures) == 3
    assert all("95%" in caption and "share their split" in caption for caption in figures)
    for text in ("95% interval", "pairs", "no difference shown", "worse", "Extreme tickets", "predictor passes"):
        assert text in page.text


@quickly
def test_folds_are_said_to_overlap(tmp_path: Path) -> None:
    for fold in range(5):
        for method in ("dense", "icpg"):
            config = {"data": {"fold": fold}}
            cell(tmp_path / f"{method}{fold}", method, config=config, digest=f"{fold}" * 64)
    page = assert_self_contained(write_report([tmp_path], tmp_path / "report").html)
    assert "training sets overlap" in page.text
    assert "Folds0, 1, 2, 3, 4" in page.text.replace("\n", "")


@quickly
def test_failed_cells_are_listed_and_the_rest_is_reported(tmp_path: Path) -> None:
    cells(
        grid(tmp_path / "runs", seeds=2),
        ("made-up/gin/ugs/seed-0", "failed", "TrainingDiverged: <loss> is NaN"),
        ("made-up/gin/ugs/seed-1", "unfinished", None),
        ("made-up/gin/icpg/seed-0", "done", None),
    )
    written = write_report([tmp_path / "runs"], tmp_path / "report")
    page = assert_self_contained(written.html)
    assert "Cells without complete results (2)" in page.text
    for text in (page.text, written.markdown.read_text()):
        assert "made-up/gin/ugs/seed-0: failed: TrainingDiverged: <loss> is NaN" in text
        assert "made-up/gin/ugs/seed-1: unfinished" in text
        assert "icpg/seed-0:" not in text
        assert "random" in text


@quickly
def test_different_data_are_refused_and_different_versions_told(tmp_path: Path) -> None:
    cell(tmp_path / "a", "icpg", 0)
    cell(tmp_path / "b", "icpg", 1, versions={"graphprune": "0.9", "torch": "2.0"})
    written = write_report([tmp_path], tmp_path)
    for text in (assert_self_contained(written.html).text, written.markdown.read_text()):
        assert "Different versions in one report" in text
        assert re.search(r"graphprune 0\.9 in \S*b; 1\.0 in \S*a", text)
    cell(tmp_path / "c", "icpg", 2, digest="e" * 64)
    with pytest.raises(ValueError, match="different data"):
        write_report([tmp_path], tmp_path)


@quickly
def test_exact_configurations_without_places(tmp_path: Path) -> None:
    grid(tmp_path / "runs", seeds=3)
    page = assert_self_contained(write_report([tmp_path / "runs"], tmp_path / "report").html)
    for text in ("method.name: icpg", "model.hidden: 8", "fit.epochs: 2", "seed: 0, 1, 2"):
        assert text in page.text
    assert "/elsewhere" not in page.text


@quickly
def test_other_training_than_dense_is_told(tmp_path: Path) -> None:
    cell(tmp_path / "dense", "dense")
    cell(tmp_path / "icpg", "icpg", config={"fit": {"epochs": 9}})
    page = assert_self_contained(write_report([tmp_path], tmp_path).html)
    assert "icpg was trained otherwise than dense: epochs 9 instead of 2." in page.text


@quickly
def test_undefined_metrics_are_said_to_be_undefined(tmp_path: Path) -> None:
    cell(tmp_path / "dense", "dense", tests=[float("nan")])
    cell(tmp_path / "icpg", "icpg")
    page = assert_self_contained(write_report([tmp_path], tmp_path).html)
    assert "undefined" in page.text


@quickly
def test_joint_grids_have_a_heat_map_and_a_frontier(tmp_path: Path) -> None:
    page = assert_self_contained(write_report([joint(tmp_path / "runs", LOST)], tmp_path / "report").html)
    assert page.tags.count("img") == 1
    assert "Edges and weights: icpg" in page.text
    assert "Extreme tickets of joint grids" in page.text
    assert (tmp_path / "report/figures/joint.png").exists()


@quickly
def test_mean_ranks_stand_beside_the_settings(tmp_path: Path) -> None:
    for number in range(5):
        grid(tmp_path / f"{number}", losses={"icpg": 0.01, "random": 0.1}, data=f"set {number}")
    written = write_report([tmp_path], tmp_path / "report")
    text = written.markdown.read_text()
    assert "Mean ranks over 5 settings, 1 is best: those closer than 0.88 are not told apart" in text
    assert re.search(r"\| icpg +\| +1\.00 \| +\[1\.00, 1\.00\] \|", text)
    assert re.search(r"\| random +\| +2\.00 \| +\[2\.00, 2\.00\] \|", text)


def test_a_hundred_cells_take_less_than_half_a_minute(tmp_path: Path) -> None:
    losses = {"dense": 0.0, "icpg": 0.01, "imp": 0.02, "random": 0.1}
    for number in range(5):
        grid(tmp_path / f"runs/{number}", seeds=5, rounds=10, losses=losses, data=f"set {number}")
    assert len(list(tmp_path.rglob("results.json"))) == 100
    started = time.process_time()  # other tests run beside this one
    assert_self_contained(write_report([tmp_path / "runs"], tmp_path / "report").html)
    assert time.process_time() - started < 30
