"""What files of data sets may ask for: refused with both numbers, before memory is taken."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from graphprune import data
from graphprune.limits import VARIABLE, LimitExceeded
from tests.data.files import test_gin_text as gin
from tests.data.pictures import cifar_archive, mnist
from tests.data.sets import test_ogbg as ogbg
from tests.data.sets import test_ogbn as ogbn
from tests.data.sets import test_tu as tu

NODES = 6000


def labels(kinds, rows=NODES):
    return "".join(f"{number % kinds}\n" for number in range(rows))


def many(**changes):
    """Twenty graphs of 300 nodes, each node with a label of its own."""
    files = {
        "A": "1, 2\n2, 1\n",
        "graph_indicator": "".join(f"{node // 300 + 1}\n" for node in range(NODES)),
        "graph_labels": "0\n1\n" * 10,
        "node_labels": labels(NODES),
    }
    return files | changes


SETS = {
    "node labels": (
        lambda folder: tu.write(folder, **many()),
        "TOY",
        "categories=5999",
        r"TOY_node_labels\.txt has 6,000 distinct labels, more than the 5,999 that .*categories=5999,categories=6000",
    ),
    "two columns of labels": (
        lambda folder: tu.write(folder, **many(node_labels="".join(f"0, {n}\n" for n in range(NODES)))),
        "TOY",
        "categories=500",
        r"TOY_node_labels\.txt has 6,000 distinct labels",
    ),
    "edge labels": (
        lambda folder: tu.write(folder, **many(node_labels="1\n" * NODES, edge_labels="1\n2\n")),
        "TOY",
        "categories=1",
        r"TOY_edge_labels\.txt has 2 distinct labels, more than the 1 that",
    ),
    "tags": (
        lambda folder: gin.write(folder, [(n % 2, list(range(300 * n, 300 * n + 300)), [[]] * 300) for n in range(20)]),
        "TOY",
        "categories=100",
        r"TOY\.txt has 6,000 distinct labels, more than the 100 that",
    ),
    "a table of labels": (
        lambda folder: tu.write(folder, **many()),
        "TOY",
        "numbers=1e7",
        r"TOY_node_labels\.txt, one-hot, has 36,000,000 numbers in one table, more than the 10,000,000 that",
    ),
    "columns of degrees": (
        lambda folder: tu.write(folder, **many(node_labels="1\n" * NODES)),
        "TOY",
        "numbers=1e5",
        r"TOY with features deg\+odeg100 has 6\d\d,000 numbers in one table, more than the 100,000 that",
    ),
    "a text of numbers": (
        lambda folder: tu.write(folder, **many(node_attributes="1,2\n" * NODES)),
        "TOY",
        "numbers=11999",
        r"TOY_node_attributes\.txt has 12,000 numbers in one table, more than the 11,999",
    ),
    "nodes": (
        lambda folder: tu.write(folder, **many()),
        "TOY",
        "nodes=5999",
        r"TOY_graph_indicator\.txt has 6,000 nodes, more than the 5,999",
    ),
    "nodes of Xu": (gin.write, "TOY", "nodes=50", r"TOY\.txt has 80 nodes, more than the 50"),
    "arcs": (lambda folder: tu.write(folder, **many()), "TOY", "arcs=1", r"TOY_A\.txt has 2 arcs, more than the 1"),
    "text of Xu": (gin.write, "TOY", "parsed=100", r"TOY\.txt has \d+ bytes to parse, more than the 100"),
    "nodes of OGB that no file has": (
        lambda folder: ogbg.write(folder, raw__num_node_list=f"2\n3\n1\n0\n{10**14}\n"),
        "ogbg-ppa",
        "nodes=1e8",
        r"num-node-list\.csv\.gz has 100,000,000,000,006 nodes, more than the 100,000,000",
    ),
    "nodes that overflow": (
        lambda folder: ogbg.write(folder, raw__num_node_list=f"{2**62}\n{2**62}\n{2**62}\n{2**62}\n8\n"),
        "ogbg-molbace",
        "nodes=1e8",
        r"num-node-list\.csv\.gz has 18,\d+,\d+,\d+,\d+,\d+,\d+ nodes",
    ),
    "arcs of OGB": (
        lambda folder: ogbg.write(folder, raw__num_edge_list=f"1\n2\n0\n0\n{10**12}\n"),
        "ogbg-molbace",
        "arcs=1e9",
        r"num-edge-list\.csv\.gz has 1,000,000,000,003 arcs, more than the 1,000,000,000",
    ),
    "nodes of ogbn": (
        lambda folder: ogbn.write(folder, **{"raw/num-node-list": f"{10**12}\n"}),
        "ogbn-arxiv",
        "nodes=1e8",
        r"num-node-list\.csv\.gz has 1,000,000,000,000 nodes",
    ),
    "gz of OGB": (
        lambda folder: ogbg.write(folder, raw__edge_feat="0,0,0\n" * 5_000_000),
        "ogbg-molbace",
        "unpacked=1e6",
        r"edge-feat\.csv\.gz has [\d,]+ bytes, unpacked, and goes on, more than the 1,000,000 that",
    ),
    "numbers of OGB": (
        lambda folder: ogbg.write(folder, raw__edge_feat="," * 5_000_000),
        "ogbg-molbace",
        "numbers=1e6",
        r"edge-feat\.csv\.gz has 5,000,001 numbers in one table",
    ),
    "gz of IDX": (
        lambda folder: mnist(folder, pack=True),
        "mnist",
        "unpacked=1000",
        r"ubyte\.gz has [\d,]+ bytes, unp",
    ),
    "IDX": (mnist, "mnist", "unpacked=1000", r"images-idx3-ubyte has [\d,]+ bytes, unpacked, and goes on"),
    "CIFAR": (cifar_archive, "cifar10", "unpacked=1e4", r"cifar-10-binary\.tar\.gz has [\d,]+ bytes, unpacked"),
}


@pytest.mark.parametrize("kind", SETS)
def test_more_than_a_limit_is_refused_before_it_takes_memory(tmp_path, monkeypatch, kind):
    write, name, limit, message = SETS[kind]
    write(tmp_path)
    monkeypatch.setenv(VARIABLE, limit)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match=message):
            data.load(name, root=tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_that_an_error_names_is_enough(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "categories=100")
    root = tu.write(tmp_path, **many(node_labels=labels(101)))
    with pytest.raises(LimitExceeded, match="categories=100,categories=101 in"):
        data.load("TOY", root=root)
    monkeypatch.setenv(VARIABLE, "categories=100,categories=101")
    assert data.load("TOY", root=root, features="raw").num_features == 101


def test_an_archive_of_tu_that_unpacks_to_much(tmp_path, monkeypatch):
    """The whole kind: 40 MB in 40 KB."""
    with zipfile.ZipFile(tmp_path / "TOY.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for kind, text in (many() | {"A": "1, 2\n2, 1\n" * 4_000_000}).items():
            archive.writestr(f"TOY/TOY_{kind}.txt", text)
    monkeypatch.setenv(VARIABLE, "unpacked=1e6")
    with pytest.raises(
        LimitExceeded, match=r"TOY\.zip/TOY_A\.txt has 40,000,000 bytes, unpacked, more than the 1,000,000"
    ):
        data.load("TOY", root=tmp_path)


@pytest.mark.parametrize("kinds", [1, 2, 5, 100, 300])
def test_one_hot_labels_are_as_ever(tmp_path, kinds):
    loaded = data.load("TOY", root=tu.write(tmp_path, **many(node_labels=labels(kinds))), features="raw")
    rows = np.concatenate([part.node["x"].numpy() for part in loaded.splits.values()])
    assert rows.shape == (NODES, kinds) and (rows.sum(1) == 1).all()
    assert (rows.sum(0) == np.bincount(np.arange(NODES) % kinds)).all()


# ---------------------------------------------------------------------------- labels of OGB

BINARY = {
    "7": r"graph-label\.csv\.gz line 2: label 7, expected 0, 1 or nothing",
    "-3.5": r"graph-label\.csv\.gz line 2: label -3\.5, expected 0, 1 or nothing",
    "inf": r"graph-label\.csv\.gz line 2: label inf, expected 0, 1 or nothing",
    "0.5": r"graph-label\.csv\.gz line 2: label 0\.5, expected",
    "-1": r"graph-label\.csv\.gz line 2: label -1, expected",
    "1e30": r"graph-label\.csv\.gz line 2: label 1e\+30, expected",
    "yes": r"graph-label\.csv\.gz line 2: expected 1 number, found 'yes'",
}
CLASSES = {
    "99": r"line 2: label 99, expected a class from 0 to 36",
    "37": r"line 2: label 37, expected a class from 0 to 36",
    "-5": r"line 2: label -5, expected a class",
    "1e30": r"line 2: label 1e\+30, expected a class",
    "2.7": r"line 2: label 2\.7, expected a class",
    "inf": r"line 2: label inf, expected a class",
    "nan": r"line 2: label nan, expected a class",
    "": r"line 2: expected 1 number, found ''",
}
REAL = {"inf": "line 2: label inf, expected a finite", "-inf": "line 2: label -inf", "1e39": "line 2: label inf"}


@pytest.mark.parametrize("label", BINARY)
def test_labels_that_are_not_binary(tmp_path, label):
    with pytest.raises(ValueError, match=BINARY[label]):
        data.load("ogbg-molbace", root=ogbg.write(tmp_path, raw__graph_label=f"1\n{label}\n1\n0\n1\n"))


@pytest.mark.parametrize("label", REAL)
def test_labels_that_are_no_finite_numbers(tmp_path, label):
    with pytest.raises(ValueError, match=REAL[label]):
        data.load("ogbg-molesol", root=ogbg.write(tmp_path, raw__graph_label=f"1\n{label}\n1\n0\n1\n"))


@pytest.mark.parametrize("label", CLASSES)
def test_labels_that_are_no_classes(tmp_path, label):
    rows = f"0\n{label}\n1\n2\n3\n"
    root = ogbg.write(tmp_path / "g", "species", raw__edge_feat="0.5,0,0,1,0,0,0\n" * 4, raw__graph_label=rows)
    (root / "raw" / "node-feat.csv.gz").unlink()
    with pytest.raises(ValueError, match=CLASSES[label]):
        data.load("ogbg-ppa", root=root)
    with pytest.raises(ValueError, match=CLASSES[label].replace("36", "39").replace("37, ", "41, ")):
        text = f"4\n{'41' if label == '37' else label}\n39\n7\n7\n1\n"
        data.load("ogbn-arxiv", root=ogbn.write(tmp_path / "n", **{"raw/node-label": text}))


@pytest.mark.parametrize(("label", "value"), [("nan", float("nan")), ("0", 0), ("1.0", 1)])
def test_labels_that_are_binary_or_unknown(tmp_path, label, value):
    loaded = data.load("ogbg-molbace", root=ogbg.write(tmp_path, raw__graph_label=f"1\n{label}\n1\n0\n1\n"))
    assert np.array_equal(loaded.train[2].y.numpy(), [[value]], equal_nan=True)


# ---------------------------------------------------------------------------- folds that leave graphs out

LEFT_OUT = {
    (19,): r"graph 19 is in none of the ten test folds",
    (0, 19): r"graphs 0, 19 \(2 of 20\) are in none of the ten test folds",
    (2, 3, 4, 5): r"graphs 2, 3, 4, 5 \(4 of 20\) are in none",
    tuple(range(20)): r"graphs 0, 1, .*, 19 \(20 of 20\) are in none",
    (7, 11, 13): r"graphs 7, 11, 13 \(3 of 20\) are in none",
}


@pytest.mark.parametrize("without", LEFT_OUT, ids=len)
@pytest.mark.parametrize("train", [True, False])
def test_folds_that_leave_graphs_out_are_told_with_a_way_out(tmp_path, without, train):
    root = gin.folds(gin.write(tmp_path))
    for path in (root / "10fold_idx").iterdir():
        members = [number for number in path.read_text().split() if int(number) not in without]
        path.write_text("".join(f"{number}\n" for number in members))
        if path.name.startswith("train") and not train:
            path.unlink()
    with pytest.raises(ValueError, match=rf"10fold_idx: {LEFT_OUT[without]}.*rename the folder 10fold_idx: then strat"):
        data.load("TOY", root=root)
    (root / "10fold_idx").rename(root / "other")
    assert sum(len(part) for part in data.load("TOY", root=root).splits.values()) == 20
