from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphprune.methods import CLEAN, METHODS, PAPER, UGS_PAPER
from graphprune.runs import RunConfig
from graphprune.runs.options import names_in, run_parser
from graphprune.runs.protocols import in_one, merged
from graphprune.runs.typed import parse

NAMED = {"clean": CLEAN, "paper": PAPER}


def with_rule(name: str, method: str = "gsat", **rule: Any) -> dict[str, Any]:
    """A named protocol with another rule, spelt out."""
    protocol = UGS_PAPER if (name, method) == ("paper", "ugs") else NAMED[name]
    whole = protocol.config()
    return {**whole, "rule": {"connected": False, "min_degree": 0, **whole["rule"], **rule}}


def parsed(typed: list[str], file: dict[str, Any] | None = None, method: str = "gsat") -> Any:
    """The protocol that a command line means."""
    parser = run_parser(method, "gin", prog="run")
    words = in_one(method, typed, file or {}, [action.dest for action in parser._actions])
    return RunConfig.parsed(parser, parse(parser, ["--data", "MUTAG", *words])).method["protocol"]


@pytest.mark.parametrize("method", ["gsat", "ugs", "dense"])
@pytest.mark.parametrize("name", ["clean", "paper"])
def test_a_name_and_parts_merge_in_any_order(name: str, method: str) -> None:
    words = [["--protocol", name], ["--protocol.rule.connected", "true"], ["--method.protocol.rule.min-degree=2"]]
    for order in permutations(words):
        typed = [word for option in order for word in option]
        assert parsed(typed, method=method) == with_rule(name, method, connected=True, min_degree=2)


@pytest.mark.parametrize("order", [1, -1])
def test_a_part_that_is_typed_changes_what_the_name_says(order: int) -> None:
    words = [["--protocol=paper"], ["--protocol.select", "val"]][::order]
    assert parsed([word for option in words for word in option]) == {**with_rule("paper"), "select": "val"}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("said", "typed", "meant"),
    [
        ("paper", ["--protocol.rule.connected", "true"], with_rule("paper", connected=True)),
        ({"rule": {"connected": True}}, ["--protocol", "paper"], with_rule("paper", connected=True)),
        ({"rule": {"min_degree": 3}}, ["--protocol", "clean"], with_rule("clean", min_degree=3)),
        (
            {"rule": {"connected": True}},
            ["--protocol.rule.min_degree=1"],
            with_rule("clean", connected=True, min_degree=1),
        ),
        ({"select": "test"}, ["--protocol", "clean"], "clean"),
        (with_rule("paper", connected=True), ["--protocol", "paper"], with_rule("paper", connected=True)),
        (with_rule("paper", connected=True), ["--protocol.rule.connected", "false"], with_rule("paper")),
        ("paper", ["--protocol", "{rule: {connected: true}}"], with_rule("paper", connected=True)),
        ("paper", ["--protocol", "clean"], "clean"),
        ("paper", [], "paper"),
    ],
)
def test_a_file_and_the_command_line_merge(said: Any, typed: list[str], meant: Any, order: int, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(yaml.safe_dump({"method": {"name": "gsat", "protocol": said}}))
    config = ["--config", str(file)]
    words = [*config, *typed] if order == 1 else [*typed, *config]
    assert parsed(words, dict(names_in(words).file)) == meant


def test_a_command_line_without_such_a_pair_stays_as_it_is() -> None:
    for typed in (["--protocol.rule.connected", "true"], ["--rounds", "1"], ["--protocol.rule.connected"]):
        assert in_one("gsat", typed, {}, ["method.protocol", "method.rounds"]) == typed
    assert parsed(["--protocol", "paper"]) == "paper"
    assert parsed(["--protocol.rule.connected", "true"]) == with_rule("clean", connected=True)


@pytest.mark.parametrize("method", METHODS.working())
def test_every_method_has_a_paper_to_change(method: str) -> None:
    paper = merged(method, "paper", {"rule": {"connected": True}})
    assert paper == merged(method, {"rule": {"connected": True}}, "paper")
    assert paper["rule"]["connected"]
    assert paper["pruned"] == ("gated" if method == "ugs" else "removed")


def test_what_is_no_protocol_is_left_to_the_parser() -> None:
    for wrong in ("papr", 3, ["paper"]):
        assert merged("gsat", {"rule": {"connected": True}}, wrong) == wrong
    with pytest.raises(ValueError, match="did you mean paper"):
        parsed(["--protocol.rule.connected", "true", "--protocol", "papr"])
    with pytest.raises(ValueError, match=r"no option --protocol\.rule\.conected; did you mean"):
        parsed(["--protocol.rule.conected", "true", "--protocol", "paper"])
    assert merged("gsat", "papr", {"rule": {"connected": True}}) == "papr"
    assert merged("gsat", {"rule": 3}, "paper")["rule"] == merged("gsat", "paper", {"rule": 3})["rule"] == 3
    for part in ({"rule": {"conected": True}}, {"selct": "test"}):
        for both in (("paper", part), (part, "paper")):
            values = {"method": {"name": "gsat", "protocol": merged("gsat", *both)}, "data": {"name": "MUTAG"}}
            with pytest.raises(ValueError, match=r"method\.protocol"):
                RunConfig.of(values)


@pytest.mark.parametrize("said", ["clean", "paper", with_rule("clean", connected=True), {"rule": {"unit": "arc"}}])
def test_what_one_place_says_loads_as_ever(said: Any, tmp_path: Path) -> None:
    config = RunConfig.of({"method": {"name": "gsat", "protocol": said}, "data": {"name": "MUTAG"}})
    if isinstance(said, str):
        assert config.method["protocol"] == said
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config
