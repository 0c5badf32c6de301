"""Data sets and metrics that another package registers."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from graphprune import cli, data
from graphprune.data import metrics
from graphprune.data.sets.bundled import CARDS
from graphprune.grids import Job, run_grid
from graphprune.runs import RunConfig
from graphprune.runs.listing import listing

CODE = """
import torch
from torch_geometric.data import Data

from graphprune.data import from_graphs
from graphprune.data.metrics import MetricInfo


def rings(name, root=None, split_seed=0):
    \"\"\"Rings and paths of six nodes. Macro recall\"\"\"
    def graph(number):
        one = torch.arange(6 - number % 2)
        arcs = torch.stack([one, (one + 1) % 6])
        x = torch.ones(6, 1) + split_seed % 2
        return Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], 1), y=number % 2)

    parts = [[graph(number) for number in range(size)] for size in (16, 8, 8)]
    return from_graphs(*parts, name=name, task="multiclass", metric="recall", provenance={"root": str(root)})


def nothing(name):
    return "nothing"


def of_class(y_true, y_pred):
    found = y_pred.argmax(1)
    return torch.stack([(found[y_true == one] == one).double().mean() for one in y_true.unique()]).mean()


recall = MetricInfo("recall", "macro recall", "multiclass", of_class)
errors = MetricInfo("errors", "errors", "binary", lambda y, out: float(((out > 0) != (y > 0)).sum()), False)
"""

ENTRIES = """[graphprune.data]
rings = rings_plugin:rings
nothing = rings_plugin:nothing
broken = no_such_module:rings
MUTAG = rings_plugin:rings

[graphprune.metrics]
recall = rings_plugin:recall
errors = rings_plugin:errors
odd = rings_plugin:of_class
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder on sys.path that an installed package could be."""
    folder = tmp_path / "site"
    info = folder / "rings_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "rings_plugin.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rings-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("rings_plugin", None)


def test_a_set_is_listed_and_loaded_by_name(tmp_path: Path) -> None:
    assert data.names() == (*CARDS, "broken", "nothing", "rings")
    [card] = [card for card in data.cards() if card.name == "rings"]
    assert card.about == "Rings and paths of six nodes. Macro recall" and card.source == "plug-in rings_plugin"
    rings = data.load("rings")
    assert (rings.name, len(rings.train), rings.metric) == ("rings", 16, "recall")
    assert data.load("rings", root=tmp_path).provenance["root"] == str(tmp_path)
    assert data.load("rings", split_seed=2).digest() != rings.digest()
    assert len(data.load("MUTAG").train) == 152, "the package's own names are its own"


def test_what_a_plugin_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plug-in rings takes no fold and no limit: leave it out"):
        data.load("rings", fold=1, limit=3)
    with pytest.raises(ValueError, match="plug-in nothing reads no files: leave out root"):
        data.load("nothing", root=tmp_path)
    with pytest.raises(ValueError, match="unknown data set 'ring': did you mean rings"):
        data.load("ring")


def test_a_broken_one_is_named_and_the_others_work() -> None:
    with pytest.raises(ImportError, match=r"plug-in 'broken' \(no_such_module:rings\) fails to import"):
        data.load("broken")
    with pytest.raises(TypeError, match="plug-in 'nothing' gives a str, not a GraphData or ImageData"):
        data.load("nothing")
    assert list(data.LOADERS.faults()) == ["MUTAG", "broken"]
    assert {card.name for card in data.cards()} == {*CARDS, "nothing", "rings"}
    assert list(metrics.METRICS.faults()) == ["odd"]
    listed = listing()
    assert "plug-in 'broken' (no_such_module:rings) fails to import" in listed and "Rings and paths" in listed
    assert "(rings_plugin:of_class) of graphprune.metrics: not a MetricInfo" in listed


def test_a_metric_is_computed_and_known_by_its_task() -> None:
    rings = data.load("rings")
    assert rings.higher_is_better
    y, sure = rings.labels(rings.test), torch.tensor([[5.0, 0.0]])
    assert rings.evaluate(y, sure.expand(8, 2)) == 0.5
    assert rings.evaluate(y[:5], torch.nn.functional.one_hot(y[:5]).float()) == 1
    with pytest.raises(ValueError, match="metric of a regression task must be rmse or mae, got 'recall'"):
        metrics.check_metric("recall", "regression")
    with pytest.raises(
        ValueError, match="metric of a multiclass task must be accuracy or balanced-accuracy or recall, got 'recal'"
    ):
        metrics.check_metric("recal", "multiclass")
    told = r"\(rings_plugin:of_class\) of graphprune.metrics: not a MetricInfo with name = 'odd'"
    with pytest.raises(TypeError, match=told):
        metrics.check_metric("odd", "binary")


def test_a_set_of_ogb_with_another_metric_is_not_scored_by_ogb() -> None:
    y, out = torch.tensor([[1.0], [0.0], [1.0]]), torch.tensor([[2.0], [1.0], [-1.0]])
    assert metrics.evaluate("errors", y, out, where="here", ogb_name="ogbg-molbace") == 2
    assert metrics.evaluate("f1", y, out, where="here", ogb_name="ogbg-molbace") == 0.5
    assert metrics.evaluate("rocauc", y, out, where="here", ogb_name="ogbg-molbace") == 0.5


def test_the_command_line_and_grids_know_it(tmp_path: Path) -> None:
    run = ["run", "dense", "--data", "rings", "--model", "gcn", "--hidden", "4", "--epochs", "1"]
    assert cli.main([*run, "--out", str(tmp_path / "run")]) == 0
    [row] = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (row["data"], row["metric"]) == ("rings", "recall")
    rest = {"method": {"name": "dense"}, "model": {"name": "gcn", "hidden": 4}, "fit": {"epochs": 1}}
    configs = {name: RunConfig.of({**rest, "data": {"name": name, "split_seed": 3}}) for name in ("rings", "broken")}
    with ThreadPoolExecutor(1) as executor:
        ran, broken = run_grid([Job(config, tmp_path / name, name) for name, config in configs.items()], executor)
    assert ran.error is None and ran.rows[0]["data.split_seed"] == 3
    assert "plug-in 'broken' (no_such_module:rings) fails to import" in broken.error
