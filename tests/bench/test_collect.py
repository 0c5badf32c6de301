import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.bench.collect import Stat, collect
from tests.bench.samples import results, row

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
    assert (mutag.data, made_up.data) == ("MUTAG", "ogbg-made-up")
    dense, icpg = made_up.series
    assert (dense.method, icpg.method) == ("dense", "icpg")
    assert [point.runs for point in icpg.points] == [3, 3, 3]
    last = icpg.points[-1]
    assert last["test_metric"].mean == pytest.approx(0.67 + 0.002)
    assert last["test_metric"].sd == pytest.approx(0.002)
    assert last["epochs_trained"].mean == 30
    assert last["seconds"].mean == 7.5


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
