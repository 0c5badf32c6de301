"""ogbn-arxiv's raw files, written here in OGB's format: read, made undirected, checked, scored by OGB's Evaluator."""

import gzip
import shutil

import numpy as np
import pytest
import torch

from graphprune import data
from graphprune.data.labelled import IGNORE_INDEX


def write(folder, split="time", **changes):
    """Six papers with two features; 5 citations, of which one is mutual and one of itself."""
    files = {
        "raw/num-node-list": "6\n",
        "raw/num-edge-list": "5\n",
        "raw/edge": "0,1\n1,0\n5,2\n3,3\n2,4\n",
        "raw/node-feat": "".join(f"{n}.25,-{n}\n" for n in range(6)),
        "raw/node-label": "4\n0\n39\n7\n7\n1\n",
        "raw/node_year": "2001\n2005\n2010\n2018\n2019\n2020\n",
        f"split/{split}/train": "1\n0\n2\n",
        f"split/{split}/valid": "3\n",
        f"split/{split}/test": "4\n5\n",
    }
    for name, text in (files | changes).items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_bytes(gzip.compress(text.encode()))
    return folder


def test_one_undirected_graph_seen_three_times(tmp_path):
    loaded = data.load("ogbn-arxiv", root=write(tmp_path))
    assert (loaded.level, loaded.transductive, loaded.task, loaded.metric) == ("node", True, "multiclass", "accuracy")
    assert (loaded.num_classes, loaded.num_features, loaded.ogb_name) == (40, 2, "ogbn-arxiv")
    assert loaded.train.edge_index.tolist() == [[0, 1, 2, 4, 2, 5], [1, 0, 4, 2, 5, 2]]
    assert loaded.provenance["edges"].startswith("5 arcs made 3 undirected edges")
    assert loaded.provenance["split"] == "OGB's time split"
    graph = loaded.val[0]
    assert graph.x.tolist() == [[n + 0.25, -n] for n in range(6)]
    assert graph.node_year.tolist() == [2001, 2005, 2010, 2018, 2019, 2020]
    seen = {
        "train": [4, 0, 39, *[IGNORE_INDEX] * 3],
        "val": [*[IGNORE_INDEX] * 3, 7, *[IGNORE_INDEX] * 2],
        "test": [*[IGNORE_INDEX] * 4, 7, 1],
    }
    assert {split: part.node["y"].tolist() for split, part in loaded.splits.items()} == seen


def test_it_is_scored_as_ogb_scores(tmp_path):
    loaded = data.load("ogbn-arxiv", root=write(tmp_path))
    out = torch.zeros(6, 40)
    out[4, 7], out[5, 3] = 1, 1
    assert loaded.evaluate(loaded.labels(loaded.test), out) == 0.5
    from ogb.nodeproppred import Evaluator

    pair = {"y_true": np.array([[7], [1]]), "y_pred": np.array([[7], [3]])}
    assert Evaluator("ogbn-arxiv").eval(pair) == {"acc": 0.5}


@pytest.mark.parametrize("layout", ["ogbn_arxiv", "arxiv", "arxiv.zip"])
def test_layouts(tmp_path, layout):
    plain = data.load("ogbn-arxiv", root=write(tmp_path / "files" / "arxiv"))
    if layout == "arxiv.zip":
        shutil.make_archive(str(tmp_path / "arxiv"), "zip", tmp_path / "files")
    else:
        shutil.copytree(tmp_path / "files" / "arxiv", tmp_path / layout)
    assert data.load("ogbn-arxiv", root=tmp_path).digest() == plain.digest()


def test_products_has_no_years(tmp_path):
    loaded = data.load("ogbn-products", root=write(tmp_path, split="sales_ranking", **{"raw/node_year": None}))
    assert loaded.num_classes == 47 and set(loaded.train.node) == {"x", "y"}


@pytest.mark.parametrize("name", ["ogbn-proteins", "ogbn-mag", "ogbn-papers100M"])
def test_other_kinds_of_sets_are_refused_with_the_reason(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is not supported: only sets that are one graph"):
        data.load(name, root=tmp_path)


def test_names_and_options(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'ogbn-arxive': did you mean ogbn-arxiv"):
        data.load("ogbn-arxive", root=tmp_path)
    with pytest.raises(ValueError, match="ogbn-arxiv has one fixed split and fixed features"):
        data.load("ogbn-arxiv", root=tmp_path, features="raw")


FAULTS = {
    "label above": ({"raw/node-label": "4\n0\n40\n7\n7\n1\n"}, r"node-label\.csv\.gz line 3: label 40, .* 0 to 39"),
    "label below": ({"raw/node-label": "4\n-1\n0\n7\n7\n1\n"}, r"node-label\.csv\.gz line 2: label -1"),
    "label between": ({"raw/node-label": "4\n0.5\n0\n7\n7\n1\n"}, r"node-label\.csv\.gz line 2: label 0\.5"),
    "label missing": ({"raw/node-label": "4\nnan\n0\n7\n7\n1\n"}, r"node-label\.csv\.gz line 2: label nan"),
    "few labels": ({"raw/node-label": "4\n0\n"}, r"node-label\.csv\.gz has 2 lines, but .* make it 6"),
    "NaN": ({"raw/node-feat": "1,2\n" * 4 + "1,nan\n1,2\n"}, r"node-feat\.csv\.gz line 5: a feature is NaN"),
    "few features": ({"raw/node-feat": "1,2\n" * 4}, r"node-feat\.csv\.gz has 4 lines, but .* make it 6"),
    "ragged": (
        {"raw/node-feat": "1,2\n" * 4 + "1\n1,2\n"},
        r"node-feat\.csv\.gz line 5: expected 2 numbers, found '1'",
    ),
    "few years": ({"raw/node_year": "2001\n"}, r"node_year\.csv\.gz has 1 lines"),
    "edge outside": ({"raw/edge": "0,1\n1,6\n" * 2 + "1,2\n"}, r"edge\.csv\.gz line 2: edge \[1, 6\] .* 6 nodes"),
    "negative edge": ({"raw/edge": "0,-1\n" * 5}, r"edge\.csv\.gz line 1: edge \[0, -1\]"),
    "few edges": ({"raw/edge": "0,1\n"}, r"edge\.csv\.gz has 1 lines, but .* make it 5"),
    "two graphs": ({"raw/num-node-list": "3\n3\n"}, r"num-node-list\.csv\.gz has 2 lines, but .* make it 1"),
    "split outside": ({"split/time/test": "4\n6\n"}, r"test\.csv\.gz line 2: node 6 of 6"),
    "split below": ({"split/time/test": "-1\n"}, r"test\.csv\.gz line 1: node -1 of 6"),
    "in two splits": ({"split/time/test": "4\n5\n2\n"}, r"test\.csv\.gz line 3: node 2 is in the train split already"),
    "twice": ({"split/time/valid": "3\n5\n3\n"}, r"valid\.csv\.gz line 3: node 3 is in the val split already"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named(tmp_path, fault):
    changes, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        data.load("ogbn-arxiv", root=write(tmp_path, **changes))


@pytest.mark.parametrize("name", ["raw/num-node-list", "raw/node-feat", "raw/node_year", "split/time/valid"])
def test_missing_files_are_named(tmp_path, name):
    write(tmp_path, **{name: None})
    with pytest.raises(FileNotFoundError, match=rf"{name.rsplit('/')[-1]}\.csv\.gz is missing"):
        data.load("ogbn-arxiv", root=tmp_path)
