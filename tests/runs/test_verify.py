"""Files that are not what was written are found, whatever was changed in them; what only looks otherwise is not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphprune.cli import main
from graphprune.data import open_stored
from graphprune.data.disk.open import FIELDS
from graphprune.data.disk.write import store
from graphprune.deployed import Deployed, deploy
from graphprune.files import parsed
from graphprune.grids.command import run_cells
from graphprune.methods.hamp import journal
from graphprune.methods.hamp.genes import Gene
from graphprune.report.records import read_cells, read_run
from graphprune.report.report import Written
from graphprune.runs import run_one
from graphprune.runs.build import build
from graphprune.runs.verify import CHECKS, Finding, check, check_run, verify
from graphprune.sealed import DIGEST, seal
from graphprune.ticket import Ticket
from tests.resealed import reseal
from tests.runs.samples import NAME, tiny_run, tiny_set
from tests.ticket.samples import facts, ticket


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each: a grid of a run, a deployed object, a stored set and a search."""
    root, out = tiny_set(tmp_path_factory.mktemp("raw")), tmp_path_factory.mktemp("kept")
    grid = {
        "common": {"model": {"hidden": 8, "layers": 2}, "fit": {"epochs": 2, "batch_size": 16}},
        "data": [{"name": NAME, "root": str(root), "features": "deg+odeg10"}],
        "models": ["gcn"],
        "methods": ["dense"],
    }
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as executor:
        patch.setattr("graphprune.grids.command.write_report", lambda *_: Written(Path("a"), Path("b"), "told"))
        (outcome,) = run_cells(grid, out / "grid", executor)
    assert outcome.error is None
    config = tiny_run(root)
    run_one(config, out / "run")
    built = build(config)
    deploy(Ticket.load(out / "run/round-2"), built.model, built.data, edges=True).save(out / "deployed")
    store(built.data, out / "set")
    search = journal.Journal(out / "search")
    genes = [Gene.of("first", 8, 0.25), Gene.of("second", 8, 0.5)]
    search.open(genes, ("params",), {"processor": "Abacus"})
    search.bind(ticket())
    for level in (1, 2):
        search.add((level, 1), {"error": 0.25 + level / 7, "params": 120 * level, "seconds": 0.5})
    return out


FILES: dict[str, Callable[[Path], Any]] = {
    "run/round-2/ticket.json": lambda file: facts(Ticket.load(file.parent)),
    "run/results.json": lambda file: read_run(file).rows,
    "run/provenance.json": lambda file: read_run(file.with_name("results.json")).provenance,
    "run/metrics.jsonl": lambda file: found_in(file),
    "grid/cells.json": lambda file: read_cells([file.parent]),
    "deployed/deployed.json": lambda file: told(Deployed.load(file.parent)),
    "set/stored.json": lambda file: set_in(file.parent),
    "search/evaluations.jsonl": lambda file: journal.read(file.parent),
}


def told(deployed: Deployed) -> Any:
    return deployed.about, deployed.recorded, deployed.edges.rule, [vars(each) for each in deployed.edges.rounds]


def set_in(folder: Path) -> Any:
    data = open_stored(folder)
    return [data.digest(), *(getattr(data, name) for name in FIELDS)]


def found_in(file: Path) -> Any:
    """Lines of metrics are read to go on with them only."""
    for finding in check(file, CHECKS[file.name]):
        if finding.kind == "damaged":
            raise ValueError(finding.text)
    return said(file.read_text(), file)


def said(text: str, file: Path) -> list[str]:
    """What a file says, a canonical text each document; doubled keys are an error, half lines are left out."""
    *whole, last = text.split("\n") if file.suffix == ".jsonl" else [text, ""]
    assert not last or file.suffix == ".jsonl"
    return [json.dumps(parsed(line), sort_keys=True) for line in whole]


def places(text: str) -> list[int]:
    """Where the characters of values stand: inside of strings that are no keys, of numbers and of words."""
    tokens = re.finditer(r'"((?:[^"\\]|\\.)*)"(\s*:)?|([^\s{}\[\]:,"]+)', text)
    return [n for each in tokens if not each[2] for n in range(*each.span(1 if each[1] is not None else 3))]


characters = st.sampled_from('0123456789eE+-."\\,: abcdef') | st.characters(exclude_categories=["Cs"])
quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", FILES)
def test_a_changed_character_of_a_value_is_refused_or_means_the_same(name: str, kept: Path) -> None:
    file, load = kept / name, FILES[name]
    text = file.read_text()
    assert DIGEST in text
    where = places(text)

    @quickly
    @given(st.sampled_from(where), characters)
    def changed(place: int, character: str) -> None:
        other = text[:place] + character + text[place + 1 :]
        file.write_bytes(other.encode())
        try:
            load(file)
        except ValueError:
            assert [each.kind for each in check(file, CHECKS[file.name])] == ["damaged"]
        else:
            assert said(other, file) == said(text, file)

    try:
        changed()
    finally:
        file.write_text(text)


@pytest.mark.parametrize("name", [*FILES, "run/config.yaml"])
def test_a_change_anywhere_is_said_or_means_the_same(name: str, kept: Path) -> None:
    file = kept / name
    text = file.read_text()

    @quickly
    @given(st.integers(0, len(text) - 1), characters | st.just(""), st.booleans())
    def changed(place: int, character: str, inserted: bool) -> None:
        other = text[:place] + character + text[place + (not inserted) :]
        file.write_bytes(other.encode())
        if check(file, CHECKS[file.name]) == [] and file.suffix != ".yaml":
            assert said(other, file) == said(text, file)

    try:
        changed()
    finally:
        file.write_text(text)


@pytest.fixture
def copy(kept: Path, tmp_path: Path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(kept, tmp_path / "copy"))


def kinds(found: list[Finding], folder: Path) -> dict[str, str]:
    return {each.file.relative_to(folder).as_posix(): each.kind for each in found}


def test_all_is_as_it_was_written(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(kept) == ([], 16)
    assert main(["verify", str(kept)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("16 files read: 0 damaged, 0 without a digest")


DAMAGE: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a metric in the results": (
        "run/results.json",
        lambda s: s.replace('"test_metric": 0.', '"test_metric": 1.'),
        "entry",
    ),
    "a metric in a ticket": (
        "run/round-1/ticket.json",
        lambda s: s.replace('"test_metric": 0.', '"test_metric": 1.'),
        "alt",
    ),
    "a density": ("run/round-2/ticket.json", lambda s: s.replace('"density": 0.', '"density": 0.1'), "altered since"),
    "a doubled key": (
        "run/round-2/ticket.json",
        lambda s: s.replace('"round": 2', '"round": 2, "round": 2', 1),
        "twice",
    ),
    "a doubled key of a row": (
        "run/results.json",
        lambda s: s.replace('"seed": 0', '"seed": 0, "seed": 0', 1),
        "twice",
    ),
    "an option": ("run/config.yaml", lambda s: s.replace("hidden: 8", "hidden: 9", 1), "has another"),
    "a loss": ("run/metrics.jsonl", lambda s: s.replace('"loss": 0.', '"loss": 1.', 1), "line 1: altered"),
    "a version": ("run/provenance.json", lambda s: s.replace('"threads": ', '"threads": 1'), "entry 1: altered"),
    "an error of a search": ("search/evaluations.jsonl", lambda s: s.replace('"error": 0', '"error": 1'), "line 2"),
    "a state of a cell": ("grid/cells.json", lambda s: s.replace('"done"', '"gone"'), "entry 1: altered"),
    "a name of a set": (
        "set/stored.json",
        lambda s: s.replace(f'"name": "{NAME}"', '"name": "TINI"', 1),
        "altered since",
    ),
    "a time": ("deployed/deployed.json", lambda s: s.replace('"seconds": ', '"seconds": 1'), "altered since"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(name: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, change, words = DAMAGE[name]
    text = (copy / place).read_text()
    (copy / place).write_text(change(text))
    assert (copy / place).read_text() != text
    assert kinds(verify(copy)[0], copy) == {place: "damaged"}
    assert main(["verify", str(copy)]) == 1
    line, total = capsys.readouterr().out.splitlines()
    assert line.startswith(f"damaged: {copy / place}: ") and words in line
    assert " 1 damaged" in total


@pytest.mark.parametrize("name", ["run/round-1/ticket.safetensors", "deployed/deployed.safetensors", "set"])
def test_tensors_are_read_to_the_end(name: str, copy: Path) -> None:
    file = copy / name
    file = max(file.glob("*.raw")) if file.is_dir() else file
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (found,) = verify(copy)[0]
    assert found.kind == "damaged" and file.name in found.text


def test_results_are_those_of_the_tickets(copy: Path) -> None:
    """Whoever gives a changed file another digest is found out where another file tells the same."""
    file, ticket_file = copy / "run/results.json", copy / "run/round-1/ticket.json"
    text = file.read_text()
    reseal(file, lambda row: row.update(test_metric=0.99))
    (found,) = check_run(copy / "run")
    assert found.text == "the row of round 1 has another test_metric than round-1/ticket.json"
    file.write_text(text)
    reseal(ticket_file, lambda document: document["ticket"]["row"].update(test_metric=0.99))
    (found,) = check_run(copy / "run")
    assert "another test_metric" in found.text
    reseal(ticket_file, lambda document: document["written_by"].update(torch="2.0"))
    Ticket.load(ticket_file.parent)  # a digest is no signature
    shutil.rmtree(ticket_file.parent)
    (found,) = check_run(copy / "run")
    assert "round-1 is missing although round 2 is there" in found.text


def test_a_row_tells_which_ticket_it_is_of(copy: Path) -> None:
    rows = json.loads((copy / "run/results.json").read_text())
    for row in rows:
        document = json.loads((copy / f"run/round-{row['round']}/ticket.json").read_text())
        assert row["ticket"] == document[DIGEST]
    reseal(copy / "run/round-1/ticket.json", lambda document: document["written_by"].update(torch="2.0"))
    (found,) = check_run(copy / "run")
    assert found.text == "the row of round 1 is of another ticket than round-1/ticket.json"
    bare = [{name: value for name, value in row.items() if name != DIGEST} for row in rows]
    (copy / "run/results.json").write_text(json.dumps(bare))
    (found,) = check_run(copy / "run")
    assert "entry 1: it has no digest, but one of a ticket" in found.text


def without(file: Path) -> None:
    """As older versions wrote it."""

    def plain(document: dict[str, Any]) -> dict[str, Any]:
        drop = {DIGEST} | ({"ticket"} if file.name == "results.json" else set())
        return {name: value for name, value in document.items() if name not in drop}

    if file.suffix == ".jsonl":
        lines = [json.dumps(plain(json.loads(line))) + "\n" for line in file.read_text().splitlines()]
        file.write_text("".join(lines))
    else:
        content = json.loads(file.read_text())
        file.write_text(json.dumps([plain(each) for each in content] if isinstance(content, list) else plain(content)))


def test_older_files_load_and_are_said_to_have_none(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: load(copy / name) for name, load in FILES.items()}
    files = [*copy.rglob("*.json"), *copy.rglob("*.jsonl")]
    files = [file for file in files if file.name in CHECKS]
    for file in files:
        without(file)
    for name, load in FILES.items():
        now = load(copy / name)  # those that are left out tell digests, or hold modules
        if name not in ("run/results.json", "run/metrics.jsonl", "run/provenance.json", "deployed/deployed.json"):
            assert now == before[name]
    assert kinds(verify(copy)[0], copy) == {file.relative_to(copy).as_posix(): "no digest" for file in files}
    assert main(["verify", str(copy)]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert len(lines) == len(files) and f"{len(files)} without a digest" in total


def test_a_journal_goes_on_as_it_began(copy: Path) -> None:
    file = copy / "search" / journal.EVALUATIONS
    sealed = file.read_text()
    genes = journal.read(file.parent).genes
    for text in (sealed, "old"):
        if text == "old":
            without(file)
        begun = file.read_text()
        with file.open("a") as stream:
            stream.write('{"point": [2')
        assert kinds(verify(file.parent)[0], file.parent)[file.name] == (
            "unfinished" if text == sealed else "no digest"
        )
        search = journal.Journal(file.parent)
        search.open(genes, ("params",), {"processor": "Abacus"})
        search.bind(ticket())
        assert file.read_text() == begun
        search.add((3, 1), {"error": 0.5, "params": 7, "seconds": 0.1})
        head, *lines = map(json.loads, file.read_text().splitlines())
        assert [DIGEST in line for line in lines] == [DIGEST in head] * 3 == [text == sealed] * 3
        file.write_text(sealed)
    head, first, *rest = file.read_text().splitlines()
    bare = {name: value for name, value in json.loads(first).items() if name != DIGEST}
    file.write_text("\n".join([head, json.dumps(bare), *rest]) + "\n")
    with pytest.raises(ValueError, match=r"line 2: damaged .*it has no digest, unlike the first line"):
        journal.read(file.parent)


def test_a_run_that_is_going_on_is_not_damaged(copy: Path) -> None:
    with (copy / "run/metrics.jsonl").open("a") as stream:
        stream.write('{"round": 3, "pha')
    (copy / "run/.round-3.0123.tmp").mkdir()
    (copy / "run/.round-3.0123.tmp/ticket.safetensors").write_bytes(b"half")
    rows = json.loads((copy / "run/results.json").read_text())
    (copy / "run/results.json").write_text(json.dumps(rows[:1]))  # killed between the ticket and the results
    assert kinds(verify(copy)[0], copy) == {"run/metrics.jsonl": "unfinished"}


def test_missing_halves_are_named(copy: Path) -> None:
    (copy / "run/round-2/ticket.json").unlink()
    (copy / "deployed/deployed.safetensors").unlink()
    found = verify(copy)[0]
    assert kinds(found, copy) == {"run/round-2/ticket.json": "damaged", "deployed/deployed.json": "damaged"}
    assert all("missing" in each.text for each in found)


def test_folders_without_anything_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "nowhere")]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds none of cells.json, config.yaml, deployed.json" in capsys.readouterr().err
    (tmp_path / "results.json").write_text('{"of": "another program"}')
    assert verify(tmp_path) == ([], 1)


def test_a_run_with_a_changed_ticket_does_not_go_on(copy: Path) -> None:
    config = tiny_run(tiny_set(copy / "raw"), rounds=3)
    file = copy / "run/round-1/ticket.json"
    file.write_text(file.read_text().replace('"test_metric": 0.', '"test_metric": 0.1'))
    with pytest.raises(ValueError, match=r"round-1/ticket\.json is damaged .*its digest does not fit.*delete"):
        run_one(config, copy / "run")


def test_sealed_entries_are_what_the_writers_write(kept: Path) -> None:
    for name in ("run/results.json", "run/provenance.json", "grid/cells.json"):
        entries = json.loads((kept / name).read_text())
        assert entries and all(seal(entry) == entry for entry in entries)
