from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphprune.methods import METHODS
from graphprune.models import MODELS
from graphprune.runs import RunConfig
from graphprune.runs.folder import RunFolder
from graphprune.runs.options import canonical, named, read_yaml, run_parser
from tests.runs.samples import tiny_run


@pytest.mark.parametrize(("method", "model"), list(product(METHODS, MODELS)))
def test_every_method_and_model_has_documented_options(method: str, model: str) -> None:
    text = run_parser(method, model).format_help()
    assert "Unvalidated" not in text, "a type that the command line cannot check"
    for option in ("--data.name", "--model.hidden", "--fit.epochs", "--seed"):
        assert option in text
    assert ("--predictor.hidden" in text) == (method in ("icpg", "gicp", "gsat", "pg-explainer"))


def test_inherited_options_are_documented() -> None:
    actions = {action.dest: action.help for action in run_parser("imp", "gin")._actions}
    assert "how often to search" in str(actions["method.rounds"])
    assert "share of the remaining weights" in str(actions["method.weight_rate"])


@pytest.mark.parametrize("method", ["icpg", "imp", "dense", "no-edges"])
def test_a_saved_configuration_reads_back(method: str, tmp_path: Path) -> None:
    config = tiny_run(tmp_path, method)
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config


def test_defaults_are_filled_in() -> None:
    config = RunConfig.of({"method": {"name": "icpg"}, "data": {"name": "MUTAG"}})
    assert config.method["edge_rate"] == 0.05
    assert config.model["name"] == "gin"
    assert config.fit["batch_size"] == 128
    assert config.seed == 0


def test_a_protocol_may_be_spelt_out() -> None:
    rule = {"unit": "arc"}
    config = RunConfig.of({"method": {"name": "icpg", "protocol": {"rule": rule}}, "data": {"name": "MUTAG"}})
    assert config.method["protocol"]["rule"]["unit"] == "arc"
    assert config.method["protocol"]["select"] == "val"


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [("method", "rounds", "many"), ("model", "hiden", 3), ("fit", "lr", [1]), ("method", "protocol", "papr")],
)
def test_bad_options_are_named(section: str, option: str, value: object) -> None:
    values = {"method": {"name": "icpg"}, "data": {"name": "MUTAG"}, "model": {"name": "gin"}, "fit": {}}
    values[section] = {**values[section], option: value}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=option):
        RunConfig.of(values)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"methud": {"name": "icpg"}}, "unknown section 'methud': did you mean method?"),
        ({"method": {"name": "icpg"}, "fitt": {}}, "unknown section 'fitt': did you mean fit?"),
        ({"method": {"name": "icpg", "edge_rat": 0.1}}, "unknown option method.edge_rat: did you mean edge_rate"),
        ({"method": {"name": "dense", "rounds": 3}}, "unknown option method.rounds: there are "),
        ({"method": {"name": "icpg", "protocol": {"selct": "val"}}}, "protocol.selct: did you mean select?"),
        ({"method": {"name": "icpg", "protocol": {"rule": {"uni": "arc"}}}}, "rule.uni: did you mean unit"),
        ({"method": {"name": "icpg", "protocol": "papr"}}, "must be one of clean, paper or a mapping, got 'papr'; did"),
        (
            {"method": {"name": "icpg", "protocol": {"select": "tset"}}},
            "method.protocol: select must be one of val, test, got 'tset'; did",
        ),
        (
            {"method": {"name": "icpg", "scope": "globl"}},
            "must be one of global, layer, got 'globl'; did you mean global?",
        ),
        ({"method": {"name": "icpg", "rounds": "many"}}, "method.rounds: expected int, got 'many'"),
    ],
)
def test_a_misspelt_option_is_told_in_plain_words(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as error:
        RunConfig.of({"data": {"name": "MUTAG"}, **values})
    assert problem in str(error.value)
    assert "<class" not in str(error.value)
    assert "typing." not in str(error.value)


def test_a_configuration_needs_a_method() -> None:
    with pytest.raises(ValueError, match="names no method"):
        RunConfig.of({"data": {"name": "MUTAG"}})


def test_differences_are_named_but_other_rounds_and_moved_data_are_none(tmp_path: Path) -> None:
    config = tiny_run(tmp_path)
    assert config.differences(tiny_run(tmp_path / "elsewhere", rounds=7)) == []
    assert config.differences(tiny_run(tmp_path, rounds=1)) == []
    assert config.differences(tiny_run(tmp_path, edge_rate=0.5, seed=3)) == [
        "method.edge_rate: 0.05 -> 0.5",
        "seed: 0 -> 3",
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--rounds", "--method.rounds"),
        ("--edge-rate=0.1", "--method.edge_rate=0.1"),
        ("--data", "--data.name"),
        ("--data-root", "--data.root"),
        ("--model", "--model.name"),
        ("--hidden", "--model.hidden"),
        ("--predictor-hidden", "--predictor.hidden"),
        ("--predictor.hidden", "--predictor.hidden"),
        ("--fit.batch-size", "--fit.batch_size"),
        ("--protocol", "--method.protocol"),
        ("--protocol.rule.min-degree=2", "--method.protocol.rule.min_degree=2"),
        ("--method.protocol.rule.connected", "--method.protocol.rule.connected"),
        ("--data.root", "--data.root"),
        ("--seed", "--seed"),
        ("--unknown-one", "--unknown_one"),
        ("value-with-dashes", "value-with-dashes"),
    ],
)
def test_short_names_of_options(typed: str, meant: str) -> None:
    options = [action.dest for action in run_parser("icpg", "gin")._actions]
    assert canonical([typed], options) == [meant]


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown method 'ipcg': did you mean icpg"):
        named("method", "ipcg", METHODS)
    with pytest.raises(ValueError, match="there are gcn, gin"):
        named("model", "transformer", MODELS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n- b\n", "must hold a mapping"),
        ("method: icpg\n", "method must be a mapping"),
        ("a: [1, 2\n", "is not YAML"),
        (b"\xff\xfe\xfa", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(content: str | bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=problem) as error:
        read_yaml(file)
    assert "some.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.yaml"):
        RunConfig.load(tmp_path / "no.yaml")


@pytest.mark.parametrize("model", ["gcn", "gin", "gated-gcn", "pna"])
def test_blocks_of_a_network_are_written_down_where_they_are_asked_for(model: str) -> None:
    usual = {"name", "hidden", "layers", "dropout", "readout", "jk"}
    values = {"method": {"name": "dense"}, "data": {"name": "MUTAG"}, "model": {"name": model}}
    assert RunConfig.of(values).model.keys() == usual
    asked = {"residual": True, "head_layers": 2, "norm": "none"}
    found = RunConfig.of(values | {"model": {"name": model} | asked}).model
    assert found.keys() == usual | asked.keys()
    assert {name: found[name] for name in asked} == asked


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("method", {"later": 3}, "unknown option method.later"),
        ("data", {"shard": 1}, "unknown option data.shard"),
        ("fit", {"lookahead": True}, "unknown option fit.lookahead"),
        ("model", {"name": "transformer"}, "unknown model 'transformer'"),
        ("method", {"name": "later"}, "unknown method 'later'"),
        ("method", {"edge_rate": "auto"}, "method.edge_rate: expected float, got 'auto'"),
    ],
)
def test_a_run_of_another_version_is_told_in_words(
    section: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    values = tiny_run(tmp_path).plain()
    values[section] = values[section] | change
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    for read in (
        lambda: RunConfig.load(tmp_path / "config.yaml"),
        lambda: RunFolder(tmp_path).check(tiny_run(tmp_path)),
    ):
        with pytest.raises(ValueError, match=rf"config.yaml: {message}.*graphprune \S+ reads it; .*provenance.json"):
            read()
