import math
from pathlib import Path

import pytest

from graphprune.report.collect import collect
from graphprune.report.compare import Ranking, common_sparsity, findings, frontier
from graphprune.report.overview import ranks
from graphprune.report.results import EDGES, WEIGHTS, Group
from tests.report.rows import LOSSES, LOST, cell, grid, joint


def only(folder: Path) -> Group:
    (group,) = collect([folder])
    return group


def ranking(group: Group, name: str) -> Ranking:
    return next(one for one in findings(group).rankings if one.kind.name == name)


def test_every_round_is_compared_with_dense(tmp_path: Path) -> None:
    found = findings(only(grid(tmp_path)))
    assert found.dense.keys() == LOSSES.keys() - {"dense"}
    verdicts = {number: one.verdict for number, one in found.dense["random"].items()}
    assert verdicts == {1: "worse", 2: "worse", 3: "worse"}
    assert found.dense["random"][3].difference.mean == pytest.approx(-0.1, abs=0.005)
    assert found.dense["random"][3].difference.n == 6


def test_the_winner_is_better_than_every_other(tmp_path: Path) -> None:
    group = only(grid(tmp_path, losses={"icpg": 0.01, "random": 0.1, "imp": 0.05}))
    edges, weights = ranking(group, "edges"), ranking(group, "weights")
    assert (edges.winner, weights.winner) == ("icpg", "icpg")
    assert edges.metrics.keys() == {"icpg", "random"}  # imp removes no edges
    assert edges.at == pytest.approx(1 - 0.9**3)
    assert weights.verdict == "icpg is better than every other"


def test_what_the_intervals_do_not_tell_apart_has_no_winner(tmp_path: Path) -> None:
    found = ranking(only(grid(tmp_path)), "weights")
    assert found.winner is None
    assert found.verdict == "no winner shown: icpg, imp are not told apart"


def test_three_seeds_have_no_winner_however_far_ahead(tmp_path: Path) -> None:
    found = ranking(only(grid(tmp_path, seeds=3, losses={"icpg": 0.0, "random": 0.5})), "edges")
    assert (found.winner, found.verdict, found.runs) == (None, "too few runs (3 of at least 5)", 3)


def test_a_method_that_mostly_failed_does_not_take_the_others_runs(tmp_path: Path) -> None:
    grid(tmp_path, losses={"icpg": 0.01, "random": 0.1})
    cell(tmp_path / "ugs", "ugs", 0, rounds=2)
    found = ranking(only(tmp_path), "edges")
    assert found.verdict == "icpg is better than every other; without ugs: too few runs"
    assert (found.runs, found.at) == (6, pytest.approx(1 - 0.9**3))


def test_a_metric_to_be_small_has_the_smallest_for_winner(tmp_path: Path) -> None:
    group = only(grid(tmp_path, losses={"dense": 0, "icpg": 0.01, "random": 0.1}, metric="rmse"))
    assert not group.higher_is_better
    assert ranking(group, "edges").winner == "random"  # it has lost most
    assert findings(group).dense["random"][3].verdict == "better"


def test_runs_that_select_on_test_never_compete(tmp_path: Path) -> None:
    grid(tmp_path / "clean", losses={"dense": 0, "icpg": 0.05, "random": 0.1})
    grid(tmp_path / "paper", losses={"ugs": -0.1}, protocol="paper (selects on test)")
    found = findings(only(tmp_path))
    assert all("ugs" not in one.metrics for one in found.rankings)
    assert all("ugs" not in (pair.first.method, pair.second.method) for pair in found.pairs)
    assert "ugs" not in found.dense  # its own dense network is missing


def test_rivals_are_chosen_by_validation(tmp_path: Path) -> None:
    # By test "random" leads, by validation "imp" and "ugs" do.
    for method, val, test in (("icpg", 0.5, 0.5), ("imp", 0.7, 0.4), ("ugs", 0.8, 0.3), ("random", 0.1, 0.9)):
        for seed in range(5):
            cell(tmp_path / method / str(seed), method, seed, val_metric=val, test_metric=test + 0.001 * seed)
    found = findings(only(tmp_path))
    rivals = {pair.second.label for pair in found.pairs if pair.first.label == "icpg" and pair.kind is WEIGHTS}
    assert rivals == {"imp", "ugs"}
    seen = [frozenset((pair.first.label, pair.second.label, pair.kind)) for pair in found.pairs]
    assert len(seen) == len(set(seen))


def test_equal_sparsity_lies_in_both_ranges_and_is_interpolated(tmp_path: Path) -> None:
    for seed in range(5):
        long = cell(tmp_path / f"a{seed}", "icpg", seed, rounds=4, tests=[0.8, 0.7, 0.6, 0.5])
        assert long.exists()
        cell(tmp_path / f"b{seed}", "random", seed, tests=[0.4], edge_sparsity_test=0.15, weight_sparsity=0.9)
    group = only(tmp_path)
    icpg, random = group.series
    assert common_sparsity([icpg, random], EDGES) == 0.15
    assert common_sparsity([icpg, random], WEIGHTS) is None  # icpg stops at 0.59
    expected = 0.8 + (0.15 - 0.1) / (0.19 - 0.1) * -0.1
    assert icpg.at(EDGES, 0.15)[0, 0] == pytest.approx(expected)
    assert icpg.at(EDGES, 0.05) == {}
    (pair,) = findings(group).pairs
    assert pair.metrics[0].mean == pytest.approx(expected)
    assert pair.others[1] == 0.9
    assert pair.comparison.verdict == "better"


def test_unfinished_runs_do_not_pull_the_sparsity_down(tmp_path: Path) -> None:
    grid(tmp_path, seeds=6, losses={"icpg": 0.01, "random": 0.1})
    cell(tmp_path / "begun", "icpg", 6, rounds=1)
    cell(tmp_path / "whole", "random", 6, rounds=3)
    found = ranking(only(tmp_path), "edges")
    assert found.at == pytest.approx(1 - 0.9**3)
    assert found.runs == 6


def test_a_small_dense_network_faces_the_ticket_of_its_size(tmp_path: Path) -> None:
    grid(tmp_path, losses={"icpg": 0.01, "dense": 0.0})
    for seed in range(6):
        cell(tmp_path / f"small{seed}", "small-dense", seed, params_kept=650, params_total=650, tests=[0.5])
    (pair,) = [one for one in findings(only(tmp_path)).pairs if one.kind is None]
    assert (pair.first.label, pair.second.label, pair.at) == ("icpg", "small-dense", 650)
    assert pair.metrics[0].mean == pytest.approx(0.8 - 0.01 * 2 / 3, abs=0.06)  # round 2 has 640 parameters
    assert pair.comparison.verdict == "better"


def test_undefined_metrics_cost_pairs_not_the_comparison(tmp_path: Path) -> None:
    grid(tmp_path, losses={"dense": 0.0, "icpg": 0.1})
    cell(tmp_path / "dense/more", "dense", 6, tests=[math.nan])
    cell(tmp_path / "icpg/more", "icpg", 6, rounds=3)
    found = findings(only(tmp_path))
    assert found.dense["icpg"][3].difference.n == 6


def test_dense_is_the_one_that_was_trained_alike(tmp_path: Path) -> None:
    for epochs, test in ((2, 0.8), (9, 0.5)):
        for method in ("dense", "icpg"):
            for seed in range(5):
                config = {"fit": {"epochs": epochs}}
                cell(tmp_path / f"{method}{epochs}/{seed}", method, seed, tests=[test], config=config)
    found = findings(only(tmp_path))
    assert found.dense["icpg (epochs=9)"][1].difference.mean == 0
    assert found.dense["icpg (epochs=2)"][1].difference.mean == 0


def test_extreme_tickets_of_each_kind(tmp_path: Path) -> None:
    found = findings(only(grid(tmp_path, losses={"dense": 0.0, "imp": -0.1, "random": 0.3, "icpg": -0.01})))
    assert found.extremes.keys() == {"icpg", "imp", "random"}
    assert found.extremes["imp"].keys() == {"weights"}
    assert found.extremes["icpg"]["edges"].round == 3
    assert found.extremes["random"]["edges"].sparsity is None


def test_ranks_over_settings(tmp_path: Path) -> None:
    grid(tmp_path / "a", losses={"icpg": 0.01, "random": 0.1}, data="A")
    grid(tmp_path / "b", losses={"icpg": 0.1, "random": 0.01}, data="B")
    grid(tmp_path / "c", losses={"icpg": 0.1, "random": 0.01, "imp": 0.2}, data="C", metric="rmse")
    found = [findings(group) for group in collect([tmp_path])]
    ranked, left_out = ranks(found, EDGES)
    assert {label: rank.mean for label, rank in ranked.items()} == {
        "icpg": pytest.approx((1 + 2 + 1) / 3),
        "random": pytest.approx((2 + 1 + 2) / 3),
    }
    ranked, left_out = ranks(found, WEIGHTS)
    assert left_out == ["imp"]
    assert {rank.n for rank in ranked.values()} == {3}
    assert ranks(found[:1], EDGES) == ({}, ["icpg", "random"])


def test_joint_cells_face_dense_and_nobody_else(tmp_path: Path) -> None:
    found = findings(only(joint(tmp_path, LOST)))
    assert not found.rankings
    assert not found.pairs
    assert not found.extremes
    assert len(found.dense) == 4


def test_the_frontier_of_a_joint_grid(tmp_path: Path) -> None:
    found = findings(only(joint(tmp_path, LOST)))
    assert {series.label for series in frontier(found)} == {
        "icpg (edge_rate=0.1, weight_rate=0.4)",
        "icpg (edge_rate=0.3, weight_rate=0.2)",
    }
