"""The loader of superpixel files: what it makes of one, and what may be wrong with one."""

import json

import numpy as np
import pytest
import torch

from graphprune import data


def arrays(images="mnist", channels=1):
    """Seven graphs of 9, 10, ... nodes, each node with arcs to its next two, in a ring; splits of 4, 2 and 1."""
    rng = np.random.default_rng(0)
    nodes = np.arange(9, 16, dtype=np.uint8)
    arcs = [(node, (node + step) % size) for size in nodes.tolist() for node in range(size) for step in (1, 2)]
    return {
        "x": rng.random((nodes.sum(), channels + 2)).astype(np.float16),
        "arcs": np.array(arcs, dtype=np.uint8),
        "weight": rng.random(len(arcs)).astype(np.float16),
        "num_nodes": nodes,
        "num_arcs": 2 * nodes.astype(np.uint16),
        "y": np.arange(7, dtype=np.uint8),
        "split": np.array([0, 0, 0, 0, 1, 1, 2], dtype=np.uint8),
        "about": np.array(json.dumps({"images": images, "seed": 0, "limit": [4, 2, 1], "scikit-image": "0.26.0"})),
    }


def write(folder, name="mnist-superpixels", **changes):
    content = arrays() | changes
    np.savez_compressed(folder / f"{name}.npz", **{key: value for key, value in content.items() if value is not None})
    return folder


def test_the_graphs_are_those_of_the_file(tmp_path):
    content = arrays()
    loaded = data.load("mnist-superpixels", root=write(tmp_path))
    assert [part.node_count.tolist() for part in loaded.splits.values()] == [[9, 10, 11, 12], [13, 14], [15]]
    node = arc = 0
    for number, graph in enumerate(graph for part in loaded.splits.values() for graph in part):
        nodes, arcs = slice(node, node + 9 + number), slice(arc, arc + 2 * (9 + number))
        assert graph.x.dtype == torch.float32 and graph.x.tolist() == content["x"][nodes].astype(float).tolist()
        assert graph.edge_index.dtype == torch.int64 and graph.edge_index.T.tolist() == content["arcs"][arcs].tolist()
        assert graph.y.tolist() == [number] and graph.y.dtype == torch.int64
        assert "edge_attr" not in graph
        node, arc = nodes.stop, arcs.stop
    assert (loaded.task, loaded.metric, loaded.num_classes) == ("multiclass", "accuracy", 10)
    assert loaded.num_features == 3 and loaded.edge_features is None and loaded.degrees is None
    assert loaded.provenance["split"].endswith("limited to [4, 2, 1] images")


def test_weights_are_edge_features_if_wanted(tmp_path):
    loaded = data.load("mnist-superpixels", root=write(tmp_path), features="weight")
    assert loaded.edge_features == 1
    attr = torch.cat([part.edge["edge_attr"] for part in loaded.splits.values()])
    assert attr.shape == (168, 1) and torch.equal(attr[:, 0], torch.from_numpy(arrays()["weight"]).float())
    assert loaded.edge_features == 1 and loaded.test[0].edge_attr.shape == (30, 1)


def test_the_file_itself_and_the_folder_of_downloads_will_do(tmp_path, monkeypatch):
    file = write(tmp_path) / "mnist-superpixels.npz"
    digest = data.load("mnist-superpixels", root=file).digest()
    assert data.load("mnist-superpixels", root=str(file)).digest() == digest
    (tmp_path / "superpixels").mkdir()
    file.rename(tmp_path / "superpixels" / file.name)
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path))
    assert data.load("mnist-superpixels").digest() == digest


def test_colours_are_three_columns(tmp_path):
    write(tmp_path, "cifar10-superpixels", **arrays("cifar10", channels=3))
    assert data.load("cifar10-superpixels", root=tmp_path).num_features == 5


@pytest.mark.parametrize(("name", "kind"), [("mnist-superpixels", "mnist"), ("cifar10-superpixels", "cifar10")])
def test_without_the_file_the_command_that_builds_it_is_given(tmp_path, name, kind):
    command = f"build_superpixels.py {kind} IMAGES --out {tmp_path}"
    with pytest.raises(FileNotFoundError, match=rf"{name}\.npz is missing.*graphprune\[datasets\].*{command}"):
        data.load(name, root=tmp_path)


FAULTS = {
    "no array": ({"weight": None}, "it has no array weight"),
    "dtype": ({"arcs": arrays()["arcs"].astype(float)}, "array arcs is float64 with 2 dimensions"),
    "columns": ({"x": arrays(channels=3)["x"]}, r"array x has shape \(84, 5\), the counts make it \(84, 3\)"),
    "nodes cut off": ({"x": arrays()["x"][:-1]}, r"array x has shape \(83, 3\)"),
    "arcs cut off": (
        {"arcs": arrays()["arcs"][:-1]},
        r"array arcs has shape \(167, 2\), the counts make it \(168, 2\)",
    ),
    "labels cut off": ({"y": arrays()["y"][:-1]}, r"array y has shape \(6,\)"),
    "NaN": ({"x": np.where(arrays()["x"] > 0.9, np.float16("nan"), arrays()["x"])}, "array x has a value that is NaN"),
    "weight": ({"weight": 2 * arrays()["weight"]}, r"array weight has a value that is NaN or outside \[0, 1\]"),
    "label": ({"y": arrays()["y"] + np.uint8(4)}, "a label is no class from 0 to 9"),
    "arc": ({"arcs": arrays()["arcs"] + np.uint8(1)}, "an arc points outside its graph"),
    "order": ({"split": arrays()["split"][::-1]}, "the splits are not train, validation and test, in this order"),
    "no validation": ({"split": np.array([0, 0, 0, 0, 0, 0, 2], dtype=np.uint8)}, "the splits are not train"),
    "notes": ({"about": np.array("{")}, "Expecting property name"),
    "other notes": ({"about": np.array("3")}, "not iterable"),
    "other images": ({"about": arrays("cifar10")["about"]}, "it was built from cifar10 images, not from mnist"),
    "pickles": ({"y": np.array([None] * 7)}, "Object arrays cannot be loaded"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_named_with_the_remedy(tmp_path, fault):
    changes, message = FAULTS[fault]
    with pytest.raises(ValueError, match=rf"mnist-superpixels\.npz is damaged .*{message}.*build it again: python"):
        data.load("mnist-superpixels", root=write(tmp_path, **changes))


@pytest.mark.parametrize("keep", [0, 100, -300])
def test_a_truncated_file_is_named(tmp_path, keep):
    file = write(tmp_path) / "mnist-superpixels.npz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"mnist-superpixels\.npz is damaged .*build it again"):
        data.load("mnist-superpixels", root=tmp_path)


def test_options_that_do_not_apply(tmp_path):
    with pytest.raises(ValueError, match="features of mnist-superpixels must be one of raw, weight, got 'deg'"):
        data.load("mnist-superpixels", root=write(tmp_path), features="deg")
    with pytest.raises(ValueError, match="mnist-superpixels has one fixed split: leave out fold and split_seed"):
        data.load("mnist-superpixels", root=tmp_path, fold=2)
