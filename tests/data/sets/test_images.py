"""Sets of images by name: their files in every layout, splits, limits, augmentation, downloads, faults."""

import dataclasses
import gzip
import hashlib
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import torch

from graphprune import data
from graphprune.data import Augment
from graphprune.data.files.image_files import FILES
from graphprune.data.sets.images import SETS
from tests.data.loopback import serve
from tests.data.pictures import cifar_archive, cifar_binary, idx

REAL = os.environ.get("GRAPHPRUNE_TEST_DATA", "")


def numbered(count, *shape):
    """Black images whose first three pixels are the image's number."""
    images = np.zeros((count, *shape), np.uint8)
    for digit in range(3):
        images.reshape(count, -1)[:, digit] = np.arange(count) // 256**digit % 256
    return images


def number(images):
    return sum(images.x[:, 0, 0, digit].long() * 256**digit for digit in range(3))


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """All of MNIST's four files, as large as they are."""
    folder = tmp_path_factory.mktemp("mnist")
    for stem, count in (("train", 60_000), ("t10k", 10_000)):
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(numbered(count, 28, 28)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    return folder


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar10")
    for batch, stem in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        images = numbered(60_000, 3, 32, 32)[10_000 * batch :][:10_000].reshape(10_000, -1)
        labels = (np.arange(10_000) % 10).astype(np.uint8)[:, None]
        (folder / f"{stem}.bin").write_bytes(np.concatenate([labels, images], axis=1).tobytes())
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def linked(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        os.link(path, target / path.name)
    return target


# ---------------------------------------------------------------------------- splits


@pytest.mark.parametrize(("name", "fixture", "train"), [("mnist", "mnist", 60_000), ("cifar10", "cifar10", 50_000)])
def test_5000_training_images_validate_and_all_stand_in_the_order_of_the_files(request, name, fixture, train):
    loaded = data.load(name, root=request.getfixturevalue(fixture))
    assert {split: len(part) for split, part in loaded.splits.items()} == {
        "train": train - 5000,
        "val": 5000,
        "test": 10_000,
    }
    first = number(loaded.test)[0]
    assert torch.equal(number(loaded.test), torch.arange(first, first + 10_000))
    both = torch.cat([number(loaded.train), number(loaded.val)])
    assert torch.equal(both.sort().values, torch.arange(train))
    for part in loaded.splits.values():
        assert torch.equal(part.y, number(part) % 10) and (number(part).diff() > 0).all()
    assert loaded.val.y.bincount().tolist() == [500] * 10
    assert loaded.num_outputs == 10 and loaded.shape == ((1, 28, 28) if name == "mnist" else (3, 32, 32))


def test_limits_are_nested_and_take_the_classes_in_proportion(mnist):
    whole, *limited = [data.load("mnist", root=mnist, limit=limit) for limit in (None, 20, 3000, 3001, 55_000)]
    chosen = [set(number(loaded.train).tolist()) for loaded in limited]
    assert [len(numbers) for numbers in chosen] == [20, 3000, 3001, 55_000]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    assert limited[3].digest() == whole.digest()
    for loaded in limited[:2]:
        assert loaded.train.y.bincount().tolist() == [len(loaded.train) // 10] * 10
        assert loaded.val.digest() == whole.val.digest() and loaded.test.digest() == whole.test.digest()
    assert "limited to 20 images to train on" in limited[0].provenance["split"]


def test_the_seed_draws_the_images_that_validate(mnist):
    validating = [set(number(data.load("mnist", root=mnist, split_seed=seed).val).tolist()) for seed in (1, 1, 2)]
    assert validating[0] == validating[1] != validating[2]


@pytest.mark.parametrize("limit", [0, -3, 55_001])
def test_bad_limits(mnist, limit):
    with pytest.raises(ValueError, match=f"limit must be 1 to 55000, the images that mnist has .*; got {limit}"):
        data.load("mnist", root=mnist, limit=limit)


def test_augmentation_is_usual_for_cifar10_only(mnist, cifar10):
    assert data.load("cifar10", root=cifar10).train.augment == Augment(pad=4, flip=True)
    assert data.load("cifar10", root=cifar10, augment=False).train.augment is None
    assert data.load("mnist", root=mnist).train.augment is None
    augmented = data.load("mnist", root=mnist, augment=True)
    assert augmented.train.augment == Augment(pad=2, flip=False)  # a mirrored digit is another sign
    assert augmented.val.augment is augmented.test.augment is None
    assert augmented.provenance["augment"] == "Augment(pad=2, flip=False)"


# ---------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("below", [".", "NAME", "raw", "TORCHVISION/raw"])
def test_layouts_of_idx_files(mnist, tmp_path, name, below):
    torchvision = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    linked(mnist, tmp_path / below.replace("NAME", name).replace("TORCHVISION", torchvision))
    loaded = data.load(name, root=tmp_path)
    assert loaded.name == name and loaded.train.mean == SETS[name].mean
    assert torch.equal(loaded.test.x, data.load("mnist", root=mnist).test.x)


def test_packed_idx_files(mnist, tmp_path):
    for path in mnist.iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    assert data.load("mnist", root=tmp_path).digest() == data.load("mnist", root=mnist).digest()


@pytest.mark.parametrize("below", [".", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_layouts_of_cifar10(cifar10, tmp_path, below):
    linked(cifar10, tmp_path / below)
    assert torch.equal(data.load("cifar10", root=tmp_path).test.y, torch.arange(10_000) % 10)


def test_files_in_the_folder_of_downloads_are_used(mnist, cache):
    linked(mnist, cache / "mnist")
    assert data.load("mnist").digest() == data.load("mnist", root=mnist).digest()


# ---------------------------------------------------------------------------- faults


def test_a_part_of_a_set_is_no_set(mnist, tmp_path):
    linked(mnist, tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    for file, values in ((path, numbered(9_000, 28, 28)), (labels, np.zeros(9_000, np.uint8))):
        file.unlink()
        file.write_bytes(idx(values))
    with pytest.raises(ValueError, match="has 9000 test images, mnist has 10000; get it again"):
        data.load("mnist", root=tmp_path)


@pytest.mark.parametrize("make", [cifar_binary, cifar_archive])
def test_few_images_of_cifar10(tmp_path, make):
    make(tmp_path)
    with pytest.raises(ValueError, match="has 20 train images, cifar10 has 50000"):
        data.load("cifar10", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "marker"), [("mnist", "train-images-idx3-ubyte"), ("cifar10", "cifar-10-binary.tar.gz")]
)
def test_a_folder_without_the_set(tmp_path, name, marker):
    with pytest.raises(
        FileNotFoundError, match=f"{name}: neither .*{marker}.* in {re.escape(str(tmp_path))} or, below"
    ):
        data.load(name, root=tmp_path)


@pytest.mark.parametrize("below", ["data_batch_1", "cifar-10-batches-py/data_batch_1", "cifar-10-python.tar.gz"])
def test_pickles_are_not_read(tmp_path, below):
    (tmp_path / below).parent.mkdir(exist_ok=True)
    (tmp_path / below).write_bytes(b"\x80\x02cos\nsystem\n")
    with pytest.raises(FileNotFoundError, match="pickles of the python version, which are not read: get the binary"):
        data.load("cifar10", root=tmp_path)


def test_a_damaged_file_is_named(mnist, tmp_path):
    linked(mnist, tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte holds 59999 values, its head says 60000; get it"):
        data.load("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("digits", {"fold": 1}, "digits has images, no graphs: leave out fold and features"),
        ("mnist", {"features": "raw"}, "mnist has images, no graphs: leave out fold and features"),
        ("MUTAG", {"limit": 10}, "MUTAG has graphs, no images: leave out limit and augment"),
        ("MUTAG", {"augment": False}, "MUTAG has graphs, no images: leave out limit and augment"),
        ("ogbg-molbace", {"limit": 10}, "has graphs, no images: leave out split_seed and limit and augment"),
    ],
)
def test_options_of_other_sets(name, options, text):
    with pytest.raises(ValueError, match=text):
        data.load(name, **options)


@pytest.mark.parametrize(
    ("name", "nearest"), [("cifar-10", "cifar10"), ("FashionMNIST", "fashion-mnist"), ("Digits", "digits")]
)
def test_names_get_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"unknown data set '{name}': did you mean .*{nearest}"):
        data.load(name)


# ---------------------------------------------------------------------------- downloads


@pytest.fixture
def server(mnist, monkeypatch):
    """Answers with MNIST's files and notes what is asked for; files can be replaced."""
    served = {f"{path.name}.gz": gzip.compress(path.read_bytes(), 1) for path in mnist.iterdir()}
    sums = {file: hashlib.md5(served[file], usedforsecurity=False).hexdigest() for file in FILES["mnist"].md5}
    monkeypatch.setitem(FILES, "mnist", dataclasses.replace(FILES["mnist"], md5=sums))
    with serve(served) as asked:
        yield asked, served


def test_downloads_are_kept(mnist, cache, server):
    asked, _ = server
    for _ in range(2):
        loaded = data.load("mnist")
        assert loaded.digest() == data.load("mnist", root=mnist).digest()
    assert sorted(asked) == sorted(FILES["mnist"].url + file for file in FILES["mnist"].md5)
    assert FILES["mnist"].url in loaded.provenance["files"]
    assert loaded.provenance["split_seed"] == "12345"
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == sorted(FILES["mnist"].md5)


@pytest.mark.parametrize("short", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_a_download_that_is_not_the_file_is_taken_up_again(mnist, cache, server, short):
    asked, served = server
    whole, served[short] = served[short], served[short][:-9]
    with pytest.raises(ConnectionError, match=rf"data set mnist: .*{short}.* \(MD5 hash of .*root=FOLDER"):
        data.load("mnist")
    assert short not in {path.name for path in cache.rglob("*")}
    served[short] = whole
    assert len(data.load("mnist").train) == 55_000
    assert sorted(set(asked)) == sorted(FILES["mnist"].url + file for file in FILES["mnist"].md5)


@pytest.mark.parametrize(("name", "file"), [("fashion-mnist", "-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")])
def test_without_a_network_the_files_are_named(cache, monkeypatch, name, file):
    def broken(*args, **kwargs):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", broken)
    with pytest.raises(ConnectionError, match=rf"data set {name}: .*{file}.*root=FOLDER"):
        data.load(name)


# ---------------------------------------------------------------------------- digits


def test_digits():
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    loaded = data.load("digits")
    assert {split: len(part) for split, part in loaded.splits.items()} == {"train": 1258, "val": 180, "test": 359}
    assert loaded.shape == (1, 8, 8) and loaded.num_outputs == 10 and loaded.train.augment is None
    ours = np.concatenate(
        [np.column_stack([part.x.flatten(1).numpy(), part.y.numpy()]) for part in loaded.splits.values()]
    )
    everything = np.column_stack([bunch.data, bunch.target])
    assert sorted(ours.tolist()) == sorted(everything.tolist())
    pixels = loaded.train.batch(range(len(loaded.train))).x  # no other split is looked at
    assert abs(float(pixels.mean())) < 1e-3 and abs(float(pixels.std()) - 1) < 1e-3
    assert loaded.test.mean == loaded.train.mean and loaded.test.std == loaded.train.std
    assert data.load("digits", limit=10).train.mean == loaded.train.mean
    for part in loaded.splits.values():
        share = part.y.bincount(minlength=10) / len(part)
        assert float((share - 0.1).abs().max()) < 0.02
    assert data.load("digits", limit=100).train.y.bincount().tolist() == [10] * 10
    assert data.load("digits", split_seed=1).digest() != loaded.digest() == data.load("digits").digest()


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"data set digits needs scikit-learn: pip install 'graphprune\[images\]'"):
        data.load("digits")


# ---------------------------------------------------------------------------- the published files


@pytest.mark.parametrize("name", list(FILES))
def test_the_published_files(name):
    if not REAL or not (Path(REAL) / name).is_dir():
        pytest.skip(f"GRAPHPRUNE_TEST_DATA names no folder with the published files of {name}")
    loaded = data.load(name, root=REAL)
    pixels = torch.cat([loaded.train.x, loaded.val.x]).transpose(0, 1).flatten(1).double() / 255
    for found, known in ((pixels.mean(1), SETS[name].mean), (pixels.std(1), SETS[name].std)):
        torch.testing.assert_close(found, torch.tensor(known, dtype=torch.float64), rtol=0, atol=6e-5)
    if name != "mnist":
        assert loaded.test.y.bincount().tolist() == [1000] * 10
    else:
        assert loaded.test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
