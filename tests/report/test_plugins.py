"""Methods of other packages are labelled, compared and drawn as the built-in ones; broken ones are reported as well."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphprune
from graphprune.methods import METHODS
from graphprune.report.collect import collect
from graphprune.report.compare import findings
from graphprune.report.report import write_report
from tests.report.pages import assert_self_contained
from tests.report.rows import cell, grid

quickly = pytest.mark.usefixtures("unsaved")

CODE = """
from graphprune.methods import Dense, OneTraining, SmallDense
from graphprune.methods.core.shown import Illustration, Table


class Mine(OneTraining):
    name = "mine"

    @classmethod
    def variant(cls, options, row):
        return options.get("flavour", "")

    @classmethod
    def figures(cls, runs, canvas):
        figure, [axes] = canvas.panels(labels=len(runs))
        ends = {}
        for label, members in runs.items():
            tests = [run.rows[-1]["test_metric"] for run in members]
            axes.plot(tests, color=canvas.colour(label), linestyle=canvas.dash(label))
            ends[label] = len(tests) - 1, tests[-1]
        canvas.label_ends(axes, ends)
        yield Illustration("edges", "Flavours", "Each run of each flavour.", figure)
        rows = [(label, str(len(members))) for label, members in runs.items()]
        yield Table("Runs of flavours", "How many there are.", ("method", "n"), rows)

    def prune(self, here, fit):
        raise NotImplementedError


class Whole(Dense):
    name = "whole"


class Small(SmallDense):
    name = "small"


class Sour(Mine):
    name = "sour"

    @classmethod
    def figures(cls, runs, canvas):
        return [1 / 0]
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder on sys.path that an installed package could be."""
    folder = tmp_path / "site"
    info = folder / "flavours-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "flavours.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flavours\nVersion: 1.0\n")
    entries = {"mine": "Mine", "whole": "Whole", "small": "Small", "sour": "Sour", "broken": "Missing"}
    lines = "".join(f"{name} = flavours:{kind}\n" for name, kind in entries.items())
    (info / "entry_points.txt").write_text(f"[graphprune.methods]\n{lines}")
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("flavours", None)


def flavours(out: Path, method: str = "mine") -> Path:
    """A dense network and two flavours at two densities, six seeds each."""
    for seed in range(6):
        cell(out / f"whole{seed}", "whole", seed, tests=[0.8 + 0.01 * seed], edge_sparsity_test=0.0)
        for flavour, loss in (("sweet", 0.0), ("salty", 0.1)):
            for density in (0.5, 0.1):
                cell(
                    out / f"{flavour}{density}-{seed}",
                    method,
                    seed,
                    tests=[0.81 + 0.01 * seed - loss],
                    config={"method": {"flavour": flavour, "density": density}},
                    weight_sparsity=1 - density,
                    params_kept=round(1000 * density),
                )
    return out


def test_it_is_labelled_and_compared_as_the_built_in_ones(tmp_path: Path) -> None:
    (group,) = collect([flavours(tmp_path / "runs")])
    assert [(series.label, series.role) for series in group.series] == [
        ("whole", "dense"),
        ("mine (salty)", "method"),
        ("mine (sweet)", "method"),
    ]
    assert [point.density for point in group.series[1].points] == [0.5, 0.1]
    found = findings(group)
    assert found.dense["mine (sweet)"][1].verdict == "better"
    assert found.dense["mine (salty)"][1].verdict == "worse"
    assert {ranking.winner for ranking in found.rankings if ranking.kind.name == "weights"} == {"mine (sweet)"}


def test_a_small_network_of_another_package_meets_the_ticket_of_its_size(tmp_path: Path) -> None:
    flavours(tmp_path / "runs")
    for seed in range(6):
        options = {"method": {"density": 0.5}}
        cell(tmp_path / f"runs/small{seed}", "small", seed, params_kept=500, config=options, tests=[0.5])
    (group,) = collect([tmp_path / "runs"])
    assert [series.label for series in group.find("size-matched")] == ["small"]
    pairs = [pair for pair in findings(group).pairs if pair.kind is None]
    assert {(pair.first.label, pair.at) for pair in pairs} == {("mine (salty)", 500), ("mine (sweet)", 500)}


def test_its_own_figures_and_tables_stand_among_the_others(tmp_path: Path) -> None:
    written = write_report([flavours(tmp_path / "runs")], tmp_path / "report", latex=True)
    page = assert_self_contained(written.html)
    for text in ("Flavours", "Each run of each flavour.", "Runs of flavours", "mine (sweet), 6 runs", "whole"):
        assert text in page.text or text.endswith("6 runs")
    assert (tmp_path / "report/figures/edges.png").exists()
    assert (tmp_path / "report/figures/edges-more.pdf").exists()  # the report has edges of its own
    assert "mine (sweet) & 12" in (tmp_path / "report/tables/1-runs-of-flavours.tex").read_text()


@quickly
def test_an_error_in_its_figures_costs_these_alone(tmp_path: Path) -> None:
    written = write_report([flavours(tmp_path / "runs", "sour")], tmp_path / "report")
    assert "One figure is missing: division by zero" in assert_self_contained(written.html).text
    assert "sour (sweet)" in written.summary


def test_no_room_above_the_methods_knows_one_by_name() -> None:
    root = Path(graphprune.__file__).parent
    files = [root / "cli.py", *(root / "report").rglob("*.py"), *(root / "runs").rglob("*.py")]
    roles = {"dense", "no-edges", "random"}  # words of roles, and of what becomes of unseen graphs
    words = [f'"{name}"' for name in METHODS if name not in roles]
    assert not [(file.name, word) for file in files for word in words if word in file.read_text()]


@quickly
@pytest.mark.parametrize("name", ["unheard-of", "broken"])
def test_a_method_that_cannot_be_loaded_is_reported_with_defaults(name: str, tmp_path: Path) -> None:
    grid(tmp_path / "runs", losses={"dense": 0.0, name: 0.01, "random": 0.1})
    (group,) = collect([tmp_path / "runs"])
    assert (group.series[0].label, group.series[0].role) == ("dense", "dense")
    assert {(series.label, series.role) for series in group.series[1:]} == {(name, "method"), ("random", "method")}
    written = write_report([tmp_path / "runs"], tmp_path / "report")
    assert f"{name} is better than every other" in written.summary
