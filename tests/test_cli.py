"""The command line, as a user types it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch
import yaml

import graphprune
from graphprune import data
from graphprune.cli import COMMANDS, main
from graphprune.graphs.soft.tables import PROVEN
from graphprune.methods import METHODS
from graphprune.models import MODELS
from tests.runs.samples import NAME, tiny_set

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("raw"))


def tiny(method: str, root: Path, out: Path, *more: str) -> list[str]:
    words = ["run", method, "--data", NAME, "--data-root", str(root), "--features", "deg+odeg10", "--model", "gcn"]
    words += ["--hidden", "8", "--layers", "2", "--epochs", "2", "--batch-size", "16", "--out", str(out)]
    return [*words, *more]


def refused(words: list[str], capsys: Capture, code: int = 2) -> str:
    """The one line on stderr."""
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = (line for line in captured.err.splitlines() if not line.startswith("memory at least: "))
    return line


def test_from_a_run_to_a_report_and_pruned_graphs(root: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "icpg"
    words = tiny("icpg", root, out, "--rounds", "2", "--predictor.hidden", "8", "--edge-rate", "0.2", "--seed", "3")
    assert main(words) == 0
    captured = capsys.readouterr()
    first, second, last = captured.out.splitlines()
    assert first.startswith("icpg round 1: edge sparsity")
    assert second.startswith("icpg round 2: edge sparsity")
    assert str(out / "results.json") in last
    assert [row["seed"] for row in json.loads((out / "results.json").read_text())] == [3, 3]

    assert main(words) == 0
    assert "2 finished rounds found" in capsys.readouterr().err

    pruned = ["prune-graphs", str(out / "round-2"), "--data", NAME, "--data-root", str(root)]
    assert main([*pruned, "--features", "deg+odeg10", "--out", str(tmp_path / "pruned")]) == 0
    assert "edge sparsity" in capsys.readouterr().out
    assert (tmp_path / "pruned/train.npy").exists()

    assert main(["prune-graphs", str(out), "--data-root", str(root), "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().err == "of the run's data options these hold: features=deg+odeg10\n"

    assert main(["report", str(out)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--objectives latency,params", {"objectives": ["latency", "params"]}),
        ("--objectives=latency,params --seed 1", {"objectives": ["latency", "params"]}),
        ('--objectives ["latency","params"]', {"objectives": ["latency", "params"]}),
        ("--objectives latency", {"objectives": ["latency"]}),
        ("--protect head.*,*.bias --rounds 2", {"protect": ["head.*", "*.bias"]}),
        ("--densities 0.5,0.25", {"densities": [0.5, 0.25]}),
        ("--densities=0.5", {"densities": [0.5]}),
        ("--densities [0.5,0.25]", {"densities": [0.5, 0.25]}),
        ("--milestones 30,60", {}),
    ],
)
def test_lists_need_no_brackets(typed: str, meant: dict[str, list[object]], capsys: Capture) -> None:
    method = {"objectives": "hamp", "densities": "gicp"}.get(next(iter(meant), ""), "imp")
    with pytest.raises(SystemExit) as stop:
        main(["run", method, "--data", "MUTAG", "--out", "x", *typed.split(), "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert {name: printed["method"][name] for name in meant} == meant
    assert printed["fit"]["milestones"] == ([30, 60] if "milestones" in typed else [])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--class-weights 1,2", [1, 2]),
        ("--class-weights=0.5,2", [0.5, 2]),
        ("--class-weights [1,2]", [1, 2]),
        ("--class-weights balanced", "balanced"),
        ("--class-weights null", None),
        ("--pos-weight 2", [2]),
    ],
)
def test_a_list_where_a_word_may_stand_needs_no_brackets_either(typed: str, meant: object, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["run", "dense", "--data", "MUTAG", "--out", "x", *typed.split(), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)["fit"]
    assert printed["pos_weight" if "pos" in typed else "class_weights"] == meant


def test_a_file_of_options_and_the_command_line_over_it(root: Path, tmp_path: Path, capsys: Capture) -> None:
    words = tiny("random", root, tmp_path / "x", "--rounds", "2", "--seed", "4")
    with pytest.raises(SystemExit) as stop:
        main([*words, "--print_config"])
    assert stop.value.code == 0
    file = tmp_path / "random.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["run", "--config", str(file), "--rounds", "1", "--out", str(tmp_path / "run")]) == 0
    (row,) = json.loads((tmp_path / "run/results.json").read_text())
    assert (row["method"], row["seed"]) == ("random", 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rum"], "unknown command 'rum': did you mean run?"),
        (["run"], "name a method"),
        (["run", "ipcg", "--data", "MUTAG"], "unknown method 'ipcg': did you mean icpg"),
        (["run", "icpg", "--data", "MUTTAG"], "unknown data set 'MUTTAG': did you mean MUTAG"),
        (["run", "icpg", "--data", "MUTAG", "--model", "ginn"], "unknown model 'ginn': did you mean gin"),
        (["run", "icpg"], "data.name"),
        (["run", "icpg", "--data", "MUTAG", "--rounds", "x"], "method.rounds"),
        (["run", "icpg", "--data", "MUTAG", "--roundz", "3"], "did you mean --rounds"),
        (["run", "icpg", "--data", "MUTAG", "--predictor.hiden", "3"], "did you mean --predictor.hidden"),
        (
            ["run", "imp", "--data", "MUTAG", "--edge-rate", "0.1"],
            "imp has no option --edge-rate; did you mean --weight-",
        ),
        (["run", "imp", "--data", "MUTAG", "--edge_rate=0.1"], "imp has no option --edge_rate; did you mean --weight_"),
        (["run", "imp", "--data", "MUTAG", "--data-fodl", "3"], "no option --data-fodl; did you mean --data-fold"),
        (["run", "icpg", "--data", "MUTAG", "--protocol", "papr"], "got 'papr'; did you mean paper?"),
        (
            ["run", "icpg", "--data", "MUTAG", "--protocol.rule.conected", "true"],
            "no option --protocol.rule.conected; did you mean --protocol.rule.connected or ",
        ),
        (["run", "icpg", "--data", "MUTAG", "--protocol.rule.min-degree=-1"], "min_degree must be a whole number"),
        (["run", "icpg", "--data", "MUTAG", "--edge-rate", "1"], "edge_rate must lie in [0, 1), got 1.0"),
        (["run", "icpg", "--data", "MUTAG", "--fold", "11"], "fold"),
        (["run", "gat", "--data", "MUTAG"], "unknown method 'gat'"),
        (["run", "icpg", "--data", "MUTAG", "--hidden", "100000000"], "has 60,000,012,900,000,224 parameters, more"),
        (["run", "dense", "--data", "MUTAG", "--hidden", "100000"], "has 60,012,900,223 parameters, more than the 1,"),
        (
            ["run", "imp", "--data", "MUTAG", "--hidden", "10000000000"],
            "hidden 10000000000, layers 3 has inf parameters",
        ),
        (["run", "icpg", "--data", "MUTAG", "--predictor.hidden", "100000000"], "the predictor with hidden 100000000,"),
        (
            ["run", "icpg", "--data", "MUTAG", "--layers", "1000000000"],
            "has 1,000,000,000 layers, more than the 10,000",
        ),
        (
            ["run", "icpg", "--data", "MUTAG", "--predictor.layers", "20000"],
            "layers 20000 has 20,000 layers, more than",
        ),
        (
            ["run", "imp", "--data", "digits", "--model", "resnet-20", "--hidden", "99999"],
            "parameters, more than the 1,",
        ),
        (["run", "imp", "--data", "MUTAG", "--rounds", "!!timestamp x"], "'!!timestamp x' is no value of YAML"),
        (["run", "imp", "--data", "MUTAG", "--rounds=!!bool maybe"], "!!bool maybe' is no value of YAML"),
        (["run", "imp", "--data", "MUTAG", "--lr", "2024-13-45"], "fit.lr"),
        (
            ["run", "imp", "--data", "MUTAG", "--protocol", "!!bool maybe"],
            "--protocol is not YAML, line 1: 'maybe' is no",
        ),
        (
            ["run", "imp", "--data", "MUT\udcc3\udcbcAG"],
            "'MUT\\udcc3\\udcbcAG' is not UTF-8 text: rename the file or folder",
        ),
        (["report", "r\udcff"], "'r\\udcff' is not UTF-8 text: rename the file or folder"),
        (["run", "icpg", "--data", "MUTAG", "--model", "gat", "--hidden", "6"], "multiple of the 4"),
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "icpg", "--data", "TOY", "--data-root", "nowhere"], "nowhere"),
        (["prune-graphs", "nowhere", "--data", "MUTAG"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["report", "a", "b"], "--out"),
        (
            ["run", "gicp", "--data", "MUTAG", "--stop", "4", "--densities", "0.5", "0.25"],
            "a list is one word, as 0.5,0.25",
        ),
        (["run", "dense", "--data", "MUTAG", "--class-weights", "even"], "class_weights"),
    ],
)
def test_mistakes_cost_one_clear_line(words: list[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    line = refused([*words, "--out", str(out)] if words[0] in ("run", "prune-graphs") else words, capsys)
    assert message in line
    assert line.startswith("graphprune")
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("methud: {name: icpg}\n", "unknown section 'methud': did you mean method"),
        ("method: {name: icpg, edge_rat: 0.1}\ndata: {name: MUTAG}\n", "did you mean edge_rate"),
        ("method: {name: icpg, rounds: many}\ndata: {name: MUTAG}\n", "method.rounds: expected int, got 'many'"),
    ],
)
def test_a_mistake_in_a_file_of_options_costs_one_clear_line(
    content: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "run.yaml").write_text(content)
    assert message in refused(["run", "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")], capsys)


def test_a_protocol_with_changed_parts_is_run_and_gone_on_with(root: Path, tmp_path: Path, capsys: Capture) -> None:
    out, part = tmp_path / "run", ["--protocol.rule.connected", "true"]
    assert main(tiny("random", root, out, "--rounds", "1", "--protocol", "paper", *part)) == 0
    assert main(tiny("random", root, out, "--rounds", "2", *part, "--protocol", "paper")) == 0
    rows = json.loads((out / "results.json").read_text())
    assert len(rows) == 2
    assert {row["protocol"] for row in rows} == {"select=test, unit=arc, count=floor, scoring=batch, connected=True"}
    assert main(["run", "--config", str(out / "config.yaml"), "--protocol", "paper", "--out", str(out)]) == 0
    capsys.readouterr()
    assert "method.protocol" in refused(tiny("random", root, out, "--rounds", "2", "--protocol", "paper"), capsys)


def test_another_configuration_is_refused(root: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(tiny("dense", root, tmp_path)) == 0
    capsys.readouterr()
    assert "fit.lr: 0.001 -> 0.1" in refused(tiny("dense", root, tmp_path, "--lr", "0.1"), capsys)


def test_a_diverged_training_ends_with_code_1(
    root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = torch.tensor(torch.nan, requires_grad=True)
    monkeypatch.setattr("graphprune.train.tasks.Objective.total", lambda *_: nan)
    assert "loss is nan" in refused(tiny("dense", root, tmp_path), capsys, code=1)
    assert json.loads((tmp_path / "results.json").read_text()) == []


SOON = ["--stop", "4", "--every", "2"]  # of the steps that a tiny training takes


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gicp", SOON),
        ("gumbel", ["--density", "0.5", "--stop", "4"]),
        ("granet", ["--density", "0.5", *SOON]),
        ("gmp", ["--density", "0.5", *SOON]),
        ("fggp", ["--density", "0.5", *SOON]),
        ("set", ["--density", "0.5", *SOON]),
        ("icpg", ["--rounds", "1"]),
        ("ugs", ["--rounds", "1"]),
    ],
)
def test_every_training_that_breaks_down_ends_with_code_1(
    method: str, options: list[str], root: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = tiny(method, root, tmp_path / "run", *options, "--lr", "1e30", "--optimizer", "sgd")
    assert main(words) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("graphprune run: error:")
    assert ("not finite" in line or "is nan" in line) and "lower" in line


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        ("dense", ["--accumulate", "99"], "accumulate=99"),
        ("dense", ["--loss", "bce"], "loss='bce'"),
        ("dense", ["--devices", "3"], "devices=3"),
        ("fggp", ["--stop", "999"], "stop=999 lies after"),
        ("imp", ["--protect", "nothing.*"], "matches no parameter"),
        ("imp", ["--class-weights", "1,2,3"], "class_weights"),
    ],
)
def test_the_corrected_command_runs_in_the_same_folder(
    method: str, wrong: list[str], message: str, root: Path, tmp_path: Path, capsys: Capture
) -> None:
    options = {"fggp": ["--density", "0.5", "--every", "2"], "imp": ["--rounds", "1"], "dense": []}[method]
    assert main(tiny(method, root, tmp_path / "run", *options, *wrong)) == 2
    assert message in capsys.readouterr().err
    right = ["--stop", "4"] if method == "fggp" else []
    assert main(tiny(method, root, tmp_path / "run", *options, *right)) == 0


def test_a_stored_set_is_opened_from_its_folder(root: Path, tmp_path: Path, capsys: Capture) -> None:
    stored = tmp_path / "stored"
    data.store(data.load(NAME, root=root, features="deg+odeg10"), stored)
    options = ["--model", "gcn", "--hidden", "8", "--epochs", "2", "--rounds", "1", "--unit", "channel"]
    words = ["run", "imp", "--data", NAME, "--data-root", str(stored), *options, "--weight-rate", "0.5", "--out"]
    assert main([*words, str(tmp_path / "run")]) == 0
    assert main(["compact", str(tmp_path / "run"), "--out", str(tmp_path / "small")]) == 0
    capsys.readouterr()
    words[3] = "OTHER"
    assert f"holds the stored set '{NAME}', not 'OTHER'" in refused([*words, str(tmp_path / "other")], capsys)


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown method"):
        main(["run", "ipcg", "--debug"])
    monkeypatch.setenv("GRAPHPRUNE_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown method"):
        main(["run", "ipcg"])


def test_the_list_is_that_of_the_registries(capsys: Capture) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    sections = [section.splitlines() for section in text.split("\n\n")]
    firsts = [[line.split()[0] for line in section[2:]] for section in sections[:3]]
    assert firsts == [list(METHODS), list(MODELS), list(data.names())]
    assert all(conv in text for conv in PROVEN)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(words: list[str], capsys: Capture) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f"  {command} {takes}".rstrip() in text.splitlines() for command, (_, takes) in COMMANDS.items())


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    try:
        assert main([command, "--help"]) == 0
    except SystemExit as stop:
        assert stop.code == 0
    assert "usage: graphprune" in capsys.readouterr().out


@pytest.mark.parametrize("method", list(METHODS))
def test_a_method_documents_its_options(method: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["run", method, "--help"])
    text = capsys.readouterr().out
    about = (METHODS[method].__doc__ or "").split()[:4]
    assert " ".join(about) in " ".join(text.split())
    for option, field in attrs.fields_dict(METHODS[method]).items():
        if option in ("weight_rate", "density", "every"):
            assert (f"--method.{option}" in text) == field.init


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert graphprune.__version__ in capsys.readouterr().out


def test_help_comes_without_torch() -> None:
    program = "import sys; from graphprune.cli import main; main([]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=dict(os.environ))


def test_a_run_says_what_it_needs(root: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(tiny("dense", root, tmp_path / "run")) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memory at least: ")]
    assert re.fullmatch(
        r"memory at least: [\d.]+ KiB for the data, [\d.]+ KiB for the network of [\d,]+ parameters and [\d.]+ KiB to "
        "train it with Adam; batches and activations come on top",
        line,
    )
