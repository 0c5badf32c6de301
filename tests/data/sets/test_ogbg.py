"""OGB's raw files, written here in OGB's format: read without ogb's loader, checked, never unpickled."""

import gzip
import shutil
import sys

import pytest
import torch

from graphprune import data
from graphprune.data.files import ogb_files


def write(folder, split="scaffold", **changes):
    """Five graphs: a bond, two bonds, an atom alone, nothing at all, a bond."""
    files = {
        "raw/num-node-list": "2\n3\n1\n0\n2\n",
        "raw/num-edge-list": "1\n2\n0\n0\n1\n",
        "raw/edge": "0,1\n0,1\n1,2\n1,0\n",
        "raw/node-feat": "".join(f"{n},0,4,5,3,0,2,0,0\n" for n in range(8)),
        "raw/edge-feat": "0,0,0\n1,0,1\n2,0,0\n3,0,1\n",
        "raw/graph-label": "1\n0\n1\n0\n1\n",
        f"split/{split}/train": "4\n0\n1\n",
        f"split/{split}/valid": "2\n",
        f"split/{split}/test": "3\n",
    }
    for name, text in (files | {key.replace("__", "/").replace("_", "-"): t for key, t in changes.items()}).items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_bytes(gzip.compress(text.encode()))
    return folder


def test_graphs_as_ogb_gives_them(tmp_path):
    loaded = data.load("ogbg-molbace", root=write(tmp_path))
    assert [len(part) for part in loaded.splits.values()] == [3, 1, 1]
    last, first, second = loaded.train  # the split's order
    assert second.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert second.edge_attr.tolist() == [[1, 0, 1], [1, 0, 1], [2, 0, 0], [2, 0, 0]]
    assert second.x[:, 0].tolist() == [2, 3, 4] and second.x.dtype == torch.int64
    assert (float(first.y), float(second.y), float(last.y)) == (1, 0, 1)
    assert last.edge_index.tolist() == [[1, 0], [0, 1]]
    assert loaded.features == loaded.edge_features == "ogb-mol"
    assert loaded.empty["val"] == {"no_nodes": 0, "no_edges": 1}
    assert loaded.empty["test"] == {"no_nodes": 1, "no_edges": 1}


@pytest.mark.parametrize("layout", ["ogbg_molbace", "bace", "bace.zip"])
def test_layouts(tmp_path, layout):
    plain = data.load("ogbg-molbace", root=write(tmp_path / "files" / "bace"))
    if layout == "bace.zip":
        shutil.make_archive(str(tmp_path / "bace"), "zip", tmp_path / "files")
    else:
        shutil.copytree(tmp_path / "files" / "bace", tmp_path / layout)
    assert data.load("ogbg-molbace", root=tmp_path).digest() == plain.digest()


# OGB's published table: tasks, metric.
MOLECULES = {
    "ogbg-molbace": (1, "rocauc"),
    "ogbg-molbbbp": (1, "rocauc"),
    "ogbg-molclintox": (2, "rocauc"),
    "ogbg-molmuv": (17, "ap"),
    "ogbg-molpcba": (128, "ap"),
    "ogbg-molsider": (27, "rocauc"),
    "ogbg-moltox21": (12, "rocauc"),
    "ogbg-moltoxcast": (617, "rocauc"),
    "ogbg-molhiv": (1, "rocauc"),
    "ogbg-molesol": (1, "rmse"),
    "ogbg-molfreesolv": (1, "rmse"),
    "ogbg-mollipo": (1, "rmse"),
    "ogbg-molchembl": (1310, "rocauc"),
}


def test_every_set_of_molecules_is_known():
    assert {name for name in ogb_files.catalogue("graph") if name.startswith("ogbg-mol")} == set(MOLECULES)


@pytest.mark.parametrize("name", MOLECULES)
def test_each_set_of_molecules_has_its_split_and_its_evaluator(tmp_path, name):
    from ogb.graphproppred import Evaluator

    tasks, metric = MOLECULES[name]
    labels = "".join(",".join([label] * tasks) + "\n" for label in "10110")
    loaded = data.load(name, root=write(tmp_path, split="scaffold", raw__graph_label=labels))
    assert (loaded.num_tasks, loaded.metric, loaded.ogb_name) == (tasks, metric, name)
    assert loaded.num_outputs == tasks and loaded.higher_is_better == (metric != "rmse")
    assert loaded.task == ("regression" if metric == "rmse" else "binary")
    assert loaded.features == loaded.edge_features == "ogb-mol"
    assert [len(part) for part in loaded.splits.values()] == [3, 1, 1]
    assert loaded.provenance["split"] == "OGB's scaffold split"
    y, out = loaded.labels(loaded.train), torch.randn(3, tasks, generator=torch.Generator().manual_seed(0))
    official = Evaluator(name)
    assert (official.num_tasks, official.eval_metric) == (tasks, metric)
    assert loaded.evaluate(y, out) == official.eval({"y_true": y.numpy(), "y_pred": out.numpy()})[metric]


def test_missing_labels_are_nan(tmp_path):
    rows = [",1" + ",0" * 10, "1," + ",0" * 9 + ",", "1" + ",0" * 11, "0" * 1 + ",1" * 11, "," * 11]
    loaded = data.load("ogbg-moltox21", root=write(tmp_path, raw__graph_label="\r\n".join(rows)))
    assert loaded.num_tasks == loaded.num_outputs == 12 and loaded.metric == "rocauc"
    last, first, second = loaded.train
    assert last.y.isnan().all()
    assert first.y.isnan().tolist() == [[True] + [False] * 11]
    assert second.y.isnan().nonzero()[:, 1].tolist() == [1, 11]


def test_ppa_has_a_constant_node_feature_and_classes(tmp_path):
    write(
        tmp_path,
        split="species",
        raw__edge_feat="0.5,0,0,0,0,0,1\n" * 4,
        raw__graph_label="36\n0\n1\n2\n3\n",
    )
    (tmp_path / "raw" / "node-feat.csv.gz").unlink()
    loaded = data.load("ogbg-ppa", root=tmp_path)
    assert (loaded.task, loaded.metric, loaded.num_classes) == ("multiclass", "accuracy", 37)
    assert loaded.train[1].x.tolist() == [[1], [1]] and loaded.edge_features == 7
    assert loaded.train[1].y.tolist() == [36]
    y = loaded.train.graph["y"]
    assert loaded.evaluate(y, torch.nn.functional.one_hot(y, 37).float()) == 1


FAULTS = {
    "edge outside": (
        {"raw__edge": "0,1\n0,1\n1,3\n1,0\n"},
        r"graph 1: edge_index \[1, 3\] points outside its 3 nodes",
    ),
    "short edges": ({"raw__edge": "0,1\n0,1\n"}, "edge.csv.gz has 2 lines, but .* make it 4"),
    "not a number": (
        {"raw__edge": "0,1\n0,a\n1,2\n1,0\n"},
        "edge.csv.gz line 2: expected 2 integers, found '0,a'",
    ),
    "few atoms": (
        {"raw__node_feat": "1,0,4,5,3,0,2,0,0\n"},
        "node-feat.csv.gz has 1 lines, but .* make it 8",
    ),
    "category": ({"raw__edge_feat": "0,0,0\n1,0,1\n9,0,0\n3,0,1\n"}, "edge-feat.csv.gz line 3: .*categories"),
    "few labels": ({"raw__graph_label": "1\n0\n"}, "graph-label.csv.gz has 2 lines, but .* make it 5"),
    "two columns": ({"raw__graph_label": "1,0\n" * 5}, "graph-label.csv.gz line 1: expected 1 number"),
    "in two splits": (
        {"split__scaffold__test": "3\n1\n"},
        "test.csv.gz line 2: graph 1 is in the train split already",
    ),
    "no such graph": ({"split__scaffold__test": "5\n"}, "test.csv.gz line 1: graph 5 of 5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named(tmp_path, fault):
    changes, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        data.load("ogbg-molbace", root=write(tmp_path, **changes))


@pytest.mark.parametrize("name", ["raw/num-node-list", "raw/edge-feat", "raw/graph-label", "split/scaffold/valid"])
def test_missing_and_truncated_files_are_named(tmp_path, name):
    path = write(tmp_path) / f"{name}.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{path.name} is damaged or truncated"):
        data.load("ogbg-molbace", root=tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name} is missing"):
        data.load("ogbg-molbace", root=tmp_path)


def test_without_ogb_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ogb_files.catalogue.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'graphprune\[ogb\]'"):
        data.load("ogbg-molbace", root=tmp_path)


def test_reading_the_catalogue_does_not_import_ogb(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "ogb"]:
        monkeypatch.delitem(sys.modules, name)
    ogb_files.catalogue.cache_clear()
    assert len(ogb_files.catalogue("graph")) == 15
    assert "ogb" not in sys.modules
