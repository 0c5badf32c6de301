import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.methods import TrainingDiverged
from graphprune.runs import RunConfig, Watch, run_one
from graphprune.runs.folder import RunFolder
from graphprune.ticket import Ticket
from tests.resealed import reseal
from tests.runs.same import assert_same_run, metrics
from tests.runs.samples import tiny_run, tiny_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("raw"))


def test_a_run_leaves_everything_behind(root: Path, tmp_path: Path) -> None:
    config = tiny_run(root)
    rows = run_one(config, tmp_path / "run")
    assert [row["round"] for row in rows] == [1, 2]
    assert json.loads((tmp_path / "run/results.json").read_text()) == rows
    assert RunConfig.load(tmp_path / "run/config.yaml") == config
    entries = metrics(tmp_path / "run")
    order = [(entry["round"], entry["phase"], entry["epoch"]) for entry in entries]
    assert order == [(r, phase, e) for r in (1, 2) for phase in ("search", "ticket") for e in (1, 2)]
    assert all(entry.keys() >= {"loss", "val_metric", "seconds"} for entry in entries)
    (sitting,) = json.loads((tmp_path / "run/provenance.json").read_text())
    assert sitting["threads"] == torch.get_num_threads()
    assert sitting["versions"]["torch"] == torch.__version__
    assert sitting["data"]["graphs"] == {"train": 32, "val": 4, "test": 4}
    assert rows[1].items() >= Ticket.load(tmp_path / "run/round-2").row.items()
    # With the options of the run, so that a table of many runs needs nothing but their results.
    assert all(row["data.fold"] == 0 and row["method.edge_rate"] == 0.05 and row["model.hidden"] == 8 for row in rows)
    assert not {"method.rounds", "data.root"} & rows[0].keys()


def test_methods_of_one_seed_start_from_the_same_weights(root: Path, tmp_path: Path) -> None:
    for method in ("icpg", "imp", "random", "dense", "no-edges"):
        run_one(tiny_run(root, method), tmp_path / method)
    first = Ticket.load(tmp_path / "icpg/round-1").rewind
    for method in ("imp", "random", "dense", "no-edges"):
        other = Ticket.load(tmp_path / method / "round-1").rewind
        assert all(torch.equal(value, other[name]) for name, value in first.items())
    run_one(tiny_run(root, "dense", seed=1), tmp_path / "other seed")
    other = Ticket.load(tmp_path / "other seed/round-1").rewind
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_more_rounds_later_are_the_rounds_of_a_longer_run(root: Path, tmp_path: Path) -> None:
    run_one(tiny_run(root, rounds=1), tmp_path / "grown")
    run_one(tiny_run(root, rounds=3), tmp_path / "grown")
    run_one(tiny_run(root, rounds=3), tmp_path / "whole")
    assert_same_run(tmp_path / "grown", tmp_path / "whole")
    assert RunConfig.load(tmp_path / "grown/config.yaml").method["rounds"] == 3


def test_a_finished_run_is_not_run_again(root: Path, tmp_path: Path) -> None:
    rows = run_one(tiny_run(root), tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("ticket.*")}
    assert run_one(tiny_run(root), tmp_path) == rows
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("ticket.*")} == before
    assert len(json.loads((tmp_path / "provenance.json").read_text())) == 1


def test_fewer_rounds_than_there_are_is_a_look(root: Path, tmp_path: Path) -> None:
    rows = run_one(tiny_run(root, "random", rounds=3), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert run_one(tiny_run(root, "random", rounds=1), tmp_path) == rows
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_fewer_rounds_of_an_unfinished_run_leave_it_as_long_as_it_was_to_be(root: Path, tmp_path: Path) -> None:
    run_one(tiny_run(root, "random", rounds=1), tmp_path / "run")
    tiny_run(root, "random", rounds=4).save(tmp_path / "run/config.yaml")  # one of four rounds that was killed
    assert len(run_one(tiny_run(root, "random", rounds=2), tmp_path / "run")) == 2
    assert RunConfig.load(tmp_path / "run/config.yaml").method["rounds"] == 4
    run_one(tiny_run(root, "random", rounds=4), tmp_path / "run")
    run_one(tiny_run(root, "random", rounds=4), tmp_path / "whole")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("error", [ValueError, TypeError, RuntimeError, AttributeError, KeyError, ImportError])
def test_a_run_that_is_refused_before_its_first_epoch_blocks_no_other(
    error: type[Exception], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error("seen in the first search")

    monkeypatch.setattr("graphprune.methods.RandomPruning.search", refuse)
    with pytest.raises(error, match="first search"):
        run_one(tiny_run(root, "random", rounds=1), tmp_path / "run")
    monkeypatch.undo()
    assert len(run_one(tiny_run(root, "random", rounds=1, edge_rate=0.3), tmp_path / "run")) == 1


def test_a_run_that_fails_later_keeps_its_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("seen after the first training")

    monkeypatch.setattr("graphprune.methods.core.method.Method._ticket", refuse)
    with pytest.raises(ValueError, match="first training"):
        run_one(tiny_run(root, "random", rounds=1), tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(FileExistsError, match="another configuration"):
        run_one(tiny_run(root, "random", rounds=1, edge_rate=0.3), tmp_path / "run")
    assert len(run_one(tiny_run(root, "random", rounds=1), tmp_path / "run")) == 1


RECIPE = {"schedule": "cosine", "warmup": 0.2, "clip": 0.5, "ema": 0.8, "accumulate": 2, "class_weights": "balanced"}


@pytest.mark.parametrize("options", [{}, RECIPE])
def test_killed_at_any_point_a_run_goes_on_to_the_same_tickets(
    options: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    values = tiny_run(root, rounds=3).plain()
    config = RunConfig.of(values | {"fit": values["fit"] | options})
    config.save(tmp_path / "config.yaml")
    rng = random.Random(0)
    shares = [",".join(f"{rng.uniform(0.02, 1.1):.3f}" for _ in range(2)) for _ in range(3)]
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), str(tmp_path / "config.yaml"), str(tmp_path), *shares]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for number in range(len(shares)):
        assert_same_run(tmp_path / f"killed-{number}", tmp_path / "whole")


def test_leftovers_of_a_killed_process_vanish(root: Path, tmp_path: Path) -> None:
    """What a kill leaves between two writes: half a ticket, half a line, old results."""
    run_one(tiny_run(root), tmp_path / "whole")
    run_one(tiny_run(root, rounds=1), tmp_path / "killed")
    half = tmp_path / "killed/.round-2.0123.tmp"
    half.mkdir()
    (half / "ticket.safetensors").write_bytes(b"half")
    (tmp_path / "killed/results.json").write_text("[]")
    with (tmp_path / "killed/metrics.jsonl").open("a") as file:
        file.write('{"round": 2, "phase": "search", "epoch": 1, "val_metric": 0.5, "loss": 1.0}\n{"round": 2, "pha')
    run_one(tiny_run(root), tmp_path / "killed")
    assert not half.exists()
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


# ---------------------------------------------------------------------- refusals and faults


def test_another_configuration_is_refused_and_nothing_changes(root: Path, tmp_path: Path) -> None:
    run_one(tiny_run(root), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(FileExistsError, match=r"\(method\.edge_rate: 0\.05 -> 0\.2\)"):
        run_one(tiny_run(root, edge_rate=0.2, rounds=1), tmp_path)
    with pytest.raises(FileExistsError, match=r"method\.name: icpg -> imp"):
        run_one(tiny_run(root, "imp"), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_file_or_a_folder_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(FileExistsError, match="is not a folder"):
        run_one(tiny_run(root), file)
    with pytest.raises(FileExistsError, match="holds other files"):
        run_one(tiny_run(root), tmp_path)
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_bad_options_leave_no_folder(root: Path, tmp_path: Path) -> None:
    for config in (tiny_run(root, edge_rate=1.5), tiny_run(root / "nowhere")):
        with pytest.raises((ValueError, FileNotFoundError)):
            run_one(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_damaged_round_is_named(root: Path, tmp_path: Path) -> None:
    run_one(tiny_run(root), tmp_path)
    file = tmp_path / "round-2/ticket.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"round-2.*truncated.*Delete .*round-2"):
        run_one(tiny_run(root, rounds=3), tmp_path)
    document = tmp_path / "round-1/ticket.json"
    document.write_text(document.read_text()[:100])
    with pytest.raises(ValueError, match=r"round-1.*is damaged.*delete"):
        run_one(tiny_run(root, rounds=3), tmp_path)


def test_a_missing_round_is_named(root: Path, tmp_path: Path) -> None:
    run_one(tiny_run(root), tmp_path)
    (tmp_path / "round-1").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="round-1 is missing although round 2 is there"):
        run_one(tiny_run(root, rounds=3), tmp_path)


def test_data_that_changed_are_refused(tmp_path: Path) -> None:
    root = tiny_set(tmp_path / "raw")
    run_one(tiny_run(root, rounds=1), tmp_path / "run")
    tiny_set(root, graphs=44)
    with pytest.raises(ValueError, match="digest"):
        run_one(tiny_run(root), tmp_path / "run")


def test_only_one_process_runs_in_a_folder(root: Path, tmp_path: Path) -> None:
    config = tiny_run(root)
    run_one(config, tmp_path)
    with RunFolder(tmp_path).claimed(config), pytest.raises(BlockingIOError, match="another process is running"):
        run_one(config, tmp_path)
    run_one(config, tmp_path)


def test_no_rounds_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rounds must be a whole number of at least 1"):
        run_one(tiny_run(root, rounds=0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_diverged_training_leaves_the_finished_rounds(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_one(tiny_run(root, rounds=1), tmp_path / "run")
    nan = torch.tensor(torch.nan, requires_grad=True)
    monkeypatch.setattr("graphprune.train.tasks.Objective.total", lambda *_: nan)
    with pytest.raises(TrainingDiverged, match="loss is nan"):
        run_one(tiny_run(root), tmp_path / "run")
    monkeypatch.undo()
    assert [row["round"] for row in json.loads((tmp_path / "run/results.json").read_text())] == [1]
    assert len(run_one(tiny_run(root), tmp_path / "run")) == 2


def test_a_full_disk_leaves_the_finished_rounds(root: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the next ticket does not fit."""
    run_one(tiny_run(root, rounds=1), tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "run/round-1/ticket.safetensors").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="rounds saved earlier are untouched"):
            run_one(tiny_run(root), tmp_path / "run")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(OSError, match="finished rounds are untouched"):
            run_one(tiny_run(root), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run_one(tiny_run(root), tmp_path / "run")
    run_one(tiny_run(root), tmp_path / "whole")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_what_can_be_pruned_and_another_number_of_threads_are_told(root: Path, tmp_path: Path) -> None:
    class Listening(Watch):
        heard: tuple[str, ...] = ()

        def notice(self, text: str) -> None:
            self.heard = (*self.heard, text)

    first = Listening()
    run_one(tiny_run(root, rounds=1), tmp_path, first)
    assert not any("edge_attr" in text for text in first.heard)
    assert any("parameters can be pruned" in text and "(norm)" in text for text in first.heard)
    file = tmp_path / "provenance.json"
    reseal(file, lambda sitting: sitting.update(threads=99))
    watch = Listening()
    run_one(tiny_run(root), tmp_path, watch)
    assert any("99 threads" in text for text in watch.heard)


def heard(config: RunConfig, out: Path) -> list[str]:
    """What a sitting tells."""

    class Listening(Watch):
        def notice(self, text: str) -> None:
            texts.append(text)

    texts: list[str] = []
    run_one(config, out, Listening())
    return texts


@pytest.mark.parametrize(
    ("old", "told"),
    [
        ({"machine": {"processor": "Another CPU"}}, "with the processor Another CPU, the next ones with the"),
        ({"machine": {"kernels": "AVX1"}}, "with kernels for AVX1, the next ones with kernels for"),
        ({"versions": {"torch": "1.0"}}, f"with torch 1.0, the next ones with torch {torch.__version__}"),
        ({"threads": 99}, "with 99 threads, the next ones with"),
        ({"machine": {"kernels": None}}, None),  # of a version that did not record it
        ({"machine": None, "versions": None}, None),
    ],
)
def test_another_processor_or_torch_is_said_in_the_log(
    old: dict[str, Any], told: str | None, root: Path, tmp_path: Path
) -> None:
    run_one(tiny_run(root, "random", rounds=1), tmp_path)
    file = tmp_path / "provenance.json"
    (entry,) = json.loads(file.read_text())
    assert "notices" not in entry

    def older(entry: dict[str, Any]) -> None:
        for name, value in old.items():
            entry[name] = entry[name] | value if isinstance(value, dict) else value

    reseal(file, older)
    texts = heard(tiny_run(root, "random", rounds=2), tmp_path)
    notices = json.loads(file.read_text())[1].get("notices", [])
    assert notices == [text for text in texts if "earlier rounds ran" in text]
    assert len(notices) == (told is not None) and all(told in text for text in notices if told)


DAMAGE = [
    (lambda line: line[:20] + "\n", "damaged"),
    (lambda line: "\x00" * 30 + "\n", "damaged"),
    (lambda line: "{}\n", "'{}'"),
    (lambda line: line.replace("round", "found"), "found"),
    (lambda line: line.replace('"round": 1', '"round": "1"'), "damaged"),
    (lambda line: "[" * 100_000 + "\n", "damaged"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGE)
def test_a_damaged_line_is_said_and_those_after_it_stay(damage: Any, told: str, root: Path, tmp_path: Path) -> None:
    run_one(tiny_run(root, "random", rounds=2), tmp_path)
    file = tmp_path / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], damage(lines[1]), *lines[2:]]))
    (text,) = (text for text in heard(tiny_run(root, "random", rounds=3), tmp_path) if "line 2" in text)
    assert "metrics.jsonl, line 2, is damaged and left out" in text and told in text
    after = file.read_text().splitlines(keepends=True)
    assert after[: len(lines) - 1] == [lines[0], *lines[2:]] and len(after) == len(lines) + 1
    assert json.loads((tmp_path / "provenance.json").read_text())[-1]["notices"] == [text]
    assert not any("line 2" in text for text in heard(tiny_run(root, "random", rounds=3), tmp_path))


def test_metrics_are_on_the_disk_before_their_round(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.runs.folder.SYNCED", 1e9)
    order, fsync, rename = [], os.fsync, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda handle: (order.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))[1]
    )
    monkeypatch.setattr(Path, "rename", lambda path, target: (order.append(str(target)), rename(path, target))[1])
    run_one(tiny_run(root, "random", rounds=2), tmp_path)
    for number in (1, 2):
        named = order.index(str(tmp_path / f"round-{number}"))
        assert str(tmp_path / "metrics.jsonl") in order[:named]
        order = order[named + 1 :]


@pytest.mark.slow
def test_two_processes_keep_one_folder(root: Path, tmp_path: Path) -> None:
    """Under torchrun every process runs the command."""
    config = RunConfig.of(tiny_run(root, "random").plain() | {"fit": {"epochs": 1, "batch_size": 16, "devices": 2}})
    config.save(tmp_path / "config.yaml")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "graphprune.cli", "run"]
    command += ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert [row["round"] for row in json.loads((tmp_path / "run/results.json").read_text())] == [1, 2]
    assert len(metrics(tmp_path / "run")) == 2


def test_edge_features_that_the_model_does_not_read_are_told(tmp_path: Path) -> None:
    class Listening(Watch):
        heard: tuple[str, ...] = ()

        def notice(self, text: str) -> None:
            self.heard = (*self.heard, text)

    told = "GIN does not read the edge features (edge_attr) of"
    for name, bonds, expected in (("MUTAG", None, True), ("ogbg-molbace", None, False), ("ogbg-molbace", False, True)):
        values = {
            "method": {"name": "dense"},
            "data": {"name": name, **({"features": "raw"} if name == "MUTAG" else {})},
            "model": {"name": "gin", "hidden": 4, "layers": 1, "bonds": bonds},
            "fit": {"epochs": 1, "batch_size": 512},
        }
        watch = Listening()
        run_one(RunConfig.of(values), tmp_path / f"{name}-{bonds}", watch)
        assert any(told in text for text in watch.heard) == expected
