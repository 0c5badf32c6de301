"""The readers of image files: what they make of each format, and what may be wrong with one."""

import importlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from graphprune.data.files.image_files import read_cifar10, read_mnist
from tests.data.pictures import cifar_archive, cifar_atlas, cifar_batches, cifar_binary, mnist, pictures


@pytest.mark.parametrize("pack", [False, True])
def test_mnist(tmp_path, pack):
    mnist(tmp_path, pack)
    for part, count, seed in (("train", 20, 0), ("test", 10, 1)):
        images, labels = read_mnist(tmp_path, part)
        expected, kinds = pictures(count, 28, 1, seed)
        assert np.array_equal(images, expected[..., 0]) and np.array_equal(labels, kinds)


@pytest.mark.parametrize(
    ("make", "read"),
    [(cifar_binary, read_cifar10), (cifar_archive, read_cifar10), (cifar_atlas, None)],
)
def test_cifar10(tmp_path, monkeypatch, make, read):
    if read is None:
        pytest.importorskip("PIL", reason="Pillow is only needed for pictures")
        monkeypatch.syspath_prepend(Path(__file__).parents[3] / "datasets" / "scripts")
        read = importlib.import_module("cifar_pictures").read_cifar10_pictures
    place = make(tmp_path / "images")
    batches = [batch[1:] for batch in cifar_batches()]
    for part, chosen in (("train", batches[:5]), ("test", batches[5:])):
        images, labels = read(place, part)
        expected = np.concatenate([pixels for pixels, _ in chosen]).transpose(0, 3, 1, 2)
        assert np.array_equal(images, expected)
        assert np.array_equal(labels, np.concatenate([kinds for _, kinds in chosen]))
        assert images.dtype == labels.dtype == np.uint8


def test_an_archive_without_a_batch(tmp_path):
    place = cifar_archive(tmp_path / "images")
    with tarfile.open(place) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    with tarfile.open(place, "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary\.tar\.gz holds no data_batch_4\.bin"):
        read_cifar10(place, "train")
    assert len(read_cifar10(place, "test")[0]) == 10


@pytest.mark.parametrize("kept", [0, 5, 700, -20_000])
def test_an_archive_that_is_cut(tmp_path, kept):
    place = cifar_archive(tmp_path / "images")
    place.write_bytes(place.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz is damaged or truncated .*; get it again"):
        read_cifar10(place, "train")


def test_an_archive_whose_batch_is_a_link_reads_nothing_else(tmp_path):
    place = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(place, "w:gz") as archive:
        link = tarfile.TarInfo("test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    with pytest.raises(FileNotFoundError, match=r"holds no test_batch\.bin"):
        read_cifar10(place, "test")


def test_a_missing_batch_is_named(tmp_path):
    cifar_binary(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_batch\.bin is missing"):
        read_cifar10(tmp_path, "test")
