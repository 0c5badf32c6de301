"""The script that turns images into superpixel graphs: every format it reads, the graphs, the splits, bad images."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune import data
from tests.data.pictures import cifar_atlas, cifar_binary, idx, mnist, pictures

pytest.importorskip("skimage", reason="scikit-image is only needed to build the files")
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "datasets" / "scripts" / "build_superpixels.py"
LIMIT = ["--limit", "12", "4", "6"]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("build_superpixels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_superpixels"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["build_superpixels"]
    sys.path.remove(str(SCRIPT.parent))


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def built(kind, images, out, *options):
    answer = run(kind, images, "--out", out, *LIMIT, *options)
    assert answer.returncode == 0, answer.stderr
    assert [path.name for path in out.iterdir()] == [f"{kind}-superpixels.npz"]
    return data.load(f"{kind}-superpixels", root=out, features="weight")


@pytest.fixture(scope="module")
def mnist_graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    return built("mnist", mnist(folder / "images"), folder / "out", "--jobs", 2)


def test_mnist_plain_and_packed_give_the_same_graphs(mnist_graphs, tmp_path):
    packed = built("mnist", mnist(tmp_path / "images", pack=True), tmp_path / "out", "--jobs", 1)
    assert packed.digest() == mnist_graphs.digest()


def test_cifar10_binary_and_pictures_give_the_same_graphs(tmp_path):
    graphs = [
        built("cifar10", make(tmp_path / make.__name__ / "images"), tmp_path / make.__name__ / "out", "--jobs", 1)
        for make in (cifar_binary, cifar_atlas)
    ]
    assert graphs[0].digest() == graphs[1].digest()
    assert graphs[0].num_features == 5 and tuple(map(len, graphs[0].splits.values())) == (12, 4, 6)


def test_the_file_has_the_counts_that_were_asked_for(mnist_graphs):
    assert tuple(map(len, mnist_graphs.splits.values())) == (12, 4, 6)
    for part in mnist_graphs.splits.values():
        assert torch.equal(part.edge_count, 8 * part.node_count)
        assert 50 < part.num_nodes / len(part) < 100
        labels = part.graph["y"].bincount(minlength=10)
        assert int(labels.max() - labels.min()) <= 2  # one for each end of the stretch
        for graph in part:
            assert torch.equal(graph.edge_index[0], torch.arange(graph.num_nodes).repeat_interleave(8))
            assert not bool((graph.edge_index[0] == graph.edge_index[1]).any())


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3)])
def test_graphs_are_as_described(script, side, channels):
    recipe = script.MNIST if channels == 1 else script.CIFAR10
    image = pictures(1, side, channels)[0][0].reshape(recipe.shape)
    segment, x = script.superpixels(image, recipe)
    nodes = len(x)
    assert np.unique(segment).tolist() == list(range(nodes))
    for number in range(nodes):
        inside = segment == number
        row, column = (axis[inside].mean() / side for axis in np.indices(segment.shape))
        colour = image[inside].reshape(-1, channels).mean(0) / 255
        assert np.allclose(x[number], [*colour, row, column], atol=1e-5)

    def mean_nearest(columns):
        distance = [[np.linalg.norm(x[u, columns] - x[v, columns]) for v in range(nodes)] for u in range(nodes)]
        return np.array(distance), np.array([np.mean(sorted(row)[1:9]) for row in distance]) + 1e-8

    (place, s_place), (shade, s_shade) = mean_nearest(slice(channels, None)), mean_nearest(slice(0, channels))
    weight = np.exp(-((place / s_place[:, None]) ** 2) - (shade / s_shade[:, None]) ** 2)
    weight = (weight + weight.T) / 2
    features, arcs, given = script.graph(image, recipe)
    assert np.allclose(features, x, atol=1e-3)
    for node in range(nodes):
        mine = arcs[arcs[:, 0] == node, 1]
        others = np.setdiff1d(np.arange(nodes), [node, *mine])
        assert len(set(mine.tolist()) - {node}) == 8
        assert weight[node, mine].min() >= weight[node, others].max() - 1e-9
        assert np.allclose(given[arcs[:, 0] == node], weight[node, mine], atol=1e-3)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 100))
def test_every_beginning_of_the_order_has_the_classes_in_proportion(script, labels, seed):
    labels = np.array(labels)
    order = script.by_class(labels, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    for kind in set(labels.tolist()):
        share = (labels == kind).mean()
        found = np.cumsum(labels[order] == kind)
        # Each class is within one image of its share of any stretch, and the stretch within half an image a class.
        assert np.abs(found - share * np.arange(1, len(labels) + 1)).max() <= 1 + 0.5 * len(set(labels.tolist()))


def test_whole_sets_validate_with_5000_images_and_limits_are_nested(script):
    train, test = np.arange(60_000) % 10, np.arange(10_000) % 10
    whole = script.choose(train, test, None)
    assert list(map(len, whole)) == [55_000, 5_000, 10_000]
    assert len(np.union1d(whole[0], whole[1])) == 60_000
    small, larger = script.choose(train, test, [100, 20, 50]), script.choose(train, test, [1000, 100, 200])
    for few, more, every in zip(small, larger, whole, strict=True):
        assert set(few.tolist()) <= set(more.tolist()) <= set(every.tolist())
        assert (np.bincount(more % 10) == len(more) // 10).all()


def cut(path, size=-5):
    path.write_bytes(path.read_bytes()[:size])


def only_pickles(folder):
    for path in folder.iterdir():
        path.rename(path.with_suffix(""))


FAULTS = {
    "missing": (mnist, lambda f: (f / "train-images-idx3-ubyte").unlink(), "MNIST's four IDX files must be"),
    "truncated": (mnist, lambda f: cut(f / "t10k-images-idx3-ubyte"), r"holds 7835 values, its head says 7840; get it"),
    "no head": (mnist, lambda f: cut(f / "train-labels-idx1-ubyte", 3), "is no IDX file of bytes with 1 dimensions"),
    "swapped": (
        mnist,
        lambda f: (f / "train-labels-idx1-ubyte").replace(f / "train-images-idx3-ubyte"),
        "train-images-idx3-ubyte is no IDX file of bytes with 3 dimensions",
    ),
    "other images": (
        mnist,
        lambda f: (f / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((20, 32, 32), np.uint8))),
        r"has images of \(32, 32\) pixels, MNIST's have \(28, 28\)",
    ),
    "few labels": (
        mnist,
        lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(19, np.uint8))),
        "20 train images but 19 labels",
    ),
    "bad label": (
        mnist,
        lambda f: (f / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(10, 11, np.uint8))),
        "test label 11 is no class from 0 to 9",
    ),
    "packed badly": (
        lambda f: mnist(f, pack=True),
        lambda f: cut(f / "train-images-idx3-ubyte.gz"),
        "is damaged or trun",
    ),
    "bin truncated": (cifar_binary, lambda f: cut(f / "data_batch_3.bin"), "data_batch_3.bin has 12287 bytes"),
    "bin missing": (cifar_binary, lambda f: (f / "data_batch_3.bin").unlink(), "data_batch_3.bin"),
    "pickles": (cifar_binary, only_pickles, "pickles of the python version, which are not read: get the binary"),
    "png truncated": (cifar_atlas, lambda f: cut(f / "data_batch_1.png", -2000), "data_batch_1.png: .*get it again"),
    "no png": (cifar_atlas, lambda f: (f / "test_batch.png").write_text("hello"), "test_batch.png: cannot identify"),
    "png shape": (
        cifar_atlas,
        lambda f: Image.fromarray(np.zeros((4, 1024), np.uint8)).save(f / "data_batch_2.png"),
        r"data_batch_2.png has shape \(4, 1024\), expected RGB rows of 1024 pixels",
    ),
    "json": (cifar_atlas, lambda f: cut(f / "train_lables.json"), "train_lables.json is no JSON list"),
    "json short": (
        cifar_atlas,
        lambda f: (f / "test_lables.json").write_text("[1, 2]"),
        "test_lables.json must be a list of 10 labels",
    ),
    "too many": (mnist, lambda f: None, r"--limit 10 3 10 asks for more images than there are: \(17, 3, 10\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_images_are_named(script, tmp_path, fault):
    make, damage, message = FAULTS[fault]
    damage(make(tmp_path / "images"))
    limit = [18, 3, 10] if fault == "too many" else [12, 4, 6]
    with pytest.raises((ValueError, OSError), match=message.replace("--limit 10", "--limit 18")):
        script.build(
            "mnist" if make not in (cifar_binary, cifar_atlas) else "cifar10", tmp_path / "images", tmp_path, limit, 1
        )
    assert not list(tmp_path.glob("*.npz*"))


def test_a_part_of_the_images_is_no_whole_set(script, tmp_path):
    with pytest.raises(ValueError, match="has 20 train images, the whole set 60000; get it again, or give --limit"):
        script.build("mnist", mnist(tmp_path), tmp_path, None, 1)


def test_the_command_fails_with_one_line(script, tmp_path, monkeypatch, capsys):
    def command(*options):
        monkeypatch.setattr(
            sys, "argv", ["build_superpixels.py", "mnist", *map(str, (tmp_path, "--out", tmp_path)), *options]
        )
        script.main()

    with pytest.raises(SystemExit, match=r"^build_superpixels: neither [^\n]*$"):
        command()
    with pytest.raises(SystemExit):
        command("--jobs", "0")
    assert "must be at least 1" in capsys.readouterr().err


def test_a_build_that_breaks_off_leaves_nothing(script, tmp_path, monkeypatch):
    def broken(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(script.np, "savez_compressed", broken)
    with pytest.raises(OSError, match="disk full"):
        script.write(tmp_path / "out" / "mnist-superpixels.npz", {})
    assert not list((tmp_path / "out").iterdir())
