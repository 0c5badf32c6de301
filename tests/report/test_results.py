import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.report.collect import collect
from graphprune.report.compare import findings
from graphprune.report.records import mixtures, read_cells, read_runs
from graphprune.report.results import Stat
from graphprune.report.tables import comparisons
from tests.report.rows import cell, cells
from tests.runs.samples import results, row

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(NUMBERS | st.just(math.nan), min_size=1, max_size=6))
def test_statistics_are_those_of_the_finite_values(values: list[float]) -> None:
    stat = Stat.of(values)
    finite = np.array([value for value in values if not math.isnan(value)])
    assert (stat.count, stat.finite) == (len(values), len(finite))
    np.testing.assert_allclose(stat.mean, finite.mean() if len(finite) else math.nan, atol=1e-9)
    np.testing.assert_allclose(stat.sd, finite.std(ddof=1) if len(finite) > 1 else math.nan, rtol=1e-6, atol=1e-6)


def test_runs_are_grouped_over_seeds_and_costs_add_up(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        results(tmp_path / f"icpg{seed}", *(row("icpg", number, seed) for number in (1, 2, 3)))
    results(tmp_path / "dense", row("dense"))
    results(tmp_path / "other data", row("icpg", data="MUTAG"))
    mutag, made_up = collect([tmp_path])
    assert (mutag.title, made_up.title) == ("MUTAG, GIN", "ogbg-made-up, GIN")
    dense, icpg = made_up.series
    assert (dense.method, icpg.method) == ("dense", "icpg")
    assert [point.runs for point in icpg.points] == [3, 3, 3]
    last = icpg.points[-1]
    assert last["test_metric"].mean == pytest.approx(0.67 + 0.002)
    assert last["test_metric"].sd == pytest.approx(0.002)
    assert last["epochs_trained"].mean == 30
    assert last["seconds"].mean == 7.5


def test_costs_are_compared_by_the_processor_where_all_runs_know_it(tmp_path: Path) -> None:
    results(tmp_path / "dense", row("dense", cpu_seconds=2.0))
    results(tmp_path / "icpg", *(row("icpg", number, cpu_seconds=3.0 * number) for number in (1, 2)))
    (group,) = collect([tmp_path])
    assert group.clock == "cpu_seconds" and group.series[1].last["cpu_seconds"].mean == 9.0
    cost = next(each for each in comparisons(findings(group)) if each.title == "Cost")
    found = dict(zip(cost.head, cost.rows[1], strict=True))
    assert (found["seconds"], found["CPU seconds"], found["times dense"]) == ("5.0", "9.0", "4.5")

    results(tmp_path / "older", row("dense", seed=1))  # without the column
    (group,) = collect([tmp_path])
    assert group.clock == "seconds"
    cost = next(each for each in comparisons(findings(group)) if each.title == "Cost")
    found = dict(zip(cost.head, cost.rows[1], strict=True))
    assert "CPU seconds" not in found and (found["seconds"], found["times dense"]) == ("5.0", "2.0")


def test_other_options_make_another_series_and_are_named(tmp_path: Path) -> None:
    for number, rate in enumerate((0.05, 0.05, 0.2)):
        folder = results(tmp_path / str(number), row("icpg", seed=number))
        method = {"name": "icpg", "edge_rate": rate, "rounds": 5 + number}
        values = {"method": method, "data": {"name": "x", "root": f"/{number}"}, "seed": number}
        (folder / "config.yaml").write_text(json.dumps(values))  # JSON is YAML
    (group,) = collect([tmp_path])
    assert {series.label: len(series.runs) for series in group.series} == {
        "icpg (edge_rate=0.05)": 2,
        "icpg (edge_rate=0.2)": 1,
    }


def test_the_paper_protocol_is_a_series_of_its_own(tmp_path: Path) -> None:
    results(tmp_path / "clean", row("icpg"))
    results(tmp_path / "paper", row("icpg", protocol="paper (selects on test)"))
    (group,) = collect([tmp_path])
    assert {series.label for series in group.series} == {"icpg (clean)", "icpg (paper (selects on test))"}


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    results(tmp_path / "a", row("icpg"))
    results(tmp_path / "b", row("icpg"))
    with pytest.raises(ValueError, match="hold the same run"):
        collect([tmp_path])


def test_a_folder_named_twice_counts_once(tmp_path: Path) -> None:
    results(tmp_path / "a", row("icpg"))
    (group,) = collect([tmp_path, tmp_path / "a"])
    assert len(group.series[0].runs) == 1


def test_folders_without_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match=r"holds no results\.json"):
        collect([tmp_path])
    results(tmp_path / "begun")
    with pytest.raises(ValueError, match="finished a round"):
        collect([tmp_path])


@pytest.mark.parametrize("content", ["{", "{}", '[{"method": "icpg"}]', "[1]"])
def test_damaged_results_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=r"results\.json"):
        collect([tmp_path])


def test_what_cannot_be_read_comes_with_a_remedy(tmp_path: Path) -> None:
    cell(tmp_path / "a", "icpg")
    (tmp_path / "a/results.json").write_text("[{")
    with pytest.raises(ValueError, match=r"a/results\.json is damaged.*Delete it and run the same graphprune run"):
        collect([tmp_path])
    (tmp_path / "cells.json").write_text("[{")
    with pytest.raises(ValueError, match=r"cells\.json is damaged.*Delete it and run the same graphprune bench"):
        read_cells([tmp_path])


# ---------------------------------------------------------------------- labels


def labels(folder: Path) -> list[str]:
    return [series.label for group in collect([folder]) for series in group.series]


def test_variants_of_a_method_go_by_their_names(tmp_path: Path) -> None:
    for unseen in ("dense", "random", "weights-only"):
        cell(tmp_path / unseen, "ugs", config={"method": {"unseen": unseen}}, edge_sparsity_test=0.0)
    cell(tmp_path / "degree", "sparsifier", config={"method": {"edges": "degree"}}, unseen="scorer")
    cell(tmp_path / "icpg", "icpg", unseen="predictor")
    assert labels(tmp_path) == [
        "icpg",
        "sparsifier (degree)",
        "ugs (dense test graphs)",
        "ugs (random test graphs)",
        "ugs (weights only)",
    ]


def test_variants_are_known_without_a_configuration(tmp_path: Path) -> None:
    for unseen in ("dense", "random", "none"):
        results(tmp_path / unseen, row("ugs", unseen=unseen, edge_sparsity_test=0.0))
    assert labels(tmp_path) == ["ugs (dense test graphs)", "ugs (random test graphs)", "ugs (weights only)"]


def test_where_test_nodes_were_trained_on_nothing_is_unseen(tmp_path: Path) -> None:
    cell(tmp_path / "cora", "ugs", config={"method": {"unseen": "dense"}}, edge_sparsity_test=0.05)
    assert labels(tmp_path) == ["ugs"]


def test_protocols_are_told_in_the_words_of_the_results(tmp_path: Path) -> None:
    cell(tmp_path / "clean", "ugs", config={"method": {"protocol": "clean"}})
    cell(tmp_path / "paper", "ugs", config={"method": {"protocol": "paper"}}, protocol="paper (edges gated)")
    cell(tmp_path / "test", "icpg", protocol="paper (selects on test)")
    (group,) = collect([tmp_path])
    assert {series.label: series.selects_on_test for series in group.series} == {
        "icpg": True,
        "ugs (clean)": False,
        "ugs (paper (edges gated))": False,
    }


def test_other_models_and_features_are_settings_of_their_own(tmp_path: Path) -> None:
    for hidden in (8, 16):
        cell(tmp_path / f"icpg{hidden}", "icpg", config={"model": {"hidden": hidden}})
        cell(tmp_path / f"dense{hidden}", "dense", config={"model": {"hidden": hidden}})
    groups = collect([tmp_path])
    assert [group.title for group in groups] == ["ogbg-made-up, GIN (hidden=16)", "ogbg-made-up, GIN (hidden=8)"]
    assert all([series.label for series in group.series] == ["dense", "icpg"] for group in groups)


def test_folds_are_repetitions(tmp_path: Path) -> None:
    for fold in range(3):
        cell(tmp_path / f"fold{fold}", "icpg", config={"data": {"fold": fold}}, digest=f"{fold}" * 64)
    (group,) = collect([tmp_path])
    assert [run.repetition for run in group.series[0].runs] == [(0, 0), (0, 1), (0, 2)]
    assert group.folded
    assert "folds of a cross-validation" in group.caveat


def test_products_of_rates_are_joint_grids_and_lists_of_them_are_not(tmp_path: Path) -> None:
    for edge in (0.0, 0.1):
        for weight in (0.0, 0.2):
            rates = {"edge_rate": edge, "weight_rate": weight}
            cell(tmp_path / f"joint/{edge}-{weight}", "icpg", config={"method": rates})
            cell(tmp_path / f"joint/r{edge}-{weight}", "random", config={"method": rates})
    for edge, weight in ((0.05, 0.2), (0.1, 0.4)):
        cell(tmp_path / f"tied/{edge}", "icpg", config={"method": {"edge_rate": edge, "weight_rate": weight}})
    (joint,) = collect([tmp_path / "joint"])
    assert {series.joint for series in joint.series} == {"icpg", "random"}
    assert joint.series[0].label == "icpg (edge_rate=0.0, weight_rate=0.0)"
    (tied,) = collect([tmp_path / "tied"])
    assert {series.joint for series in tied.series} == {""}


# ---------------------------------------------------------------------- what must not be mixed


def test_other_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    cell(tmp_path / "old", "icpg", 0, digest="a" * 64)
    cell(tmp_path / "new", "icpg", 1, digest="b" * 64)
    cell(tmp_path / "other", "icpg", 2, digest="c" * 64, data="MUTAG")
    with pytest.raises(ValueError, match="different data") as caught:
        collect([tmp_path])
    for word in ("ogbg-made-up", "old", "new", "a" * 12, "b" * 12):
        assert word in str(caught.value)
    assert "c" * 12 not in str(caught.value)
    assert len(collect([tmp_path / "old", tmp_path / "other"])) == 2


def test_other_features_of_the_same_set_are_other_data(tmp_path: Path) -> None:
    cell(tmp_path / "raw", "icpg", config={"data": {"features": "raw"}}, digest="a" * 64)
    cell(tmp_path / "deg", "icpg", config={"data": {"features": "deg"}}, digest="b" * 64)
    assert len(collect([tmp_path])) == 2


def test_versions_that_differ_are_told_with_their_folders(tmp_path: Path) -> None:
    for seed in range(5):
        cell(tmp_path / f"new{seed}", "icpg", seed)
    cell(tmp_path / "old", "icpg", 9, versions={"graphprune": "0.9", "torch": "2.0"})
    (text,) = mixtures(read_runs([tmp_path]))
    assert text.startswith("graphprune 0.9 in ")
    assert "old; 1.0 in " in text
    assert "new2 and 2 more" in text
    assert not list(mixtures(read_runs([tmp_path / "new0", tmp_path / "new1"])))


def test_cells_without_results_are_read(tmp_path: Path) -> None:
    cell(tmp_path / "a", "icpg")
    cells(tmp_path, ("a", "done", None), ("b", "failed", "ValueError: no"), ("c", "unfinished", None))
    found = read_cells([tmp_path, tmp_path])
    assert [(one.name, one.state, one.error) for one in found] == [
        ("b", "failed", "ValueError: no"),
        ("c", "unfinished", ""),
    ]


def test_a_grid_of_failures_says_why(tmp_path: Path) -> None:
    cells(tmp_path, ("b", "failed", "ValueError: no such data"))
    with pytest.raises(ValueError, match="b failed: ValueError: no such data"):
        collect([tmp_path])


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"cell": "a"}]'])
def test_a_damaged_list_of_cells_is_named(content: str, tmp_path: Path) -> None:
    cell(tmp_path / "a", "icpg")
    (tmp_path / "cells.json").write_text(content)
    with pytest.raises(ValueError, match=r"cells\.json"):
        read_cells([tmp_path])


def test_columns_of_newer_versions_may_be_missing(tmp_path: Path) -> None:
    old = row("icpg", 1)
    results(tmp_path / "old", old)
    results(tmp_path / "new", row("imp", 1, epochs_search=4, predictor_passes=1, unseen="none"))
    (group,) = collect([tmp_path])
    assert [series.last["epochs_search"].mean for series in group.series] == [0, 4]
