import json
import re
from pathlib import Path

import pytest

from graphprune.report.report import write_report
from graphprune.runs import run_one
from graphprune.runs.text import text_table
from tests.report.pages import assert_self_contained
from tests.runs.samples import results, row, tiny_run, tiny_set

quickly = pytest.mark.usefixtures("unsaved")


def many(folder: Path, methods: tuple[str, ...] = ("dense", "no-edges", "icpg", "imp", "random")) -> Path:
    for seed in (0, 1, 2):
        for method in methods:
            rounds = (1,) if method in ("dense", "no-edges", "small-dense") else (1, 2, 3)
            results(folder / f"{method}{seed}", *(row(method, number, seed) for number in rounds))
    return folder


def test_many_seeds(tmp_path: Path) -> None:
    written = write_report([many(tmp_path)], tmp_path)
    page = assert_self_contained(written.html)
    assert page.tags.count("img") == 3
    assert "0.6720 ± 0.0020" in page.text
    assert "0.6720 ± 0.0020" in written.markdown.read_text()
    assert "0.6720 ± 0.0020" in written.summary
    for name in ("edges", "weights", "cost"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"(figures/{name}.png)" in written.markdown.read_text()
    for text in (page.text, written.markdown.read_text()):
        assert "too few runs (3 of at least 5)" not in text  # but once a table
        assert "there are too few runs for one: it takes 5." in text
    assert "is better than every other" not in page.text


def test_the_same_results_give_the_same_report(tmp_path: Path) -> None:
    many(tmp_path / "runs")
    first = write_report([tmp_path / "runs"], tmp_path / "one")
    second = write_report([tmp_path / "runs"], tmp_path / "two")
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.markdown.read_bytes() == second.markdown.read_bytes()


@quickly
def test_one_seed_shows_no_spread(tmp_path: Path) -> None:
    results(tmp_path / "icpg", row("icpg", 1), row("icpg", 2))
    page = assert_self_contained(write_report([tmp_path], tmp_path).html)
    assert "0.6800" in page.text
    assert not re.search(r"0\.6800\s*±", page.text)


@pytest.mark.parametrize("methods", [("dense",), ("no-edges",), ("imp",), ("small-dense",), ("random", "small-dense")])
def test_missing_methods_and_single_rounds(methods: tuple[str, ...], tmp_path: Path) -> None:
    assert_self_contained(write_report([many(tmp_path, methods)], tmp_path).html)


@quickly
def test_missing_numbers_are_said_to_be_missing(tmp_path: Path) -> None:
    results(tmp_path / "a", row("icpg", 1, 0, test_metric=None))
    results(tmp_path / "b", row("icpg", 1, 1))
    results(tmp_path / "c", row("dense", 1, 0, test_metric=None, val_metric=None))
    page = assert_self_contained(write_report([tmp_path], tmp_path).html)
    assert "0.6920 (undefined in 1 of 2 runs)" in page.text
    assert not re.search(r"\bnan\b", page.text.lower())


@quickly
def test_unfinished_runs_are_named(tmp_path: Path) -> None:
    results(tmp_path / "a", row("icpg", 1, 0), row("icpg", 2, 0))
    results(tmp_path / "b", row("icpg", 1, 1))
    page = assert_self_contained(write_report([tmp_path], tmp_path).html)
    assert "icpg: 1 of 2 runs have reached round 2" in page.text


@quickly
def test_collapsed_layers_and_leaks_stand_out(tmp_path: Path) -> None:
    results(tmp_path / "a", row("icpg", 1, 0, collapsed=["convs.1.weight", "head.weight"]))
    results(tmp_path / "b", row("random", 1, 0, protocol="paper (selects on test)"))
    written = write_report([tmp_path], tmp_path)
    page = assert_self_contained(written.html)
    assert "icpg, round 1, seed 0: convs.1.weight, head.weight" in page.text
    assert "Selects on the test set: random" in page.text
    assert re.search(r'<tr class="test">(<td[^>]*>[^<]*</td>)+<td[^>]*>0.6900', written.html.read_text())
    assert "**Selects on the test set:** random" in written.markdown.read_text()
    assert "random [selects on test]" in written.summary


@quickly
def test_names_from_results_cannot_write_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|"
    results(tmp_path / "a", row("icpg", 1, 0, data=evil, model=evil, protocol=evil, collapsed=[evil]))
    written = write_report([tmp_path], tmp_path)
    page = assert_self_contained(written.html)
    assert page.text.count(evil) > 3


@quickly
def test_several_data_sets_have_chapters_of_their_own(tmp_path: Path) -> None:
    many(tmp_path / "one", ("icpg",))
    results(tmp_path / "two", row("icpg", data="MUTAG"))
    page = assert_self_contained(write_report([tmp_path], tmp_path).html)
    assert page.tags.count("section") == 2
    assert {"#setting-1", "#setting-2"} <= set(page.addresses)
    assert (tmp_path / "figures/edges-2.png").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(tmp_path, row("icpg"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"matplotlib and jinja2: pip install 'graphprune\[report\]'"):
        write_report([tmp_path], tmp_path)


def test_real_runs_show_layers_graphs_and_provenance(tmp_path: Path) -> None:
    root = tiny_set(tmp_path / "raw")
    for method in ("icpg", "imp"):
        run_one(tiny_run(root, method), tmp_path / "runs" / method)
    written = write_report([tmp_path / "runs"], tmp_path / "report")
    page = assert_self_contained(written.html)
    assert page.tags.count("img") == 5
    digest = json.loads((tmp_path / "runs/imp/provenance.json").read_text())[0]["data"]["digest"]
    for text in (digest, "Threads", "torch 2", "config.yaml in", "epochs 2, lr 0.01", "stratified 10-fold"):
        assert text in page.text
    assert re.search(r"first \d connected test graphs", page.text)


def test_a_lost_ticket_costs_a_figure_not_the_report(tmp_path: Path) -> None:
    root = tiny_set(tmp_path / "raw")
    run_one(tiny_run(root), tmp_path / "run")
    (tmp_path / "run/round-2/ticket.json").write_text("{")
    page = assert_self_contained(write_report([tmp_path / "run"], tmp_path / "report").html)
    assert "One figure is missing" in page.text
    assert page.tags.count("img") == 2


def test_text_tables_align_and_escape() -> None:
    text = text_table(("name", "n"), [("a|b", "1"), ("c", "23")], numbers=True, markdown=True)
    assert text.splitlines() == ["| name |  n |", "| ---- | -: |", "| a\\|b |  1 |", "| c    | 23 |"]
    assert text_table(("name", "n"), [("a", "1")]).splitlines() == ["name  n", "----  -", "a     1"]
