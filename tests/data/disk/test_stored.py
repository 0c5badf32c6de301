"""A data set in a folder: the same data set, written whole or not at all, and read with suspicion."""

import math
import re
import resource
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from graphprune import ICPG, EdgePredictor
from graphprune.data import DegreeColumns, from_graphs, from_nodes, load
from graphprune.data.disk import write as storing
from graphprune.data.disk.open import DOCUMENT, FIELDS, open_stored
from graphprune.data.disk.write import store, store_graphs
from graphprune.data.labelled import SPLITS
from graphprune.graphs import stored
from graphprune.graphs.stored import StoredGraphs
from graphprune.models import GIN
from graphprune.train import Fit
from tests.resealed import reseal


def graph(label=0, nodes=3, **changes):
    values = {
        "x": torch.arange(2.0 * nodes).reshape(nodes, 2) + label,
        "edge_index": torch.tensor([[0, 1], [1, 0]]) if nodes > 1 else torch.empty(2, 0, dtype=torch.long),
        "y": torch.tensor(label),
    }
    return Data(**{key: value for key, value in (values | changes).items() if value is not None})


def rich(number):
    """A graph with attributes of all levels and kinds."""
    return graph(
        number % 2,
        nodes=2 + number % 3,
        edge_weight=torch.tensor([0.5, number]).half(),
        descriptor=torch.full((1, 2), float(number)).bfloat16(),
        rare=torch.tensor(number > 2),
        count=number,
        smiles="Cé\n" * number,
        tags=["a", {"deep": [number, None]}],
    )


def data(**changes):
    train = [rich(number) for number in range(7)]
    return replace(from_graphs(train, train[:3], train[2:5], name="mine", task="multiclass"), **changes)


def assert_same(one, other):
    assert one.digest() == other.digest()
    for name in FIELDS:
        assert getattr(one, name) == getattr(other, name), name
    for split in SPLITS:
        assert one.splits[split].objects == other.splits[split].objects


@pytest.mark.parametrize("verify", [True, False])
def test_a_data_set_comes_back(tmp_path, verify):
    mine = data(degrees=DegreeColumns(0, 3), provenance={"source": "a test", "licence": "MIT"})
    store(mine, tmp_path / "deep" / "set")
    assert_same(open_stored(tmp_path / "deep" / "set", verify=verify), mine)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"], "nothing else is left"


@pytest.mark.parametrize("verify", [True, False])
def test_a_set_that_version_1_stored_opens(verify):
    mine = data(degrees=DegreeColumns(0, 3), provenance={"source": "a test", "licence": "MIT"})
    opened = open_stored(Path(__file__).with_name("version-1"), verify=verify)
    assert_same(opened, mine)
    assert opened.digest() == "d646cc1b980d793b1cee69892b1d01d319ea0465560309e1615cdc92b9f3c3a8"


def test_an_embedded_set_comes_back_and_can_be_stored_again(tmp_path):
    bace = load("ogbg-molbace")
    store(bace, tmp_path / "one")
    again = open_stored(tmp_path / "one")
    assert_same(again, bace)
    store(again, str(tmp_path / "two"))
    assert_same(open_stored(str(tmp_path / "two")), bace)


def test_categories_come_back_and_stream(tmp_path):
    x = torch.tensor([[6], [1], [1]])
    train = [graph(label, x=x, edge_attr=torch.tensor([[label, 1], [2, 0]])) for label in (0, 1)]
    about = {"name": "mine", "task": "multiclass", "features": [7], "edge_features": [3, 2]}
    mine = from_graphs(train, train, train, **about)
    store(mine, tmp_path / "set")
    store_graphs(tmp_path / "stream", train, train, iter(train), **about)
    for folder in ("set", "stream"):
        assert_same(open_stored(tmp_path / folder), mine)
    more = [graph(x=x, edge_attr=torch.tensor([[3, 0], [0, 0]]))]
    with pytest.raises(ValueError, match=r"mine, val graph 0: edge_attr .* 3 in column 0, of 3 from 0"):
        store_graphs(tmp_path / "no", train, more, train, **about)


def test_graphs_that_were_held_out_train_again(tmp_path):
    mutag = load("MUTAG")
    store(mutag, tmp_path / "set")
    again = open_stored(tmp_path / "set")
    assert_same(again.without_val(), mutag.without_val())
    assert len(again.without_val().train) == len(mutag.train) + len(mutag.val)


def test_splits_of_one_graph_share_their_files(tmp_path):
    part = torch.arange(6) % 3
    masks = {f"{split}_mask": part == number for number, split in enumerate(SPLITS)}
    whole = graph(nodes=6, y=torch.tensor([0, 1, 0, 1, 0, 1]), **masks)
    mine = from_nodes(whole, name="nodes")
    store(mine, tmp_path / "set")
    again = open_stored(tmp_path / "set")
    assert_same(again, mine)
    assert again.train.edge_index is again.test.edge_index and again.train.node["x"] is again.val.node["x"]
    assert len(list((tmp_path / "set").glob("*-arcs-*"))) == 3 and len(list((tmp_path / "set").glob("*-node-*"))) == 4


def test_runs_on_stored_and_on_loaded_graphs_are_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 0)
    bace = load("ogbg-molbace")
    small = bace.with_splits(train=bace.train.select(range(64)))
    store(small, tmp_path / "set")
    tickets = []
    for each in (small, open_stored(tmp_path / "set")):
        torch.manual_seed(0)
        model = GIN.for_data(each, hidden=8, layers=2)
        method = ICPG(rounds=2, edge_rate=0.3, predictor=EdgePredictor.for_data(each, hidden=8))
        tickets.append(list(method.rounds(model, each, fit=Fit(epochs=1, batch_size=32, seed=3))))
    clocks = {"seconds": 0, "cpu_seconds": 0}
    for mine, other in zip(*tickets, strict=True):
        assert mine.row | clocks == other.row | clocks
        assert all(torch.equal(value, other.trained[name]) for name, value in mine.trained.items())
        assert all(torch.equal(value, other.masks[name]) for name, value in mine.masks.items())


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("piece", [1, 9, 1 << 20])
def test_a_stream_gives_what_a_list_gives(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(storing, "PIECE", piece)
    parts = [rich(n) for n in range(9)], [rich(n) for n in (1, 0)], [rich(4), graph_without_nodes(), rich(5)]
    options = {"name": "mine", "task": "multiclass", "provenance": {"made": "here"}}
    store_graphs(tmp_path / "set", *map(iter, parts), **options)
    assert_same(open_stored(tmp_path / "set"), from_graphs(*parts, **options))


def graph_without_nodes():
    empty = rich(1)
    empty.x, empty.edge_index = torch.empty(0, 2), torch.empty(2, 0, dtype=torch.long)
    empty.edge_weight = torch.empty(0).half()
    return empty


def test_labels_of_several_tasks_and_of_nodes(tmp_path):
    tasks = [graph(y=torch.tensor([1, math.nan, 0])), graph(y=torch.tensor([0.0, 1, 1]))]
    options = {"name": "mine", "task": "binary", "metric": "ap"}
    store_graphs(tmp_path / "tasks", tasks, tasks, tasks, **options)
    assert_same(open_stored(tmp_path / "tasks"), from_graphs(tasks, tasks, tasks, **options))
    nodes = [graph(y=torch.tensor([0, 2, -100])), graph(y=torch.tensor([1, 1, 0]))]
    options = {"name": "mine", "task": "multiclass", "level": "node"}
    store_graphs(tmp_path / "nodes", nodes, nodes, nodes, **options)
    assert_same(open_stored(tmp_path / "nodes"), from_graphs(nodes, nodes, nodes, **options))


def test_a_stream_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(storing, "PIECE", 50)
    features, most = list[weakref.ref](), 0

    def stream(count):
        nonlocal most
        for number in range(count):
            each = graph(number % 2)
            features.append(weakref.ref(each.x))
            most = max(most, sum(reference() is not None for reference in features))
            yield each

    store_graphs(tmp_path / "set", stream(200), stream(5), stream(5), name="mine", task="multiclass")
    assert len(features) == 210 and most <= 50 // 5 + 2  # 3 nodes and 2 arcs each; the first graph is kept as a model


BAD_STREAMS = {
    "mine: the train split has no graphs": ([], [graph()], [graph()]),
    "mine, test split has no graphs": ([graph()], [graph()], []),
    r"mine, val graph 1: edge_index\[:, 0\] = \[0, 9\] is out of range for 3 nodes": (
        [graph()],
        [graph(), graph(edge_index=torch.tensor([[0], [9]]))],
        [graph()],
    ),
    r"train graphs from 1 on differ .* in the attributes \['extra'\]": (
        [graph(), graph(extra=torch.ones(1, 1))],
        [graph()],
        [graph()],
    ),
    r"train graphs from 1 on differ .* in the attributes \['what', 'what'\]": (
        [graph(what=1), graph(what="one")],
        [graph()],
        [graph()],
    ),
    r"train 'what': later graphs have rows torch.float32 of \(2,\), earlier float32 \(3,\)": (
        [graph(what=torch.ones(1, 3)), graph(what=torch.ones(1, 2))],
        [graph()],
        [graph()],
    ),
    "train 'what' is torch.complex64, which cannot be stored": (
        [graph(what=torch.ones(1, dtype=torch.complex64))],
        [graph()],
        [graph()],
    ),
    r"train 'what': \(1, 2\) is no tensor and no plain JSON value": ([graph(what=(1, 2))], [graph()], [graph()]),
    r"train graphs of class Data with attributes \['some_index'\] .* cannot be stored": (
        [graph(some_index=torch.zeros(1))],
        [graph()],
        [graph()],
    ),
}


@pytest.mark.parametrize("message", BAD_STREAMS)
def test_what_cannot_be_stored_is_named_and_nothing_is_left(tmp_path, monkeypatch, message):
    monkeypatch.setattr(storing, "PIECE", 1)
    with pytest.raises(ValueError, match=message):
        store_graphs(tmp_path / "set", *BAD_STREAMS[message], name="mine", task="multiclass")
    assert list(tmp_path.iterdir()) == []


def test_splits_without_labels_or_with_others(tmp_path):
    hidden = [graph(y=torch.tensor(math.nan))]
    with pytest.raises(ValueError, match="mine, test split: no graph has a label"):
        store_graphs(tmp_path / "set", [graph()], [graph()], hidden, name="mine", task="regression")
    with pytest.raises(ValueError, match="different numbers of labels"):
        two = [graph(y=torch.ones(2))]
        store_graphs(tmp_path / "set", [graph()], [graph()], two, name="mine", task="regression")
    with pytest.raises(ValueError, match="task must be one of"):
        store_graphs(tmp_path / "set", [graph()], [graph()], [graph()], name="mine", task="ranking")
    assert list(tmp_path.iterdir()) == []


def test_a_few_small_graphs_do_not_decide_whose_an_attribute_is(tmp_path, monkeypatch):
    monkeypatch.setattr(storing, "PIECE", 1)
    many = [graph(number % 2, nodes=nodes, kind=torch.ones(1, 1)) for number, nodes in enumerate((2, 1, 3))]
    store_graphs(tmp_path / "set", many, many, many, name="mine", task="multiclass")
    assert_same(open_stored(tmp_path / "set"), from_graphs(many, many, many, name="mine", task="multiclass"))


# ---------------------------------------------------------------------- faults


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        store(data(), tmp_path / "set")
    assert list((tmp_path / "set").iterdir()) == []


def test_only_graphs_are_stored(tmp_path):
    with pytest.raises(TypeError, match="only data sets of graphs can be stored, got a str"):
        store("ogbg-molbace", tmp_path / "set")
    with pytest.raises(ValueError, match="provenance must be plain JSON"):
        store(data(provenance={"seeds": (1, 2)}), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_no_room_leaves_nothing(tmp_path):
    large = [graph(nodes=3, x=torch.ones(3, 2000))]
    mine = from_graphs(large, large, large, name="mine", task="multiclass")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # a file that may not grow further, as on a full disk
    try:
        with pytest.raises(ValueError, match=r"cannot write to .*: no space left; nothing was stored"):
            store(mine, tmp_path / "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"cannot write to {tmp_path}/file: "):
        store(data(), tmp_path / "file" / "set")


@pytest.fixture
def folder(tmp_path):
    store(data(), tmp_path / "set")
    return tmp_path / "set"


def edit(folder, change):
    reseal(folder / DOCUMENT, change)


def test_a_folder_that_is_none(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=f"{place} is no stored set: it has no {DOCUMENT}"):
            open_stored(place)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_a_description_that_is_no_json(folder, text):
    (folder / DOCUMENT).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"{DOCUMENT} is no JSON"):
        open_stored(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "another"}', "null"])
def test_a_description_of_something_else(folder, text):
    (folder / DOCUMENT).write_text(text)
    with pytest.raises(ValueError, match="does not describe a stored set"):
        open_stored(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["data"].pop("level"), "it lacks 'level'"),
        (lambda found: found["data"].pop("provenance"), "it lacks 'provenance'"),
        (lambda found: found["data"].update(colour=1), "it says colour of the data, which this version does not know"),
        (lambda found: found["data"].update(b=1, a=None), "it says a, b of the data, which this version does not know"),
        (lambda found: found.pop("splits"), "it lacks 'splits'"),
    ],
)
def test_newer_and_older_options_are_told_in_words(folder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=rf"{DOCUMENT} does not describe a stored set: {message}\. It was written by "):
        open_stored(folder)


def test_1e999_is_named(folder):
    file = folder / DOCUMENT
    for name in ("num_classes", "num_tasks"):
        text = file.read_text()
        file.write_text(re.sub(rf'("{name}": )\d+', r"\g<1>1e999", text))
        with pytest.raises(
            ValueError, match=rf"{DOCUMENT} does not describe a stored set: it holds a number that is NaN or inf"
        ):
            open_stored(folder)
        file.write_text(text)


def test_a_description_of_gigabytes_is_not_read(folder):
    with (folder / DOCUMENT).open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ValueError, match=rf"{DOCUMENT} has 1,099,511,627,776 bytes, more than the 16,777,216 that are"):
        open_stored(folder)


def test_another_version_says_who_wrote_it(folder):
    edit(folder, lambda found: found.update(version=2, written_by={"graphprune": "9.9"}))
    with pytest.raises(ValueError, match=r"is of version 2, written by \{'graphprune': '9.9'\}; graphprune .* reads"):
        open_stored(folder)


def entry(name, **changes):
    def change(found):
        [one] = [entry for entry in found["splits"]["train"]["tensors"] if entry["name"] == name]
        one.update(changes)

    return change


LIES = {
    "task": lambda found: found["data"].update(task=["multiclass"]),
    "bool for a number": lambda found: found["data"].update(num_classes=True),
    "no name": lambda found: found["data"].pop("name"),
    "no split": lambda found: found["splits"].pop("val"),
    "splits": lambda found: found.update(splits=3),
    "another folder's file": entry("x", file="../../train-node-4.raw"),
    "no file": entry("x", file=None),
    "no digest": entry("x", sha256="0"),
    "a type": entry("x", dtype="complex64"),
    "a negative shape": entry("x", shape=[-1, -2]),
    "no shape": entry("x", shape=[]),
    "beyond all bounds": entry("x", shape=[0, 10**30]),
    "a level": entry("x", level="nodes"),
    "degrees": lambda found: found["data"].update(degrees={"first": 0}),
    "held out": lambda found: found["data"].update(held_out=["first"]),
    "endless degrees": lambda found: found["data"].update(degrees={"first": float("inf"), "cap": 10}),
    "endless classes": lambda found: found["data"].update(num_classes=float("inf")),
    "an endless shape": entry("x", shape=[float("inf"), 2]),
    "an endless version": lambda found: found["data"].update(held_out=[float("inf")]),
    "endless features": lambda found: found["data"].update(features=float("inf")),
    "a newer option": lambda found: found["data"].update(temperature=3),
    "few held out": lambda found: found["data"].update(held_out=[1]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_lies_is_refused(folder, lie):
    edit(folder, LIES[lie])
    with pytest.raises(ValueError, match=r"stored.json does not describe a stored set|truncated or altered|expected"):
        open_stored(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry("x", shape=[10**30, 2]), "truncated or altered"),
        (entry("x", shape=[1, 1]), r"train-node-\d+.raw is truncated or altered: \d+ bytes instead of 4"),
        (lambda found: found["data"].update(task="ranking"), "task must be one of"),
    ],
)
def test_what_contradicts_itself_is_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=message):
        open_stored(folder)


@pytest.mark.parametrize("verify", [True, False])
def test_missing_and_truncated_files_are_named(folder, verify):
    for path in sorted(folder.glob("train-*")):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(ValueError, match=f"{path.name} is missing"):
            open_stored(folder, verify=verify)
        for other in (content[:-1], content + b"\0"):
            path.write_bytes(other)
            with pytest.raises(ValueError, match=rf"{path.name} is truncated or altered: {len(other)} bytes instead"):
                open_stored(folder, verify=verify)
        path.write_bytes(content)
    open_stored(folder)


def test_a_changed_bit_is_found(folder):
    for path in sorted(folder.glob("train-*")):
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(ValueError, match=f"{path.name} is altered: its SHA-256 is not the one in {DOCUMENT}"):
            open_stored(folder)
        path.write_bytes(content)
    open_stored(folder)


def test_the_files_outlive_changes_of_what_was_opened(folder):
    opened = open_stored(folder)
    opened.train[0].x += 1
    assert_same(open_stored(folder), data())


def test_scratch_files_go_where_they_are_sent(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 0)
    opened = open_stored(folder, scratch=tmp_path / "nowhere")
    assert isinstance(opened.train, StoredGraphs)
    with pytest.raises(ValueError, match=f"cannot write to {tmp_path}/nowhere"):
        opened.train.keep_edges(torch.ones(opened.train.num_edges, dtype=torch.bool))
