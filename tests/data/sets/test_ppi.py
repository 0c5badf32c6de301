"""PPI's raw files, written here as GraphSAGE has them: read, regrouped, checked, never unpickled."""

import io
import json
import pickle
import shutil

import networkx as nx
import numpy as np
import pytest
import torch

from graphprune import data
from tests.data.loopback import serve

FEATURES, TASKS = 4, 3
SIZES = {"train": (5, 3, 4), "valid": (4,), "test": (3, 2)}


def write(folder, **changes):
    """Three training graphs, a validation graph, two test graphs; ``changes`` replace a file's content by name."""
    rng = np.random.default_rng(0)
    first = 1
    for part, sizes in SIZES.items():
        nodes = sum(sizes)
        graph_of = np.repeat(np.arange(first, first + len(sizes)), sizes)
        first += len(sizes)
        graph = nx.DiGraph()
        graph.add_nodes_from((node, {"test": part == "test", "val": part == "valid"}) for node in range(nodes))
        for one, other in np.argwhere(graph_of[:, None] == graph_of[None, :]).tolist():
            if rng.random() < 0.5:
                graph.add_edges_from([(one, other), (other, one)])
        files = {
            f"{part}_graph.json": json.dumps(nx.node_link_data(graph, edges="links")).encode(),
            f"{part}_feats.npy": rng.normal(size=(nodes, FEATURES)),
            f"{part}_labels.npy": rng.integers(0, 2, (nodes, TASKS)),
            f"{part}_graph_id.npy": graph_of,
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (files | {name: changes[name] for name in files if name in changes}).items():
            if isinstance(content, bytes):
                (folder / name).write_bytes(content)
            elif content is not None:
                np.save(folder / name, content)
    return folder


def part_of(folder, part):
    graph = nx.node_link_graph(json.loads((folder / f"{part}_graph.json").read_text()), edges="links")
    return graph, *(np.load(folder / f"{part}_{name}.npy") for name in ("feats", "labels", "graph_id"))


def test_the_graphs_of_each_split(tmp_path):
    loaded = data.load("PPI", root=write(tmp_path))
    assert (loaded.level, loaded.transductive, loaded.task, loaded.metric) == ("node", False, "binary", "f1")
    assert (loaded.num_features, loaded.num_tasks, loaded.num_outputs) == (FEATURES, TASKS, TASKS)
    for part, graphs in zip(SIZES, loaded.splits.values(), strict=True):
        assert tuple(graphs.node_count.tolist()) == SIZES[part]
        whole, x, y, graph_of = part_of(tmp_path, part)
        for number, graph in enumerate(graphs):
            mine = np.flatnonzero(graph_of == graph_of[0] + number)
            expected = {(u - mine[0], v - mine[0]) for u, v in whole.subgraph(mine.tolist()).edges if u != v}
            assert {tuple(arc) for arc in graph.edge_index.T.tolist()} == expected
            assert graph.num_edges == len(expected) and graph.x.dtype == graph.y.dtype == torch.float32
            np.testing.assert_allclose(graph.x, x[mine], rtol=1e-6)
            assert np.array_equal(graph.y, y[mine])
    y = loaded.labels(loaded.test)
    assert loaded.evaluate(y, y - 0.5) == 1


def test_nodes_in_any_order_are_put_together(tmp_path):
    plain = data.load("PPI", root=write(tmp_path / "plain"))
    folder = write(tmp_path / "mixed")
    whole, x, y, graph_of = part_of(folder, "train")
    order = np.array([0, 5, 8, 1, 6, 9, 2, 7, 10, 3, 11, 4])  # each graph's own nodes keep their order
    place = np.argsort(order)
    mixed = nx.relabel_nodes(whole, dict(enumerate(place.tolist())))
    (folder / "train_graph.json").write_text(json.dumps(nx.node_link_data(mixed, edges="links")))
    for name, values in (("feats", x), ("labels", y), ("graph_id", graph_of)):
        np.save(folder / f"train_{name}.npy", values[order])
    assert data.load("PPI", root=folder).digest() == plain.digest()


@pytest.mark.parametrize("layout", ["PPI/raw", "PPI", "ppi", "raw", "ppi.zip"])
def test_layouts(tmp_path, layout):
    plain = data.load("PPI", root=write(tmp_path / "files")).digest()
    if layout == "ppi.zip":
        shutil.make_archive(str(tmp_path / "ppi"), "zip", tmp_path / "files")
        assert data.load("PPI", root=tmp_path / "ppi.zip").digest() == plain
    else:
        write(tmp_path / layout)
    assert data.load("PPI", root=tmp_path).digest() == plain


def test_it_is_downloaded_as_one_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path / "cache"))
    shutil.make_archive(str(tmp_path / "there"), "zip", write(tmp_path / "files"))
    files = {"ppi.zip": (tmp_path / "there.zip").read_bytes()}
    with serve(files):
        assert data.load("PPI").digest() == data.load("PPI", root=tmp_path / "files").digest()
        (tmp_path / "cache" / "ppi" / "ppi.zip").unlink()
        files["ppi.zip"] = files["ppi.zip"][:-30]
        with pytest.raises(
            ConnectionError, match=r"data set PPI: downloading .*ppi\.zip.*train_graph_id\.npy.*root=FOLDER"
        ):
            data.load("PPI")


def test_other_spellings_and_options(tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'ppi': did you mean .*PPI"):
        data.load("ppi", root=tmp_path)
    with pytest.raises(ValueError, match="PPI has one fixed split and fixed features"):
        data.load("PPI", root=tmp_path, fold=2)


def graph(nodes, *links):
    entries = [{"source": one, "target": other} for one, other in links]
    return json.dumps({"nodes": [{"id": node} for node in range(nodes)], "links": entries}).encode()


def saved(value):
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def huge():
    """The header of an array of petabytes, and nothing after it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (2**47, 4)})
    return stream.getvalue()


FAULTS = {
    "NaN": ({"train_feats.npy": np.full((12, 4), np.nan)}, r"train_feats\.npy: a feature of node 0 is NaN"),
    "label": ({"train_labels.npy": np.full((12, 3), 2)}, r"train_labels\.npy: the labels of node 0 are not all 0 or 1"),
    "NaN label": ({"test_labels.npy": np.full((5, 3), np.nan)}, r"test_labels\.npy: the labels of node 0"),
    "few labels": ({"valid_labels.npy": np.zeros((3, 3))}, r"valid_labels\.npy: 3 rows, but valid_feats\.npy has 4"),
    "few graph numbers": ({"test_graph_id.npy": np.ones(3)}, r"test_graph_id\.npy: 3 rows, but test_feats\.npy has 5"),
    "flat features": ({"train_feats.npy": np.ones(12)}, r"train_feats\.npy: expected an array .* 2 dimensions"),
    "words": ({"train_feats.npy": np.full((12, 4), "a")}, r"train_feats\.npy: expected an array of numbers"),
    "other width": ({"test_feats.npy": np.ones((5, 2))}, "the splits have different numbers of features and labels"),
    "empty": ({"test_feats.npy": np.ones((0, 4))}, r"test_feats\.npy: it has no nodes"),
    "node outside": ({"test_graph.json": graph(5, (0, 5))}, r"test_graph\.json: a link joins something else .* 0 to 4"),
    "negative node": ({"test_graph.json": graph(5, (0, -1))}, r"test_graph\.json: a link joins something else"),
    "named node": ({"test_graph.json": graph(5, (0, "a"))}, r"test_graph\.json: a link joins something else"),
    "lists of nodes": ({"test_graph.json": graph(5, ([0, 1], [1, 2]))}, r"test_graph\.json: no node-link data"),
    "between graphs": ({"test_graph.json": graph(5, (0, 4))}, r"test_graph\.json: link \[0, 4\] joins two graphs"),
    "few nodes": ({"test_graph.json": graph(3)}, r"test_graph\.json: 3 nodes, but test_feats\.npy has 5 rows"),
    "no links": ({"test_graph.json": b'{"nodes": []}'}, r"test_graph\.json: no node-link data, or damaged"),
    "half a file": ({"test_graph.json": graph(5)[:-4]}, r"test_graph\.json: no node-link data, or damaged"),
    "deep": ({"test_graph.json": b"[" * 10**5}, r"test_graph\.json: no node-link data, or damaged"),
    "objects": ({"train_feats.npy": saved(np.array([[{}]]))}, r"train_feats\.npy: damaged .* or an array of objects"),
    "a pickle": ({"train_feats.npy": pickle.dumps([1])}, r"train_feats\.npy: damaged"),
    "half an array": ({"train_feats.npy": saved(np.ones((12, 4)))[:-9]}, r"train_feats\.npy: damaged or truncated"),
    "petabytes": ({"train_feats.npy": huge()}, r"train_feats\.npy: damaged or truncated"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named(tmp_path, fault):
    changes, message = FAULTS[fault]
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        data.load("PPI", root=tmp_path)


@pytest.mark.parametrize("name", ["valid_graph.json", "test_labels.npy", "train_graph_id.npy"])
def test_missing_files_are_named(tmp_path, name):
    write(tmp_path, **{name: None})
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing"):
        data.load("PPI", root=tmp_path)
