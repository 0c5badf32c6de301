"""Runs of a method that another package registers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphprune.cli import main
from graphprune.grids import Job
from graphprune.grids.file import read_grid
from graphprune.grids.grid import standing
from graphprune.methods import METHODS
from graphprune.runs import RunConfig, run_one
from graphprune.runs.build import last_round
from graphprune.runs.folder import RunFolder
from tests.runs.same import assert_same_run
from tests.runs.samples import tiny_run, tiny_set

# Its rounds go by no option of that name; a process that finds the file "fatal" dies in the second.
CODE = """
import os
import signal
from pathlib import Path

import attrs

from graphprune.graphs import RandomEdges
from graphprune.methods import Decision, IterativeMethod


@attrs.frozen(kw_only=True)
class Halving(IterativeMethod):
    \"\"\"Halves the edges as often as told.\"\"\"

    num_rounds: int = attrs.field(default=1, init=False)
    edge_rate: float = attrs.field(default=0.5, init=False)
    weight_rate: float = attrs.field(default=0.0, init=False)
    halvings: int = 3

    name = "halving"

    @property
    def last_round(self):
        return self.halvings

    def search(self, state, fit):
        fatal = Path(__file__).with_name("fatal")
        if state.round == 1 and fatal.exists():
            fatal.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return Decision(RandomEdges(state.round), None)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path that an installed package could be."""
    folder = tmp_path / "site"
    info = folder / "halving_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "halving_plugin.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halving-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[graphprune.methods]\nhalving = halving_plugin:Halving\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("halving_plugin", None)


def test_a_plugin_that_was_killed_goes_on_with_the_rounds_it_has_left(plugin: Path, tmp_path: Path) -> None:
    assert "halving" in METHODS
    values, out = tiny_run(tiny_set(tmp_path / "raw"), "dense").plain(), tmp_path / "killed"
    made = RunConfig.of({**values, "method": {"name": "halving"}})
    made.save(tmp_path / "config.yaml")
    (plugin / "fatal").touch()
    command = ["-m", "graphprune.cli", "run", "--config", str(tmp_path / "config.yaml"), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    died = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=200, env=environment)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert RunFolder(out).finished == 1
    assert standing(Job(made, out, "killed")) is None
    rows = run_one(made, out)
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert [row["edge_sparsity_train"] for row in rows] == pytest.approx([0.5, 0.75, 0.875], abs=0.05)
    run_one(made, tmp_path / "whole")
    assert_same_run(out, tmp_path / "whole")
    found = standing(Job(made, out, "killed"))
    assert found is not None
    assert found.rows == rows


@pytest.mark.parametrize("halvings", [1, 2, 5])
def test_a_plugin_says_itself_how_many_rounds_it_has(plugin: Path, halvings: int) -> None:
    values = {"method": {"name": "halving", "halvings": halvings}, "data": {"name": "MUTAG"}}
    assert last_round(RunConfig.of(values)) == halvings


def test_a_plugin_without_a_round_is_refused(plugin: Path, tmp_path: Path) -> None:
    values = {"method": {"name": "halving", "halvings": 0}, "data": {"name": "MUTAG"}}
    with pytest.raises(ValueError, match="halving has nothing to run: its last_round is 0"):
        run_one(RunConfig.of(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def broken(plugin: Path) -> None:
    """Two more plug-ins: one whose code does not import, and one that is no model."""
    with (plugin / "halving_plugin-1.0.dist-info/entry_points.txt").open("a") as file:
        file.write("shattered = no_such_module:Shattered\n\n[graphprune.models]\nodd = halving_plugin:Path\n")


@pytest.mark.usefixtures("broken")
def test_broken_plugins_are_named_and_the_rest_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "Halves the edges as often as told." in listed
    assert "plug-in 'shattered' (no_such_module:Shattered) fails to import: ModuleNotFoundError" in listed
    assert "(halving_plugin:Path) of graphprune.models: not a module class" in listed
    assert main(["run", "--help"]) == 0
    assert "halving " in (text := capsys.readouterr().out)
    assert "shattered" not in text
    with pytest.raises(SystemExit, match="0"):
        main(["run", "halving", "--help"])
    assert main(["run", "shattered", "--data", "MUTAG", "--out", str(tmp_path / "run")]) == 2
    assert "plug-in 'shattered' (no_such_module:Shattered) fails to import" in capsys.readouterr().err


@pytest.mark.usefixtures("broken")
def test_a_grid_runs_beside_a_broken_plugin_and_names_one_that_it_uses() -> None:
    grid = {"data": ["MUTAG"], "methods": ["halving"], "sparsity": [{"halvings": 2}]}
    assert [cell.config.method["halvings"] for cell in read_grid(grid).cells] == [2]
    with pytest.raises(ValueError, match="nothing has an option halvigns"):
        read_grid({**grid, "sparsity": [{"halvigns": 2}]})
    with pytest.raises((ValueError, ImportError), match="plug-in 'shattered'"):
        read_grid({**grid, "methods": ["halving", "shattered"]})
