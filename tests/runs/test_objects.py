"""Runs of a user's own objects: what they are known by, what is refused, and that a run goes on with them."""

import functools
import json
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from graphprune.data import GraphData
from graphprune.graphs import EdgePredictor
from graphprune.methods import ICPG, Dense, Protocol, RandomPruning
from graphprune.models import GCN
from graphprune.runs import RunConfig, run_one
from graphprune.runs.folder import RunFolder
from graphprune.runs.identity import identity, plain
from graphprune.runs.trained import Trained
from graphprune.ticket import Ticket
from graphprune.train import Fit
from tests.runs import own
from tests.runs.same import assert_same_run, metrics
from tests.runs.samples import tiny_run, tiny_set

FIT = Fit(epochs=np.int64(2), batch_size=16, lr=0.01)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_set(tmp_path_factory.mktemp("raw")))


@pytest.fixture(scope="module")
def data(root: str) -> GraphData:
    return own.tiny(root)


def config(**sections: Any) -> RunConfig:
    return RunConfig.of({"method": Dense(), "model": own.make_net, "fit": FIT, **sections})


# ---------------------------------------------------------------------- runs


def test_what_a_run_of_objects_records_is_plain_data(data: GraphData, tmp_path: Path) -> None:
    predictor = EdgePredictor.for_data(data, hidden=8, layers=1)
    method = ICPG(predictor=predictor, rounds=2, edge_rate=0.2, weight_rate=0.3, seed=7)
    made = config(method=method, data=data, model={"object": own.make_net, "hidden": np.int64(4)}, seed=np.int64(3))
    rows = run_one(made, tmp_path / "run")
    assert [row["round"] for row in rows] == [1, 2]
    assert rows[0]["seed"] == rows[0]["fit_seed"] == 3
    there = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert there["model"].keys() == {"name", "object", "source", "hidden"}
    assert there["model"]["object"] == "tests.runs.own:make_net"
    assert there["data"]["digest"] == data.digest()[:16]
    assert there["data"]["name"] == "mine"
    assert there["fit"]["epochs"] == 2
    expected = {
        "name": "icpg",
        "object": "graphprune.methods.icpg:ICPG",
        "rounds": 2,
        "edge_rate": 0.2,
        "last_round": 2,
    }
    assert there["method"].items() >= expected.items()
    assert there["method"]["predictor"]["hidden"] == 8
    assert "seed" not in there["method"]
    assert there["seed"] == 3
    assert rows[0]["model.hidden"] == 4
    assert rows[0]["method.edge_rate"] == 0.2
    assert RunConfig.load(tmp_path / "run/config.yaml") == made
    assert len(metrics(tmp_path / "run")) == 8
    assert run_one(made, tmp_path / "run") == rows
    assert len(json.loads((tmp_path / "run/provenance.json").read_text())) == 1  # it was only looked at


def test_an_object_computes_what_the_same_by_name_computes(root: str, tmp_path: Path) -> None:
    named = tiny_run(Path(root), "random", edge_rate=0.2)
    run_one(named, tmp_path / "named")
    data = functools.partial(own.tiny, root)
    method = RandomPruning(rounds=2, edge_rate=0.2)
    model = {"object": GCN, "hidden": 8, "layers": 2}
    run_one(config(data=data, method=method, model=model), tmp_path / "objects")
    one, other = (Ticket.load(tmp_path / name / "round-2") for name in ("named", "objects"))
    assert all(torch.equal(value, other.trained[name]) for name, value in one.trained.items())


@pytest.mark.parametrize(
    ("method", "rounds"),
    [
        (own.make_icpg, 2),
        ({"object": own.make_icpg, "name": "mine", "rounds": 3}, 3),
        (own.Halving, 2),
        ({"object": own.Halving, "halvings": 1}, 1),
        (functools.partial(own.Halving, halvings=1), 1),
    ],
)
def test_methods_are_made_with_the_data_and_know_their_rounds(
    method: Any, rounds: int, data: GraphData, tmp_path: Path
) -> None:
    made = config(method=method, data=data, model=own.Made)
    rows = run_one(made, tmp_path)
    assert [row["round"] for row in rows] == list(range(1, rounds + 1))
    assert RunFolder(tmp_path).finished_rows(made) == rows
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["method"]["last_round"] == rounds


def test_a_made_method_may_get_more_rounds_and_another_predictor_a_seed(data: GraphData, tmp_path: Path) -> None:
    def made(rounds: int, seed: int = 0) -> RunConfig:
        return config(method={"object": own.make_icpg, "rounds": rounds}, data=data, seed=seed)

    run_one(made(1), tmp_path / "grown")
    assert RunFolder(tmp_path / "grown").finished_rows(made(2)) is None
    rows = run_one(made(2), tmp_path / "grown")
    assert run_one(made(1), tmp_path / "grown") == rows  # fewer than there are is a look
    assert RunFolder(tmp_path / "grown").finished_rows(made(2)) == rows
    run_one(made(2), tmp_path / "whole")
    assert_same_run(tmp_path / "grown", tmp_path / "whole")
    run_one(made(1, seed=1), tmp_path / "other")
    states = [Ticket.load(tmp_path / name / "round-1").edges.rounds[0].scorer for name in ("whole", "other")]
    assert not all(map(torch.equal, *(state.state_dict().values() for state in states if state is not None)))


@pytest.mark.parametrize("fit", [own.train, own.quick, own.make_fit, own.Long(epochs=2, batch_size=16)])
def test_trainings_of_ones_own(fit: Any, data: GraphData, tmp_path: Path) -> None:
    made = config(method=RandomPruning(rounds=2, edge_rate=0.2), data=data, fit=fit)
    run_one(made, tmp_path / "run")
    epochs = {own.train: 2, own.quick: 1, own.make_fit: 3}.get(fit, 2)
    assert [entry["epoch"] for entry in metrics(tmp_path / "run")] == [*range(1, epochs + 1)] * 2
    run_one(made, tmp_path / "again")
    assert_same_run(tmp_path / "run", tmp_path / "again")
    run_one(replace(made, seed=1), tmp_path / "other")
    assert metrics(tmp_path / "run")[0]["loss"] != metrics(tmp_path / "other")[0]["loss"]


def test_data_that_are_drawn_are_the_same_in_every_run(root: str, tmp_path: Path) -> None:
    data = functools.partial(own.drawn, root)
    rows = [run_one(config(data=data, seed=seed), tmp_path / str(seed)) for seed in (0, 1)]
    assert all(rows)
    tickets = [Ticket.load(tmp_path / name / "round-1").provenance["data"]["digest"] for name in ("0", "1")]
    assert tickets[0] == tickets[1]


def test_numbers_of_numpy_are_numbers_in_a_configuration(tmp_path: Path) -> None:
    values = tiny_run(tmp_path).plain()
    values["method"] = {**values["method"], "rounds": np.int64(2), "edge_rate": np.float64(0.05)}
    assert RunConfig.of({**values, "seed": np.int32(0)}) == tiny_run(tmp_path)


def test_configurations_travel_with_their_objects(data: GraphData) -> None:
    made = config(method=own.make_icpg, data=data, fit=own.train)
    there = pickle.loads(pickle.dumps(made))
    assert there == made
    assert there.objects["method"] is own.make_icpg
    assert there.objects["data"].digest() == data.digest()


# ---------------------------------------------------------------------- going on, or not


def test_a_run_without_its_objects_says_whose_they_are(data: GraphData, tmp_path: Path) -> None:
    run_one(config(method=RandomPruning(rounds=1), data=data), tmp_path / "run")
    loaded = RunConfig.load(tmp_path / "run/config.yaml")
    assert len(run_one(loaded, tmp_path / "run")) == 1  # finished: it takes no objects to see that
    with pytest.raises(ValueError, match=r"the data mine is an object from Python \(graphprune.data.base:GraphData\)"):
        run_one(loaded, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="was trained on mine, an object from Python"):
        Trained.at(tmp_path / "run").data({})


def test_changed_objects_are_told_by_what_they_are_known_by(
    data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_one(config(data=data), tmp_path)
    fewer = data.with_splits(train=data.train.select(range(20)))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"data": fewer}, r"data\.digest: \w{16} -> \w{16}"),
        ({"data": data, "model": own.Made}, "model.object: tests.runs.own:make_net -> tests.runs.own:Made"),
        ({"data": data, "model": {"object": own.make_net, "hidden": 3}}, "model.hidden: None -> 3"),
        ({"data": data, "method": Dense(protect="head.*")}, r"method.protect: \[\] -> \['head.\*'\]"),
        ({"data": data, "fit": replace(FIT, lr=0.5)}, "fit.lr: 0.01 -> 0.5"),
        ({"data": data, "fit": own.train}, "fit.object: None -> tests.runs.own:train"),
    ]
    for sections, problem in changes:
        with pytest.raises(FileExistsError, match=problem):
            run_one(config(**sections), tmp_path)
    monkeypatch.setattr("inspect.getsource", lambda value: "def make_net(data):\n    return 1\n")
    with pytest.raises(FileExistsError, match=r"model\.source: \w{16} -> \w{16}"):
        run_one(config(data=data), tmp_path)


SCRIPT = """
def make(data, width=3):  # a comment
    return data


def other(data):
    return make(data)
"""


def test_a_function_is_known_by_its_code_and_not_by_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def known(text: str) -> str:
        (tmp_path / "some_script.py").write_text(text)
        code = "import json, some_script; from graphprune.runs.identity import identity\n"
        code += "print(json.dumps(identity(some_script.make)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(tmp_path))
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = known(SCRIPT)
    assert json.loads(first)["object"] == "some_script:make"
    assert known("\n\n" + SCRIPT.replace("  # a comment", "").replace("make(data)", "make(data, 4)")) == first
    assert known(SCRIPT.replace("width=3", "width=4")) != first


def environment(*paths: Path) -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, sys.path)])}


# ---------------------------------------------------------------------- refusals


class Loose:
    def __call__(self, data: GraphData) -> nn.Module:
        return own.make_net(data)

    def make(self, data: GraphData) -> nn.Module:
        return own.make_net(data)


class Scorer(nn.Module):
    def forward(self, data: Any) -> Any:
        return data


def inner() -> Any:
    def make(data: GraphData) -> nn.Module:
        return own.make_net(data)

    return make


def test_a_fit_with_a_loss_or_schedule_of_torchs_is_an_object_with_an_identity(data: GraphData, tmp_path: Path) -> None:
    def of(**options: Any) -> RunConfig:
        return config(data=data, fit=Fit(epochs=2, lr=0.01, **options))

    made = of(loss=nn.CrossEntropyLoss(label_smoothing=0.1), schedule=own.one_cycle, ema=0.5)
    said = made.plain()["fit"]
    assert (said["name"], said["object"]) == ("Fit", "graphprune.train.loop:Fit")
    assert said["loss"]["label_smoothing"] == 0.1 and said["schedule"]["object"] == "tests.runs.own:one_cycle"
    rows = run_one(made, tmp_path / "run")
    assert run_one(of(loss=nn.CrossEntropyLoss(label_smoothing=0.1), schedule=own.one_cycle, ema=0.5), tmp_path / "run")
    assert len(rows) == 1
    other = of(loss=nn.CrossEntropyLoss(label_smoothing=0.2), schedule=own.one_cycle, ema=0.5)
    assert any("label_smoothing: 0.1 -> 0.2" in line for line in made.differences(other))
    weighed = (nn.CrossEntropyLoss(weight=torch.tensor([1.0, weight])) for weight in (1.0, 2.0))
    assert len({str(of(loss=loss).plain()["fit"]) for loss in weighed}) == 2
    words = of(loss="cross_entropy", schedule="cosine")
    assert words == config(data=data, fit={"epochs": 2, "lr": 0.01, "loss": "cross_entropy", "schedule": "cosine"})


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"model": lambda data: own.make_net(data)},
        r"tests.runs.test_objects:<lambda> cannot be .* \(a lambda\): def",
    ),
    ({"model": inner()}, r"cannot be imported \(made inside a function\).*partial"),
    ({"model": Loose()}, "an object of tests.runs.test_objects.Loose has a state that no other process could compare"),
    ({"model": Loose().make}, "has a state that no other process could compare"),
    ({"model": functools.partial(own.make_net, hidden=Loose())}, "has a state that no other process could compare"),
    ({"model": nn.Linear(1, 1)}, "is a network with weights, which all runs would share: give what makes it"),
    ({"model": 3}, "expected a class with for_data.*got an object of builtins.int"),
    ({"model": {"object": own.make_net, "hiden": 3}}, "cannot be called with the options {'hiden': 3}: .*'hiden'"),
    ({"model": {"object": own.make_net, "source": 3}}, "cannot be called source: rename"),
    ({"data": Dense()}, "expected a GraphData.*got an object of graphprune.methods.baselines.Dense"),
    ({"method": {"object": Dense(), "protect": "x"}}, "has all its options: protect cannot be set beside it"),
    ({"method": {"object": Dense, "protekt": "x"}}, "unexpected keyword argument 'protekt'"),
    (
        {"method": ICPG(predictor=Scorer(), rounds=1)},
        r"does not say what it was made from: give its class a method config\(\)",
    ),
    ({"method": Dense(select=lambda model: ())}, "<lambda> cannot be imported"),
    ({"fit": Fit(on_epoch=print)}, "a Fit with on_epoch: leave it out"),
    ({"fit": Fit(schedule=lambda optimizer, steps: None)}, "<lambda> cannot be imported"),
    ({"fit": {"object": own.train, "epochs": 3}}, "has all its options: epochs cannot be set"),
    ({"predictor": own.make_net}, "predictor: expected plain data"),
]


@pytest.mark.parametrize(("sections", "problem"), REFUSED)
def test_objects_without_an_identity_are_refused_with_the_remedy(
    sections: dict[str, Any], problem: str, data: GraphData
) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        config(**{"data": data, **sections})
    assert str(error.value).startswith(f"{next(iter(sections))}: ")


@pytest.mark.parametrize("kind", ["data", "model", "method"])
def test_a_function_that_makes_something_else_is_named(kind: str, data: GraphData, tmp_path: Path) -> None:
    wrong = {"data": own.nothing, "model": own.numbers, "method": own.numbers}[kind]
    with pytest.raises(TypeError, match=re.escape(f"the {kind} is an object of builtins.")):
        run_one(config(**{"data": data, kind: wrong}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------- plain data


@dataclass
class Pair:
    one: Any
    other: Any


def test_values_as_yaml_holds_them() -> None:
    given = {"a": np.float32(0.5), "b": (np.int64(1), True, None), "c": {"y", "x"}, "d": range(2), "e": Path("f/g")}
    assert plain(given) == {"a": 0.5, "b": [1, True, None], "c": ["x", "y"], "d": [0, 1], "e": "f/g"}
    assert yaml.safe_load(yaml.safe_dump(plain(given))) == plain(given)
    weights = plain({"w": torch.zeros(2)})
    assert weights == plain({"w": torch.zeros(2)}) != plain({"w": torch.ones(2)})
    assert plain(torch.tensor(3)) == 3
    assert plain(own.make_net) == identity(own.make_net)
    assert plain(Protocol())["rule"]["unit"] == "pair"
    assert plain(Pair(1, own.Net)).items() >= {"object": "tests.runs.test_objects:Pair", "one": 1}.items()
    assert identity(own.Made.for_data)["object"] == "tests.runs.own:Made.for_data"
    assert identity(nn.functional.relu)["object"] == "torch.nn.functional:relu"


def test_a_network_is_known_by_its_making_and_its_weights() -> None:
    torch.manual_seed(0)
    one, other = EdgePredictor(3, hidden=4), EdgePredictor(3, hidden=4)
    assert identity(one) != identity(other)
    other.load_state_dict(one.state_dict())
    assert identity(one) == identity(other)
    assert identity(EdgePredictor(3, hidden=4, score="inner_product")).items() >= {"score": "inner_product"}.items()
