"""A network of the user's own by where it is imported from, on the command line and in grids."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from graphprune.cli import main
from graphprune.runs.config import RunConfig
from graphprune.runs.objects import imported, option_names
from graphprune.ticket import Ticket
from tests.runs.samples import NAME, tiny_set

CODE = """
import torch
from torch_geometric.nn import SAGEConv, global_mean_pool

class Net(torch.nn.Module):
    def __init__(self, features, outputs, hidden=8):
        super().__init__()
        self.conv = SAGEConv(features, hidden)
        self.head = torch.nn.Linear(hidden, outputs)

    @classmethod
    def for_data(cls, data, **options):
        return cls(data.num_features, data.num_outputs, **options)

    def forward(self, data):
        return self.head(global_mean_pool(torch.relu(self.conv(data.x, data.edge_index)), data.batch))

def made(data, width=4):
    return Net.for_data(data, hidden=width)
"""
RUN = ["--rounds", "1", "--epochs", "1", "--predictor.hidden", "4", "--predictor.layers", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files of a small set."""
    return tiny_set(tmp_path_factory.mktemp("raw"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working directory with a module of its own name, as each test imports its own."""
    name = f"nets_of_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def test_a_run_has_its_options_goes_on_and_compacts(
    here: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options are those of for_data, and of the constructor behind it; the folder knows the class and its source."""
    argv = ["run", "icpg", "--data", NAME, "--data-root", str(folder), "--model", f"{here}:Net", "--hidden", "6", *RUN]
    assert main([*argv, "--out", "net", "--method.unit", "coupled", "--method.weight_rate", "0.5"]) == 0
    model = yaml.safe_load(Path("net/config.yaml").read_text(encoding="utf-8"))["model"]
    assert (model["name"], model["object"], model["hidden"]) == ("Net", f"{here}:Net", 6)
    assert main([*argv, "--out", "net", "--method.unit", "coupled", "--method.weight_rate", "0.5"]) == 0
    assert "1 finished rounds found" in capsys.readouterr().err
    assert main(["compact", "net", "--out", "none"]) == 2
    assert "--model my_package.nets:Net" in capsys.readouterr().err
    assert main(["compact", "net", "--model", f"{here}:Net", "--out", "small"]) == 0
    assert Path("small/weights.safetensors").exists()
    assert main(["compact", "net", "--model", f"{here}:made", "--out", "other"]) == 2
    assert f"{here}:made is not the model of net" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["run", "--config", "net/config.yaml", "--out", "again"]) == 2
    error = capsys.readouterr().err
    assert f"net/config.yaml describes a run whose model was your own, {here}:Net" in error and "--model" in error
    assert main(["run", "--config", "net/config.yaml", "--model", f"{here}:Net", "--out", "again"]) == 2
    assert "start it as it was started" in capsys.readouterr().err


def test_a_folder_of_results_has_nothing_imported_that_is_not_typed(
    here: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration beside results may be anybody's; a file of the user's own is another thing."""
    options = {"method": {"name": "dense"}, "data": {"name": NAME, "root": str(folder)}, "fit": {"epochs": 1}}
    Path("got").mkdir()
    file, code = Path("got/config.yaml"), Path(f"{here}.py").read_text(encoding="utf-8")
    file.write_text(yaml.safe_dump({**options, "model": {"name": f"{here}:Net"}}))
    Path(f"{here}.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    for beside in ("results.json", "provenance.json", "metrics.jsonl"):
        Path("got", beside).write_text("{}")
        for words in (["--config", str(file)], ["dense", "--config", str(file)]):
            assert main(["run", *words, "--out", "one"]) == 2
            assert f"type --model {here}:Net if you trust it" in capsys.readouterr().err
        Path("got", beside).unlink()
    Path("got/results.json").write_text("{}")
    Path(f"{here}.py").write_text(code, encoding="utf-8")
    assert main(["run", "--config", str(file), "--model", f"{here}:Net", "--out", "one"]) == 0


OWN = """
import graphprune as gp

class Mine(gp.models.GIN):
    pass

class Deeper(gp.models.PNA):
    def __init__(self, *args, depth=2, **options):
        self.depth = depth
        super().__init__(*args, **options)

class Closed(gp.models.GIN):
    def __init__(self, features, num_outputs, hidden=8, layers=1):
        super().__init__(features, num_outputs, hidden, layers)

class Chosen(gp.models.GCN):
    @classmethod
    def for_data(cls, data, size=4, **options):
        return super().for_data(data, size, **options)

class Fixed(gp.models.GCN):
    @classmethod
    def for_data(cls, data, size=4):
        return super().for_data(data, size)
"""
BLOCKS = {"dropout", "readout", "jk", "bonds", "norm", "residual", "feed_forward", "virtual_node", "plain_last"}
BLOCKS |= {"head_layers", "head_dropout"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Mine", {"hidden", "layers", "train_eps"} | BLOCKS),
        ("Deeper", {"hidden", "layers", "depth"} | BLOCKS),
        ("Closed", {"hidden", "layers"}),
        ("Chosen", {"size", "hidden", "layers"} | BLOCKS),
        ("Fixed", {"size"}),
    ],
)
def test_options_of_a_subclass_are_those_of_its_bases_as_far_as_they_are_handed_on(
    here: str, name: str, expected: set[str]
) -> None:
    """What comes from the data is none."""
    Path(f"{here}.py").write_text(OWN, encoding="utf-8")
    assert set(option_names("model", imported("model", f"{here}:{name}"))) == expected


def test_a_run_of_a_subclass_takes_its_options(here: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line, as the package's own class does."""
    Path(f"{here}.py").write_text(OWN, encoding="utf-8")
    argv = ["run", "dense", "--data", NAME, "--data-root", str(folder), "--epochs", "1", "--model", f"{here}:Mine"]
    words = ["--hidden", "6", "--residual", "true", "--train-eps", "false", "--head-layers", "2"]
    assert main([*argv, *words, "--out", "one"]) == 0
    config = Ticket.load("one/round-1").provenance["model"]["config"]
    assert (config["hidden"], config["residual"], config["train_eps"], config["head_layers"]) == (6, True, False, 2)
    assert main([*argv, "--edge-features", "3", "--out", "two"]) == 2


def test_a_config_file_and_a_grid_name_it_too(here: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A function of the data is as good as a class."""
    config = {"method": {"name": "dense"}, "data": {"name": NAME, "root": str(folder)}, "fit": {"epochs": 1}}
    Path("run.yaml").write_text(yaml.safe_dump({**config, "model": {"name": f"{here}:made", "width": 3}}))
    assert main(["run", "--config", "run.yaml", "--out", "one"]) == 0
    grid = {
        "common": {"fit": {"epochs": 1}, "data": {"root": str(folder)}},
        "data": [NAME],
        "models": [{"name": f"{here}:Net", "hidden": [3, 5]}, f"{here}:made"],
        "methods": ["dense"],
    }
    Path("grid.yaml").write_text(yaml.safe_dump(grid))
    assert main(["bench", "grid.yaml", "--out", "all", "--workers", "1"]) == 0
    assert sorted(path.name for path in Path("all", NAME).iterdir()) == ["Net,hidden=3", "Net,hidden=5", "made"]
    capsys.readouterr()
    Path("grid.yaml").write_text(yaml.safe_dump({**grid, "models": [f"{here}:Nat"]}))
    assert main(["bench", "grid.yaml", "--out", "no"]) == 2
    assert f"models[0]: model {here}:Nat: module {here} has no Nat" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("no_such_module_here:Net", "no_such_module_here cannot be imported.*must be installed, or lie in"),
        ("os.path:nothing", "module os.path has no nothing"),
        ("os:path", "expected a class with for_data"),
    ],
)
def test_what_is_no_network_is_refused(path: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text says what was looked for."""
    argv = ["run", "dense", "--data", NAME, "--data-root", str(folder), "--model", path, "--epochs", "1"]
    assert main([*argv, "--out", "never"]) == 2
    assert re.search(text, capsys.readouterr().err)


def test_an_unknown_option_is_named(here: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the nearest one."""
    assert main(["run", "dense", "--data", NAME, "--model", f"{here}:Net", "--hiden", "3", "--out", "never"]) == 2
    assert "did you mean --hidden" in capsys.readouterr().err


def test_a_folder_of_results_never_imports(here: str, tmp_path: Path) -> None:
    """Its configuration may be anybody's."""
    Path(f"{here}.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    file = tmp_path / "config.yaml"
    file.write_text(
        yaml.safe_dump({"method": {"name": "dense"}, "data": {"name": NAME}, "model": {"name": f"{here}:N"}})
    )
    with pytest.raises(ValueError, match="is imported for the command line and for grids"):
        RunConfig.load(file)
