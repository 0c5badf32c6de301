"""Methods of one training, run at several densities: each is one series, whose points these are."""

import re
from pathlib import Path
from typing import Any

import pytest

from graphprune.report.collect import collect
from graphprune.report.compare import findings
from graphprune.report.figures import tradeoff
from graphprune.report.overview import ranks
from graphprune.report.report import write_report
from graphprune.report.results import WEIGHTS, Group
from graphprune.report.style import styles
from graphprune.runs import run_one
from tests.report.pages import assert_self_contained
from tests.report.rows import cell
from tests.runs.test_images import config

quickly = pytest.mark.usefixtures("unsaved")
NO_EDGES: dict[str, Any] = {"edge_sparsity_train": 0.0, "edge_sparsity_test": 0.0}
LOSSES = {0.1: 0.01, 0.05: 0.02, 0.02: 0.1}


def run(out: Path, method: str, density: float, seed: int, loss: float, data: str = "pictures", **options: Any) -> None:
    """One run at one density; sparsities are those of a thousand weights."""
    told = "".join(f"{name}={value}" for name, value in options.items())
    cell(
        out / data / f"{method}{told}{density}" / str(seed),
        method,
        seed,
        tests=[0.8 + 0.001 * (seed % 3) - loss],
        config={"method": {"density": density, **options}},
        data=data,
        weight_sparsity=1 - round(1000 * density) / 1000,
        params_kept=round(1000 * density),
        **NO_EDGES,
    )


def grid(out: Path, seeds: int = 5, data: str = "pictures", methods: dict[str, float] | None = None) -> Path:
    """Dense, and methods at three densities, by how many times as much as the first they lose."""
    for seed in range(seeds):
        cell(out / data / f"dense{seed}", "dense", seed, tests=[0.8 + 0.001 * (seed % 3)], data=data, **NO_EDGES)
        for method, factor in (methods or {"fggp": 1, "gmp": 2, "rigl": 3}).items():
            for density, loss in LOSSES.items():
                run(out, method, density, seed, factor * loss, data)
    return out


def only(folder: Path) -> Group:
    (group,) = collect([folder])
    return group


def test_densities_are_the_points_of_one_series(tmp_path: Path) -> None:
    group = only(grid(tmp_path, seeds=2, methods={"fggp": 1}))
    dense, fggp = group.series
    assert fggp.label == "fggp"
    assert [point.density for point in fggp.points] == [0.1, 0.05, 0.02]
    assert [point.number for point in fggp.points] == [1, 2, 3]
    assert [point.name for point in (*fggp.points, *dense.points)][-2:] == ["density 0.02", "round 1"]
    assert fggp.finals == fggp.points
    assert fggp.repetitions == ((0, 0), (1, 0))
    assert [point.runs for point in fggp.points] == [2, 2, 2]
    assert [point["epochs_trained"].mean for point in fggp.points] == [10, 10, 10]  # each is a training of its own
    assert fggp.curves("weight_sparsity")[1, 0] == [
        (1 - density, pytest.approx(0.801 - loss)) for density, loss in LOSSES.items()
    ]


def test_other_starts_are_other_series_and_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    for start in (0.5, 1.0):
        for density in LOSSES:
            run(tmp_path, "fggp", density, 0, 0.1, start_density=start)
    assert [series.label for series in only(tmp_path).series] == [
        "fggp (start_density=0.5)",
        "fggp (start_density=1.0)",
    ]
    run(tmp_path / "again", "fggp", 0.05, 0, 0.1, start_density=0.5)
    with pytest.raises(ValueError, match="hold the same run"):
        collect([tmp_path])


def test_small_dense_networks_of_several_sizes_stay_apart(tmp_path: Path) -> None:
    for density in (0.1, 0.5):
        run(tmp_path, "small-dense", density, 0, 0.1)
    assert [len(series.points) for series in only(tmp_path).series] == [1, 1]


def test_each_density_faces_dense_and_rivals(tmp_path: Path) -> None:
    found = findings(only(grid(tmp_path)))
    assert {number: one.verdict for number, one in found.dense["fggp"].items()} == {1: "worse", 2: "worse", 3: "worse"}
    assert found.dense["gmp"][3].difference.mean == pytest.approx(-0.2)
    met = {(pair.first.label, pair.second.label, round(pair.at, 3)) for pair in found.pairs}
    assert {at for _, _, at in met} == {0.9, 0.95, 0.98}
    assert len(met) == len(found.pairs) == 9  # three pairs at three densities
    assert [(round(one.at or 0, 3), one.winner, one.runs) for one in found.rankings] == [
        (0.9, "fggp", 5),
        (0.95, "fggp", 5),
        (0.98, "fggp", 5),
    ]
    better = findings(only(grid(tmp_path / "more", data="other", methods={"gmp": -1}))).extremes["gmp"]["weights"]
    assert (better.round, better.sparsity) == (3, pytest.approx(0.98))


def test_rounds_meet_densities_by_interpolation_and_densities_nothing_between(tmp_path: Path) -> None:
    grid(tmp_path, methods={"fggp": 1})
    for seed in range(5):
        cell(tmp_path / f"imp{seed}", "imp", seed, rounds=11, tests=[0.7] * 11, data="pictures", **NO_EDGES)
    found = findings(only(tmp_path))  # imp ends at 91.4 %
    (ranking,) = found.rankings
    assert ranking.at == pytest.approx(0.9)
    assert ranking.values["imp"][0, 0] == pytest.approx(0.7)
    fggp = next(series for series in found.group.series if series.method == "fggp")
    assert not fggp.at(WEIGHTS, 0.93)
    assert fggp.at(WEIGHTS, 0.95002).keys() == fggp.at(WEIGHTS, 0.95).keys() == set(fggp.repetitions)


def test_a_missing_density_is_a_gap(tmp_path: Path) -> None:
    grid(tmp_path, seeds=2, methods={"fggp": 1})
    run(tmp_path, "fggp", 0.1, 2, 0.01)
    run(tmp_path, "fggp", 0.02, 2, 0.1)
    _, fggp = only(tmp_path).series
    assert [point.runs for point in fggp.points] == [3, 2, 3]
    assert fggp.at(WEIGHTS, 0.98).keys() == {(0, 0), (1, 0), (2, 0)}
    assert fggp.at(WEIGHTS, 0.95).keys() == {(0, 0), (1, 0)}


def test_ranks_are_over_data_sets_and_densities(tmp_path: Path) -> None:
    grid(tmp_path, seeds=3, data="a")
    grid(tmp_path, seeds=3, data="b", methods={"fggp": 2, "gmp": 1})
    found = [findings(group) for group in collect([tmp_path])]
    ranked, left_out = ranks(found, WEIGHTS)
    assert left_out == ["rigl"]
    assert {label: (rank.mean, rank.n) for label, rank in ranked.items()} == {"fggp": (1.5, 6), "gmp": (1.5, 6)}
    assert all(1 <= rank.low < rank.mean < rank.high <= 2 for rank in ranked.values())
    ranked, left_out = ranks(found[:1], WEIGHTS)
    assert {label: (rank.mean, rank.low, rank.high) for label, rank in ranked.items()} == {
        "fggp": (1, 1, 1),
        "gmp": (2, 2, 2),
        "rigl": (3, 3, 3),
    }


def test_a_figure_spreads_what_is_near_the_whole(tmp_path: Path) -> None:
    group = only(grid(tmp_path, seeds=2))
    figure = tradeoff(group, WEIGHTS, styles({series.label: series.role for series in group.series}))
    assert figure is not None
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    assert 80 < left < 90 and 98 < right < 100
    ninety, middle, end = axes.transData.transform([(90, 0.5), (99, 0.5), (99.9, 0.5)])[:, 0]
    assert middle - ninety == pytest.approx(end - middle, rel=1e-3)
    assert "fggp, 2 runs" in [text.get_text() for text in axes.texts]


@quickly
def test_a_report_has_a_block_of_densities_and_no_edges(tmp_path: Path) -> None:
    grid(tmp_path, seeds=2)
    run(tmp_path, "fggp", 0.1, 9, 0.01)
    written = write_report([tmp_path], tmp_path / "report")
    assert_self_contained(written.html)
    text = written.markdown.read_text()
    block = re.findall(r"^\| fggp +\| +(\S+) \| +(\S+) % \| +\d", text, flags=re.MULTILINE)
    assert block == [("0.1", "90.00"), ("0.05", "95.00"), ("0.02", "98.00")]
    assert "Mean ranks over 3 settings, 1 is best" in text
    assert "pictures, GIN at 90.00 %, 95.00 %, 98.00 %" in text
    assert "fggp: 2 of 3 runs have reached density 0.05" in text
    assert "All rounds" not in text.replace("All rounds together", "")
    told = text[: text.index("Where the numbers come from")].replace("graphprune", "")
    assert not re.search(r"\b(edges?|graphs?|predictor)\b", told)


def test_real_runs_show_their_layers_at_each_density(tmp_path: Path) -> None:
    run_one(config(), tmp_path / "dense")
    for density in (0.5, 0.1):
        run_one(config("random-at-init", density=density), tmp_path / f"random{density}")
    page = write_report([tmp_path], tmp_path / "report").markdown.read_text()
    assert "Weights left in each layer" in page
    assert "One figure is missing" not in page
    assert (tmp_path / "report/figures/layers.png").exists()
