"""Edge scorers that another package registers: by name in methods, in tickets and on the command line."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune import HAMP, Sparsifier, Ticket, cli
from graphprune.graphs import EdgePredictor, RandomEdges
from graphprune.graphs.sparsifiers import SCORERS, Degree, EdgeScorer, scorer_of
from graphprune.runs import RunConfig, run_one
from graphprune.runs.config import parser_of
from graphprune.ticket.scorers import describe, rebuild
from tests.runs.samples import tiny_run, tiny_set

CODE = '''
import torch
from graphprune.graphs.sparsifiers import EdgeScorer


class Sums(EdgeScorer):
    """Arcs between nodes of large features stay."""

    def __init__(self, seed: int = 0, power: float = 2.0) -> None:
        super().__init__()
        self.seed, self.power = seed, power
        self.register_buffer("scale", torch.full((1,), 3.0))

    def forward(self, data):
        return self.scale * data.x.double().sum(1)[data.edge_index].sum(0) ** self.power
'''
POINTS = """[graphprune.scorers]
sums = scorer_plugin:Sums
degree = scorer_plugin:Sums
gone = scorer_plugin_that_is_gone:Sums
no-class = scorer_plugin:torch
predictor = scorer_plugin:Sums
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with a scorer, and with some that cannot be used."""
    folder = tmp_path / "site"
    info = folder / "scorer_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "scorer_plugin.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scorer-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(folder))
    # Without what plug-ins of other tests have registered in this process.
    own = {name: kind for name, kind in SCORERS._own.items() if kind.__module__.startswith("graphprune.")}
    monkeypatch.setattr(SCORERS, "_own", own)
    parser_of.cache_clear()
    yield
    parser_of.cache_clear()
    sys.modules.pop("scorer_plugin", None)


def test_a_plugin_prunes_saves_loads_and_prunes_other_graphs(plugin: None, tmp_path: Path) -> None:
    raw = tiny_set(tmp_path / "raw")
    rows = run_one(tiny_run(raw, "sparsifier", edges="sums", edge_rate=0.2), tmp_path / "run")
    assert [row["unseen"] for row in rows] == ["scorer", "scorer"]
    ticket = Ticket.load(tmp_path / "run/round-2")
    scorers: list[Any] = [stage.scorer for stage in ticket.edges.rounds]
    assert [type(scorer).__name__ for scorer in scorers] == ["Sums", "Sums"]
    assert scorers[0].seed != scorers[1].seed  # the method's own, of each round
    assert scorers[1].power == 2.0 and scorers[1].scale.tolist() == [3.0]
    ticket.save(tmp_path / "again")
    assert cli.main(["prune-graphs", str(tmp_path / "again"), "--out", str(tmp_path / "no")]) == 2  # no run's folder
    words = ["prune-graphs", str(tmp_path / "run/round-2"), "--out", str(tmp_path / "pruned")]
    assert cli.main(words) == 0
    summary = json.loads((tmp_path / "pruned/summary.json").read_text())
    assert summary["splits"]["test"]["edge_sparsity"] == pytest.approx(rows[-1]["edge_sparsity_test"])


def test_the_command_line_names_plugins_and_the_nearest(plugin: None, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "sparsifier", "--help"])
    assert "k-neighbour,gone,no-class,predictor,sums}" in capsys.readouterr().out
    words = ["run", "sparsifier", "--data", "MUTAG", "--out", str(tmp_path / "run"), "--edges"]
    assert cli.main([*words, "sum"]) == 2
    assert "got 'sum'; did you mean sums?" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"method\.edge_score .*got 'sumz'; did you mean sums\?"):
        RunConfig.of({"method": {"name": "hamp", "edge_score": "sumz"}, "data": {"name": "MUTAG"}})
    with pytest.raises(ValueError, match=r"edges must be one of .*, got 'sum'; did you mean sums\?"):
        Sparsifier(edges="sum")


def test_a_broken_plugin_is_named_and_the_rest_works(plugin: None, tmp_path: Path, capsys: Any) -> None:
    assert SCORERS.faults().keys() == {"degree", "gone", "no-class", "predictor"}
    assert {*SCORERS.working()} == {*SCORERS} - {"gone", "no-class", "predictor"}
    assert SCORERS["degree"] is Degree  # its name is not for others
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "k-neighbour, sums." in listed and listed.count("plug-in") == 4
    raw = tiny_set(tmp_path / "raw")
    for name, told in (("gone", "fails to import: ModuleNotFoundError"), ("no-class", "not a module class")):
        config = tiny_run(raw, "sparsifier", edges=name)
        config.save(tmp_path / f"{name}.yaml")
        words = ["--config", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / name)]
        assert cli.main(["run", *words]) == 2
        said = capsys.readouterr().err
        assert told in said and f"scorer_plugin{'_that_is_gone' * (name == 'gone')}:" in said
        with pytest.raises((ImportError, TypeError), match=told):
            HAMP(edge_score=name)
        with pytest.raises((ImportError, TypeError), match=told):
            rebuild(name, {}, {})
    assert describe(scorer_of("sums"))[0] == "sums"
    assert describe(EdgePredictor(3))[0] == "predictor"
    assert isinstance(rebuild("predictor", EdgePredictor(3).config(), EdgePredictor(3).state_dict()), EdgePredictor)


def test_a_file_says_no_more_than_a_plugins_constructor_takes(plugin: None) -> None:
    kind, config = describe(scorer_of("sums", seed=5))
    assert (kind, config) == ("sums", {"seed": 5, "power": 2.0})
    tensors = {"scale": torch.ones(1)}
    assert rebuild(kind, config, tensors).config() == config  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"config\.power must be of type float, got 'os'"):
        rebuild(kind, config | {"power": "os"}, tensors)
    with pytest.raises(ValueError, match="takes other arguments"):
        rebuild(kind, config | {"more": 1}, tensors)
    with pytest.raises(ValueError, match="another Sums than the tensors are: 'scale' is missing"):
        rebuild(kind, config, {})
    with pytest.raises(ValueError, match=r"unknown kind of edge scorer 'scorer_plugin:Sums'"):
        rebuild("scorer_plugin:Sums", config, tensors)


class Alternating(EdgeScorer):
    def forward(self, data: Any) -> torch.Tensor:
        return (torch.arange(data.edge_index.size(1)) // 2 % 2).double()


def test_a_name_of_this_process_is_for_one_class() -> None:
    SCORERS["alternating"] = Alternating
    try:
        SCORERS["alternating"] = Alternating
        assert isinstance(scorer_of("alternating"), Alternating)
        assert list(SCORERS)[-1] == "alternating"
        with pytest.raises(ValueError, match=r"'alternating' is .*Alternating"):
            SCORERS["alternating"] = RandomEdges
        with pytest.raises(ValueError, match=r"'degree' is .*Degree"):
            SCORERS["degree"] = Alternating
        with pytest.raises(TypeError, match="not a module class with a config"):
            SCORERS["mine"] = torch.nn.ReLU
    finally:
        del SCORERS["alternating"]
    assert "alternating" not in SCORERS
