import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.grids.file import Grid, cells_of, read_grid
from graphprune.runs import RunConfig
from tests.runs.samples import NAME, tiny_set

FULL = """
common:
  fit: {epochs: 4, lr: 1e-3}
  model: {hidden: 8, dropout: 0.1}
  method: {layer_floor: 0.1}
data:
  - planted-motif
  - {name: MUTAG, folds: [0, 9], seeds: [7], fit: {epochs: 9}, model: {hidden: 4}}
models:
  - gin
  - {name: gcn, hidden: 16, layers: 2}
methods:
  - dense
  - imp
  - {name: icpg, fit: {lr: 0.1}, predictor: {hidden: 5}, layer_floor: 0.2}
  - {name: random, scope: [global, layer], label: chance}
sparsity:
  - {rounds: 3, edge_rate: 0.1, weight_rate: 0.2}
  - {rounds: 2, edge_rate: 0.3, weight_rate: 0.2}
seeds: [0, 1]
"""


def plan(folder: Path, text: str) -> Grid:
    file = folder / "grid.yaml"
    file.write_text(text)
    return read_grid(file)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ValueError, match=r"grid\.yaml") as error:
        plan(folder, text)
    return str(error.value)


def test_every_combination_is_a_cell_with_a_folder_of_its_own(tmp_path: Path) -> None:
    cells = plan(tmp_path, FULL).cells
    pairs = ("edge_rate=0.1,weight_rate=0.2", "edge_rate=0.3,weight_rate=0.2")
    labels = ["dense", "imp,weight_rate=0.2"]  # what a method has not makes no cells of it
    labels += [f"icpg,{pair}" for pair in pairs]
    labels += [f"chance,scope={scope},{pair}" for scope, pair in product(("global", "layer"), pairs)]
    repeats = ["planted-motif/{}/{}/seed-0", "planted-motif/{}/{}/seed-1"]
    repeats += ["MUTAG/{}/{}/seed-7-fold-0", "MUTAG/{}/{}/seed-7-fold-9"]
    expected = {form.format(model, label) for form, model, label in product(repeats, ("gin", "gcn"), labels)}
    assert {cell.name for cell in cells} == expected
    assert len(cells) == len(expected)
    # One repetition of everything comes before the next.
    firsts = cells[: len(cells) // 2]
    assert {cell.name.rpartition("/")[2] for cell in firsts} == {"seed-0", "seed-7-fold-0"}


def test_options_come_from_the_closest_that_gives_them(tmp_path: Path) -> None:
    cells = {cell.name: cell.config for cell in plan(tmp_path, FULL).cells}
    config = cells["MUTAG/gcn/icpg,edge_rate=0.3,weight_rate=0.2/seed-7-fold-9"]
    assert config == RunConfig.of(
        {
            "method": {"name": "icpg", "rounds": 2, "edge_rate": 0.3, "weight_rate": 0.2, "layer_floor": 0.2},
            "data": {"name": "MUTAG", "fold": 9},
            "model": {"name": "gcn", "hidden": 4, "layers": 2, "dropout": 0.1},
            "fit": {"epochs": 9, "lr": 0.1},
            "predictor": {"hidden": 5},
            "seed": 7,
        }
    )
    imp = cells["planted-motif/gin/imp,weight_rate=0.2/seed-1"]
    assert (imp.fit["epochs"], imp.fit["lr"], imp.model["hidden"], imp.method["layer_floor"]) == (4, 1e-3, 8, 0.1)


@given(st.sampled_from(["icpg", "dense", "random"]), st.integers(1, 64), st.floats(0, 0.9), st.integers(0, 9))
def test_a_cell_has_the_configuration_that_its_options_give(
    tmp_path_factory: pytest.TempPathFactory, method: str, hidden: int, dropout: float, seed: int
) -> None:
    grid = {"data": ["MUTAG"], "methods": [method], "seeds": [seed]}
    grid["models"] = [{"name": "sage", "hidden": hidden, "dropout": dropout}]  # type: ignore[list-item]
    (cell,) = plan(tmp_path_factory.mktemp("grid"), yaml.safe_dump(grid)).cells
    model = {"name": "sage", "hidden": hidden, "dropout": dropout}
    assert cell.config == RunConfig.of(
        {"method": {"name": method}, "data": {"name": "MUTAG"}, "model": model, "seed": seed}
    )


def test_a_run_of_more_rounds_stands_for_those_of_fewer(tmp_path: Path) -> None:
    sparsity = "[{rounds: 2, edge_rate: .05, weight_rate: .2}, {rounds: 6, edge_rate: .1, weight_rate: .2}]"
    text = f"data: [MUTAG]\nmethods: [imp, random]\nsparsity: {sparsity}\n"
    rounds = {cell.name.split("/")[2]: cell.config.method["rounds"] for cell in plan(tmp_path, text).cells}
    assert rounds == {
        "imp,weight_rate=0.2": 6,
        "random,edge_rate=0.05,weight_rate=0.2": 2,
        "random,edge_rate=0.1,weight_rate=0.2": 6,
    }


def test_a_run_without_the_ticket_of_a_shorter_one_does_not_stand_for_it(tmp_path: Path) -> None:
    text = "data: [MUTAG]\nmethods:\n- random\ncommon: {method: {ticket_every: 4}}\n"
    (cell,) = plan(tmp_path, text + "joint: {rounds: [4, 6]}\n").cells
    assert cell.config.method["rounds"] == 6
    message = refusal(tmp_path, text + "joint: {rounds: [5, 6]}\n")
    assert "line 3: methods[0]: random is asked for 5 and for 6 rounds of one run" in message


# Options of sparsities, and which of them each method has.
OFFERED = {
    "rounds": st.integers(1, 5),
    "edge_rate": st.sampled_from([0.05, 0.1]),
    "weight_rate": st.sampled_from([0.2, 0.4]),
    "layer_floor": st.sampled_from([0.0, 0.3]),
    "density": st.sampled_from([0.5, 0.1]),
}
TAKEN = {
    "dense": {"layer_floor"},
    "imp": {"rounds", "weight_rate", "layer_floor"},
    "icpg": {"rounds", "edge_rate", "weight_rate", "layer_floor"},
    "random": {"rounds", "edge_rate", "weight_rate", "layer_floor"},
    "snip": {"density", "layer_floor"},
}


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(sorted(TAKEN)), min_size=1, unique=True),
    st.lists(st.fixed_dictionaries(OFFERED), min_size=1, max_size=4),
    st.sets(st.integers(0, 9), min_size=1, max_size=2),
)
def test_a_grid_runs_all_it_was_asked_for_and_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, methods: list[str], sparsities: list[dict[str, Any]], seeds: set[int]
) -> None:
    without = [{name: value for name, value in one.items() if name != "rounds"} for one in sparsities]
    sparsities = [one for number, one in enumerate(sparsities) if without[number] not in without[:number]]
    wanted: dict[tuple[Any, ...], int] = {}  # rounds of each run, by the options that its method has
    for method, sparsity, seed in product(methods, sparsities, seeds):
        options = tuple((name, sparsity[name]) for name in sorted(TAKEN[method] - {"rounds"}))
        rounds = sparsity["rounds"] if "rounds" in TAKEN[method] else 0
        wanted[method, options, seed] = max(rounds, wanted.get((method, options, seed), 0))
    grid = {"data": ["MUTAG"], "methods": methods, "sparsity": sparsities, "seeds": sorted(seeds)}
    cells = plan(tmp_path_factory.mktemp("grid"), yaml.safe_dump(grid)).cells
    planned = []
    for config in (cell.config for cell in cells):
        options = tuple((name, config.method[name]) for name in sorted(TAKEN[config.method["name"]] - {"rounds"}))
        planned.append(((config.method["name"], options, config.seed), config.method.get("rounds", 0)))
    assert sorted(planned) == sorted(wanted.items())


def test_a_joint_grid_is_the_product_of_its_rates(tmp_path: Path) -> None:
    text = "data: [MUTAG]\nmethods: [dense, imp, random]\n"
    cells = plan(tmp_path, text + "joint: {rounds: 2, edge_rate: [0, 0.1, 0.2], weight_rate: [0, 0.4]}\n").cells
    rates = {(c.config.method["edge_rate"], c.config.method["weight_rate"]) for c in cells if "/random" in c.name}
    assert rates == set(product((0, 0.1, 0.2), (0, 0.4)))
    assert [cell.name.split("/")[2] for cell in cells if "/imp" in cell.name] == [
        "imp,weight_rate=0",
        "imp,weight_rate=0.4",
    ]
    assert sum("/dense/" in cell.name for cell in cells) == 1
    assert len(cells) == 6 + 2 + 1


def test_a_small_grid_needs_data_and_methods_only(tmp_path: Path) -> None:
    (cell,) = plan(tmp_path, "data: [MUTAG]\nmethods: [dense]\n").cells
    assert cell.name == "MUTAG/gin/dense/seed-0"
    assert cell.config.data["fold"] == 0


def test_an_option_that_is_a_list_has_an_axis_of_lists(tmp_path: Path) -> None:
    methods = "[{name: random, protect: [head.*]}, {name: imp, protect: [[], [head.*, node_encoder.*]]}]"
    cells = plan(tmp_path, f"data: [MUTAG]\nmethods: {methods}\n").cells
    assert {cell.name.split("/")[2]: cell.config.method["protect"] for cell in cells} == {
        "random": ["head.*"],
        "imp,protect=": [],
        "imp,protect=head._+node_encoder._": ["head.*", "node_encoder.*"],
    }


def test_a_method_can_leave_a_grid_without_its_options(tmp_path: Path) -> None:
    common = "common: {predictor: {hidden: 3}, model: {bonds: false}}"
    (cell,) = plan(tmp_path, f"data: [MUTAG]\nmethods: [dense]\nsparsity: [{{edge_rate: 0.1}}]\n{common}\n").cells
    assert cell.name == "MUTAG/gin/dense/seed-0"


def test_folders_of_raw_data_do_not_depend_on_where_a_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (cell,) = plan(tmp_path, "data: [{name: X/../Y, root: raw}]\nmethods: [dense]\n").cells
    assert cell.config.data["root"] == str(tmp_path / "raw")
    assert cell.name == "X_.._Y/gin/dense/seed-0"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("- a\n", 1, "a grid must be a mapping"),
        ("data: [MUTAG]\n", 1, "the grid has no methods"),
        ("data: [MUTAG]\nmethod: [dense]\n", 2, "unknown key 'method': did you mean methods"),
        ("data: [MUTAG]\nmethods: []\n", 2, "methods is an empty list"),
        ("data: [MUTAG]\nmethods: [dense]\nseeds: []\n", 3, "seeds is an empty list"),
        ("data: [MUTAG]\nmethods: [dense]\nseeds: 10\n", 3, "seeds must be a list, as [10]"),
        ("data: [MUTAG]\nmethods: [dense]\nseeds:\n- 0\n- one\n", 5, "whole numbers from 0, got 'one'"),
        ("data: [MUTAG]\nmethods: [dense]\nseeds:\n- 0\n- 0\n", 5, "0 is there twice"),
        ("data: [MUTAG]\nmethods:\n- dense\n- icgp\n", 4, "unknown method 'icgp': did you mean icpg"),
        ("data: [MUTAG]\nmodels: [{hidden: 3,\n  name: gni}]\nmethods: [dense]\n", 3, "unknown model 'gni': did you"),
        ("data: [MUTAG]\nmethods:\n- 3\n", 3, "a name, or a mapping with a name"),
        (
            "data: [MUTAG]\nmethods:\n- name: icpg\n  edge_rat: 0.1\n",
            4,
            "icpg has no option edge_rat: did you mean edge",
        ),
        ("data: [MUTAG]\nmethods: [{name: dense,\n   rounds: 3}]\n", 3, "dense has no option rounds"),
        ("data: [MUTAG]\nmethods: [{name: imp,\n   edge_rate: 0.1}]\n", 3, "imp has no option edge_rate"),
        ("data: [MUTAG]\nmethods: [dense]\ncommon:\n  fitt: {lr: 1}\n", 4, "unknown section 'fitt': did you mean fit"),
        (
            "data: [MUTAG]\nmethods: [dense]\ncommon:\n  fit:\n    epoch: 3\n",
            5,
            "has an option epoch: did you mean epochs",
        ),
        (
            "data: [MUTAG]\nmethods: [dense]\ncommon:\n  method: {edge_rat: 0.1}\n",
            4,
            "nothing has an option edge_rat: did you mean edge_rate",
        ),
        ("data: [MUTAG]\nmethods: [dense]\ncommon:\n  model: {name: gin}\n", 4, "a name stands in an axis"),
        (
            "data:\n- name: MUTAG\n  predictor: {hiden: 3}\nmethods: [dense]\n",
            3,
            "nothing has an option hiden: did you mean hidden",
        ),
        (
            "data: [MUTAG]\nmethods: [dense]\nsparsity: [{round: 3}]\n",
            3,
            "nothing has an option round: did you mean rounds",
        ),
        ("data: [MUTAG]\nmethods: [random]\nsparsity: [{}]\n", 3, "give options of the methods"),
        (
            "data: [MUTAG]\nmethods: [random]\nsparsity:\n- {rounds: 3}\n- {rounds: 4}\n",
            5,
            "this sparsity is there twice",
        ),
        (
            "data: [MUTAG]\nmethods: [random]\nsparsity: [{rounds: 3}]\njoint: {edge_rate: [0.1]}\n",
            4,
            "joint: a grid has either joint or sparsity: leave one out",
        ),
        (
            "data: [MUTAG]\nmethods:\n- {name: random, edge_rate: 0.1}\njoint:\n  edge_rate: [0.1, 0.2]\n",
            5,
            "joint.edge_rate: method.edge_rate is given here and in methods[0].edge_rate: leave one out",
        ),
        ("data: [MUTAG]\nmethods: [random]\njoint:\n  edge_rate: []\n", 4, "edge_rate is an empty list"),
        (
            "data: [MUTAG]\nmethods: [random]\njoint:\n  rounds: 2\n  edge_rate: [0.1, 1.5]\n",
            5,
            "lie in [0, 1), got 1.5",
        ),
        (
            "data: [MUTAG]\nmethods: [random]\ncommon:\n  fit: {lr: 0.1,\n    epochs: many}\n",
            5,
            "fit.epochs: expected int",
        ),
        ("data: [MUTAG]\nmethods: [random]\ncommon:\n  fit:\n    lr: -1\n", 5, "lr=-1.0 must be above 0"),
        ("data: [MUTAG]\nmethods:\n- name: icpg\n  protocol: papr\n", 4, "did you mean paper"),
        ("data: [MUTAG]\nmethods:\n- name: icpg\n  protocol: {selct: test}\n", 4, "selct: did you mean select"),
        ("data: [MUTAG]\nmethods:\n- name: icpg\n  connected: true\n", 4, "write protocol: {rule: {connected: true}}"),
        (
            "data: [MUTAG]\nmethods: [icpg]\ncommon:\n  method:\n    protocol.rule.min_degree: 2\n",
            5,
            "write protocol: {rule: {min_degree: 2}}",
        ),
        (
            "data: [MUTAG]\nmethods: [icpg, no-edges]\ncommon:\n  method:\n    protocol: {rule: {connected: yes}}\n",
            5,
            "no-edges removes every edge: give it a protocol without connected and min_degree",
        ),
        (
            "data: [MUTAG]\nmodels: [{name: gat,\n  hidden: 6}]\nmethods: [dense]\n",
            3,
            "multiple of the 4 attention heads",
        ),
        ("data:\n- {name: MUTAG, fold: 2}\nfolds: [0, 1]\nmethods: [dense]\n", 2, "fold is given here, and folds"),
        ("data:\n- MUTAG\n- {name: MUTAG}\nmethods: [dense]\n", 3, "share the folder MUTAG/gin/dense/seed-0"),
        ("data:\n- MUTAG\n- {name: MUTAG, label: twin}\nmethods: [dense]\n", 3, "are the same run"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, line: int, problem: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, text)
    assert f"grid.yaml, line {line}: " in message
    assert problem in message
    assert "\n" not in message
    with pytest.raises(ValueError) as error:  # the same from Python, where there are no lines
        cells_of(yaml.safe_load(text))
    assert str(error.value) == message.partition(f"grid.yaml, line {line}: ")[2]


@pytest.mark.parametrize(
    ("common", "own", "meant"),
    [
        ("paper", {"rule": {"connected": True}}, {"select": "test", "unit": "arc", "connected": True}),
        ({"rule": {"connected": True}}, "paper", {"select": "test", "unit": "arc", "connected": True}),
        ({"rule": {"connected": True}}, "clean", {"select": "val", "unit": "pair", "connected": True}),
        ({"rule": {"connected": True}}, {"select": "test"}, {"select": "test", "unit": "pair", "connected": True}),
        ({"rule": {"unit": "arc"}}, {"rule": {"connected": False}}, {"unit": "arc", "connected": False}),
    ],
)
def test_a_protocol_is_what_all_places_say_together(common: Any, own: Any, meant: dict[str, Any]) -> None:
    common_part = {"method": {"protocol": common}}
    for data, method in (({}, {"protocol": own}), ({"method": {"protocol": own}}, {})):
        entries = {"data": [{"name": "MUTAG", **data}], "methods": [{"name": "gsat", **method}]}
        (cell,) = cells_of({"common": common_part, **entries})
        protocol = cell.config.method["protocol"]
        assert {**protocol, **protocol["rule"]}.items() >= meant.items()
    (ugs,) = cells_of({"common": common_part, "data": ["MUTAG"], "methods": [{"name": "ugs", "protocol": own}]})
    if "paper" in (common, own):
        assert ugs.config.method["protocol"]["pruned"] == "gated"


def test_no_edges_has_a_way_out_of_a_common_constraint() -> None:
    content: dict[str, Any] = {
        "common": {"method": {"protocol": {"rule": {"connected": True}}}},
        "data": ["MUTAG"],
        "methods": ["dense", {"name": "no-edges", "protocol": {"rule": {"connected": False}}}],
    }
    dense, bare = (cell.config.method["protocol"]["rule"]["connected"] for cell in cells_of(content))
    assert (dense, bare) == (True, False)


def test_a_mapping_is_a_grid_as_its_file_is(tmp_path: Path) -> None:
    content = yaml.safe_load(FULL)
    content["data"][1]["folds"] = tuple(np.array([0, 9]))
    content["seeds"] = np.arange(2)
    content["sparsity"][0] |= {"rounds": np.int64(3), "edge_rate": np.float64(0.1)}
    grid = read_grid(content)
    assert [(cell.name, cell.config) for cell in grid.cells] == [
        (cell.name, cell.config) for cell in plan(tmp_path, FULL).cells
    ]
    assert grid.file is None
    assert plan(tmp_path, grid.text).cells == grid.cells


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"data": ["MUTAG"], "methods": [{"name": "icpg", "edge_rat": 0.1}]}, r"^methods\[0\]\.edge_rat: icpg has no"),
        (
            {"data": ["MUTAG"], "methods": ["dense"], "common": {"model": {"hidden": len}}},
            "<built-in function len> is no plain data",
        ),
        ({"data": ["MUTTAG"], "methods": ["dense"]}, r"^data\[0\]: unknown data set 'MUTTAG': did you mean MUTAG"),
    ],
)
def test_a_mistake_in_a_mapping_is_told_with_its_place(content: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        (grid := read_grid(content)).check_data(grid.cells)


def test_a_line_is_found_after_comments_and_anchors(tmp_path: Path) -> None:
    text = "# a comment\ncommon:\n  fit: &fit\n    lr: 0.1\ndata: [MUTAG]\nmethods:\n- <<: *fit\n  name: dense\n"
    assert "grid.yaml, line 4: methods[0].lr: dense has no option lr" in refusal(tmp_path, text)
    assert "grid.yaml, line 2: the grid has no data" in refusal(tmp_path, "# a comment\nmethods: [dense]\n")
    assert "grid.yaml, line 1: a grid must be a mapping" in refusal(tmp_path, "")
    merged = text.replace("*fit\n  name: dense", "*fit\n  lr: 0.2\n  name: dense")  # given here, and merged in
    assert "grid.yaml, line 8: methods[0].lr" in refusal(tmp_path, merged)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a stands here twice"),
        ("a:\n  - [1, 2\nb: 3\n", "line 3: "),
        ("a: *nobody\n", "line 1: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: 1\nb: !!python/object:os.system x\n", "line 2: could not determine a constructor"),
        ("a: 1\n[1, 2]: 3\n", "line 2: a key must be a word"),
        ("1: 2\n", "line 1: 1: unknown key '1'"),
        ("a: &a [*a]\n", "is not YAML"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    assert problem in refusal(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        read_grid(tmp_path / "nowhere.yaml")
    with pytest.raises(ValueError, match="cannot be read"):
        read_grid(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="cannot be read"):
        read_grid(tmp_path / "bytes.yaml")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("MUTTAG", "unknown data set 'MUTTAG': did you mean MUTAG"),
        ("{name: planted-motif, folds: [0, 1, 2]}", "planted-motif"),
        ("{name: MUTAG, folds: [0, 10]}", "fold"),
        ("{name: LOST, root: nowhere}", "nowhere"),
    ],
)
def test_data_that_are_not_there_are_told_before_anything_runs(entry: str, problem: str, tmp_path: Path) -> None:
    grid = plan(tmp_path, f"methods: [dense]\ndata:\n- ogbg-molbace\n- {entry}\n")
    with pytest.raises(ValueError, match=r"grid\.yaml, line 4: ") as error:
        grid.check_data(grid.cells)
    assert problem in str(error.value)


def test_good_data_pass_and_a_failed_download_is_left_to_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny_set(tmp_path / "raw")
    text = f"data: [{{name: {NAME}, root: {json.dumps(str(root))}, folds: [0, 3]}}]\nmethods: [dense]\n"
    grid = plan(tmp_path, text)
    grid.check_data(grid.cells)

    def unplugged(**_: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("graphprune.data.load", unplugged)
    grid.check_data(grid.cells)
