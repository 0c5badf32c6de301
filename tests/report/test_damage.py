"""Damaged files in a report: named, and no number of theirs in a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphprune.report.collect import collect
from graphprune.report.report import Written, write_report
from graphprune.runs.entries import TICKET
from graphprune.sealed import seal
from tests.report.rows import cell
from tests.resealed import reseal
from tests.runs.samples import results, row


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds."""

    def save(_: object, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".png").write_bytes(b"\x89PNG")
        return path.with_suffix(".png")

    monkeypatch.setattr("graphprune.report.style.save", save)


def sealed(folder: Path, method: str, **changes: object) -> Path:
    """A run with digests."""
    cell(folder, method, **changes)  # type: ignore[arg-type]
    for name in ("results.json", "provenance.json"):
        reseal(folder / name)
    return folder


def report(folder: Path) -> tuple[Written, str]:
    written = write_report([folder], folder)
    text = written.markdown.read_text()
    assert ("Damaged files" in text) == ("Damaged files" in written.html.read_text()) == ("damaged" in written.summary)
    return written, text


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_all_fit(tmp_path: Path) -> None:
    sealed(tmp_path / "a", "icpg")
    _, text = report(tmp_path)
    assert "- Digests: results and tickets of 1 of 1 runs fit theirs\n" in text
    assert "Damaged" not in text


def test_runs_without_digests_are_named(tmp_path: Path) -> None:
    sealed(tmp_path / "a", "icpg", seed=0)
    for seed in range(1, 6):
        cell(tmp_path / f"old{seed}", "icpg", seed)
    _, text = report(tmp_path)
    assert "results and tickets of 1 of 6 runs fit theirs" in text
    assert "files without one, written by an older version, are in" in text and "old3 and 2 more" in text


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("results.json", '"test_metric": 0.5', '"test_metric": 0.9', "entry 1: altered since it was written"),
        ("results.json", "[{", "[", "damaged"),
        ("results.json", '"seed": 1', '"seed": 1, "seed": 1', "'seed' stands twice"),
        ("provenance.json", '"threads": 1', '"threads": 2', "entry 1: altered since it was written"),
    ],
)
def test_a_run_with_a_damaged_file_is_left_out(name: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    sealed(tmp_path / "a", "icpg", seed=0, tests=[0.5])
    sealed(tmp_path / "b", "icpg", seed=1, tests=[0.5])
    change(tmp_path / "b" / name, old, new)
    written, text = report(tmp_path)
    assert f"b/{name}: " in text and words in text and "this run is left out" in text
    assert "- Seeds: 0\n" in text and "0.9000" not in text
    assert f"b/{name}: " in written.summary
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        collect([tmp_path])
    change(tmp_path / "a" / "results.json", '"test_metric": 0.5', '"test_metric": 0.9')
    with pytest.raises(
        ValueError, match=r"no run in .* has finished a round yet; .*/a is damaged, see graphprune verify"
    ):
        write_report([tmp_path], tmp_path)


def test_options_are_those_of_the_rows(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "a", "icpg")
    options = {
        TICKET: "0" * 64,
        "method.name": "icpg",
        "data.name": "ogbg-made-up",
        "model.name": "gin",
        "model.hidden": 8,
        "fit.epochs": 2,
    }
    reseal(folder / "results.json", lambda one: one.update(options))
    _, text = report(tmp_path)
    assert "Damaged" not in text
    sealed(tmp_path / "b", "icpg", seed=1)
    change(folder / "config.yaml", '"hidden": 8', '"hidden": 9')
    _, text = report(tmp_path)
    assert "a/config.yaml: the row of round 1 in results.json has another model.hidden; this run is left out" in text


def test_a_damaged_ticket_is_named_and_the_row_stands(tmp_path: Path) -> None:
    one = seal({**row("icpg"), TICKET: "0" * 64})
    results(tmp_path / "a", one)
    (tmp_path / "a/round-1").mkdir()
    (tmp_path / "a/round-1/ticket.json").write_text(json.dumps({"format": 1, "digest": "0" * 64}))
    _, text = report(tmp_path)
    assert "a/round-1/ticket.json: altered since it was written: its digest does not fit; the results of this" in text
    assert f"{one['test_metric']:.4f}" in text
