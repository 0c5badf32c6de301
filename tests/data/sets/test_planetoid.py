"""Planetoid sets: small files in the real format, PyG's reader as the reference, and what is wrong with a file."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.io import read_planetoid_data
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import coalesce, remove_self_loops

from graphprune import data
from graphprune.data.labelled import IGNORE_INDEX
from tests.data.loopback import serve
from tests.data.sets.planetoid_files import CLASSES, FEATURES, KNOWN, NODES, TRAIN, parts, python2, write

REAL = os.environ.get("GRAPHPRUNE_TEST_DATA", "")


def check_against_pyg(ours, folder, prefix):
    theirs = read_planetoid_data(str(folder), prefix)
    assert torch.equal(ours.train.node["x"], theirs.x)
    for split, mask in (("train", theirs.train_mask), ("val", theirs.val_mask), ("test", theirs.test_mask)):
        y = ours.splits[split].node["y"]
        assert torch.equal(y != IGNORE_INDEX, mask) and torch.equal(y[mask], theirs.y[mask])
    arcs = coalesce(remove_self_loops(theirs.edge_index)[0])
    assert torch.equal(coalesce(ours.train.edge_index), arcs) and ours.train.num_edges == arcs.size(1)
    normal = NormalizeFeatures()(theirs).x
    torch.testing.assert_close(data.load(ours.name, root=folder).train.node["x"], normal, rtol=1e-6, atol=0)


@pytest.mark.filterwarnings("ignore")  # PyG's reader unpickles, and warns of Python 2's names
@pytest.mark.parametrize("name", ["Cora", "CiteSeer", "PubMed"])
def test_the_same_graph_as_pyg(tmp_path, name):
    prefix = name.lower()
    if name == "CiteSeer":
        write(tmp_path, prefix)
    else:  # only CiteSeer has nodes that no file describes
        nodes, whole = range(KNOWN + 18), parts()["graph"]
        test = np.random.default_rng(1).permutation(nodes[KNOWN:])
        graph = {node: [near for near in whole[node] if near in nodes] for node in nodes}
        write(tmp_path, prefix, test_index=test, graph=graph)
    loaded = data.load(name, root=tmp_path, features="raw")
    assert (loaded.level, loaded.transductive, loaded.task, loaded.metric) == ("node", True, "multiclass", "accuracy")
    assert (loaded.num_features, loaded.num_classes, loaded.num_outputs) == (FEATURES, CLASSES, CLASSES)
    check_against_pyg(loaded, tmp_path, prefix)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not REAL, reason="GRAPHPRUNE_TEST_DATA names no folder with the published files")
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "classes", "sizes"),
    [("Cora", 2708, 5278, 1433, 7, (140, 500, 1000)), ("CiteSeer", 3327, 4552, 3703, 6, (120, 500, 1000))],
)
def test_the_published_files(name, nodes, edges, features, classes, sizes):
    loaded = data.load(name, root=REAL, features="raw")
    assert (loaded.train.num_nodes, loaded.train.num_edges) == (nodes, 2 * edges)
    assert (loaded.num_features, loaded.num_classes) == (features, classes)
    assert tuple(int((part.node["y"] != IGNORE_INDEX).sum()) for part in loaded.splits.values()) == sizes
    check_against_pyg(loaded, Path(REAL) / name.lower(), name.lower())


def test_nodes_that_only_the_graph_has_are_zero_and_hidden(tmp_path):
    write(tmp_path, "citeseer")
    loaded = data.load("CiteSeer", root=tmp_path)
    alone = [KNOWN + 4, KNOWN + 11]
    assert loaded.train.num_nodes == NODES and not loaded.train.node["x"][alone].any()
    assert all((part.node["y"][alone] == IGNORE_INDEX).all() for part in loaded.splits.values())


def test_features_are_row_normalised_unless_raw(tmp_path):
    write(tmp_path)
    raw, usual = (data.load("Cora", root=tmp_path, features=features) for features in ("raw", None))
    total = raw.train.node["x"].sum(1)
    assert total[7] == 0 and total.max() > 2
    torch.testing.assert_close(usual.train.node["x"].sum(1), (total > 0).float())
    assert data.load("Cora", root=tmp_path, features="row-normalised").digest() == usual.digest() != raw.digest()
    assert usual.provenance["features"] == "row-normalised"
    with pytest.raises(ValueError, match="features of Cora must be one of row-normalised, raw, got 'deg'"):
        data.load("Cora", root=tmp_path, features="deg")
    with pytest.raises(ValueError, match="Cora has one fixed split: leave out fold and split_seed"):
        data.load("Cora", root=tmp_path, fold=1)


def test_an_edge_in_one_direction_is_an_edge(tmp_path):
    write(tmp_path, graph={node: [] for node in range(NODES)} | {0: [3, 3, 0], 2: [1]})
    assert data.load("Cora", root=tmp_path).train.edge_index.tolist() == [[0, 3, 1, 2], [3, 0, 2, 1]]


def test_splits_share_everything_but_the_labels_they_see(tmp_path):
    write(tmp_path)
    loaded = data.load("Cora", root=tmp_path)
    assert loaded.train.edge_index is loaded.test.edge_index and loaded.train.node["x"] is loaded.val.node["x"]
    source, target = loaded.train.edge_index
    assert torch.equal(source[::2], target[1::2]) and torch.equal(target[::2], source[1::2])
    assert bool((source[::2] < target[::2]).all())
    y = loaded.labels(loaded.test)
    right = torch.nn.functional.one_hot(y.clamp(min=0), CLASSES).float()
    assert loaded.evaluate(y, right) == 1


@pytest.mark.parametrize("layout", ["", "Cora/raw", "cora", "raw", "Cora.zip", "cora.zip"])
def test_layouts(tmp_path, layout):
    write(tmp_path / "files")
    plain = data.load("Cora", root=tmp_path / "files").digest()
    if layout.endswith(".zip"):
        shutil.make_archive(str(tmp_path / layout[:-4]), "zip", tmp_path / "files")
        assert data.load("Cora", root=tmp_path / layout).digest() == plain
    else:
        write(tmp_path / layout)
    assert data.load("Cora", root=str(tmp_path)).digest() == plain


# ---------------------------------------------------------------------------- what is wrong with the files


def changed(part, change):
    value = parts()[part]
    value = value if isinstance(value, dict) else value.copy()
    change(value)
    return {part.replace(".", "_"): value}


def put(place, number):
    def change(value):
        value[place] = number

    return change


def not_a_number(value):
    value.data[3] = np.nan


FAULTS = {
    "NaN": (changed("allx", not_a_number), r"ind\.cora\.allx: expected a sparse matrix .* none of them NaN"),
    "dense features": ({"tx": np.ones((18, FEATURES))}, r"ind\.cora\.tx: expected a sparse matrix"),
    "a list of labels": ({"y": [1, 2]}, r"ind\.cora\.y: expected an array with a row a node"),
    "no class": (changed("ty", put(2, [0, 0, 0])), r"ind\.cora\.ty: expected an array .* a single 1"),
    "two classes": (changed("ty", put(2, [1, 1, 0])), r"ind\.cora\.ty: expected an array .* a single 1"),
    "half a class": (changed("ty", put(2, [2, -1, 0])), r"ind\.cora\.ty: expected an array .* a single 1"),
    "few labels": ({"ty": parts()["ty"][:5]}, r"ind\.cora\.ty: 5 rows, but ind\.cora\.tx has 18"),
    "few features": ({"tx": parts()["tx"][:, :5]}, r"ind\.cora\.tx: 5 columns, but ind\.cora\.allx has 6"),
    "more classes": ({"ty": np.eye(18, 4, dtype=np.int32)}, r"ind\.cora\.ty: (4 columns|expected an array)"),
    "no room to validate": (
        {"allx": parts()["allx"][:400], "ally": parts()["ally"][:400]},
        r"ind\.cora\.ally: 400 rows, too few for 9 training and 500 validation nodes",
    ),
    "other training nodes": (changed("y", put(0, [0, 0, 1])), r"ind\.cora\.x: it and ind\.cora\.y are not the first"),
    "few test nodes": ({"test_index": range(KNOWN, KNOWN + 4)}, r"test\.index: 4 lines, but ind\.cora\.ty has 18"),
    "test node twice": (changed("test.index", put(3, KNOWN)), r"test\.index line \d+: node 520 is there already"),
    "overlapping splits": (changed("test.index", put(3, TRAIN)), r"test\.index line 4: node 9, expected one from 520"),
    "test node outside": (changed("test.index", put(3, NODES)), r"test\.index line 4: node 540, expected .* to 539"),
    "words": ({"test_index": ["first"] * 18}, r"test\.index line 1: expected 1 integer, found 'first'"),
    "neighbour outside": (changed("graph", put(5, [NODES])), r"ind\.cora\.graph: node 540 of 540, at .* node 5"),
    "negative neighbour": (changed("graph", put(5, [-1])), r"ind\.cora\.graph: node -1 of 540"),
    "named neighbours": (changed("graph", put(5, ["a"])), r"ind\.cora\.graph: expected node numbers"),
    "nested neighbours": (changed("graph", put(5, [[1]])), r"ind\.cora\.graph: expected node numbers"),
    "named nodes": (changed("graph", put("a", [1])), r"ind\.cora\.graph: expected a list of neighbours"),
    "no lists": ({"graph": np.arange(4)}, r"ind\.cora\.graph: expected a list of neighbours"),
    "a command": ({"graph": b"\x80\x02cos\nsystem\nU\2ls\x85R."}, r"ind\.cora\.graph is refused: it names os\.system"),
    "a page": ({"allx": b"<!DOCTYPE html>\n"}, r"ind\.cora\.allx is (refused|damaged)"),
    "half a file": ({"ally": python2(parts()["ally"])[:-100]}, r"ind\.cora\.ally is damaged or truncated"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named(tmp_path, fault):
    changes, message = FAULTS[fault]
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        data.load("Cora", root=tmp_path)


def test_one_list_at_many_nodes_does_not_grow(tmp_path):
    nodes = b"".join(b"J" + number.to_bytes(4, "little") + b"h\0" for number in range(3000))
    alike = b"\x80\x02](" + b"K\1" * 1000 + b"eq\x00}(" + nodes + b"u."
    write(tmp_path, graph=alike)
    with pytest.raises(ValueError, match=r"ind\.cora\.graph: expected a list of neighbours"):
        data.load("Cora", root=tmp_path)


def test_a_graph_too_large_to_be_dense_is_refused(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setenv("GRAPHPRUNE_LIMITS", f"numbers={NODES * FEATURES - 1}")
    with pytest.raises(
        ValueError, match="540 nodes with their features has 3,240 numbers in one table, more than the 3,"
    ):
        data.load("Cora", root=tmp_path)


@pytest.mark.parametrize("part", ["tx", "ally", "graph", "test.index"])
def test_missing_files_are_named(tmp_path, part):
    write(tmp_path, **{part.replace(".", "_"): None})
    with pytest.raises(FileNotFoundError, match=rf"ind\.cora\.{part} is missing"):
        data.load("Cora", root=tmp_path)


def test_a_folder_without_the_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ind\.cora\.x not found; looked in .*Cora/raw"):
        data.load("Cora", root=tmp_path)


@pytest.mark.parametrize("name", ["cora", "Citeseer", "pubmed", "CORA"])
@pytest.mark.parametrize("given", [True, False], ids=["root", "download"])
def test_other_spellings_get_the_right_one(tmp_path, name, given):
    right = {"c": "Cora", "i": "CiteSeer", "p": "PubMed"}["i" if name.lower()[1] == "i" else name.lower()[0]]
    with pytest.raises(ValueError, match=f"unknown data set '{name}': did you mean .*{right}"):
        data.load(name, root=tmp_path if given else None)


# ---------------------------------------------------------------------------- downloads


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder of files to answer with, what is answered, and the addresses that were asked for."""
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path / "cache"))
    write(tmp_path / "there")
    files = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    with serve(files) as asked:
        yield tmp_path / "there", files, asked


def test_each_file_is_downloaded_once(server):
    folder, _, asked = server
    loaded = data.load("Cora")
    assert loaded.digest() == data.load("Cora", root=folder).digest() == data.load("Cora").digest()
    assert len(asked) == 8 and all("/planetoid/raw/master/data/ind.cora." in url for url in asked)


@pytest.mark.parametrize(
    ("part", "content"),
    [("graph", b"\x80\x02](K\1"), ("allx", b"<html>\n"), ("x", b"cos\nsystem\n."), ("test.index", b"<html>\n")],
)
def test_a_download_that_is_no_such_file_is_not_kept(server, tmp_path, part, content):
    server[1][f"ind.cora.{part}"] = content
    with pytest.raises(ConnectionError, match=rf"data set Cora: downloading .*ind\.cora\.{part} .*root=FOLDER"):
        data.load("Cora")
    assert not list((tmp_path / "cache").rglob(f"*{part}*"))
