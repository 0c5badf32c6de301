"""Names of folders that are no text, or that a terminal cannot show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", [b"gr\xfcn", b"x\xff", "grün".encode(), b"\xf0\x9f\x8c\xb3"[:3], "日".encode()])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_folders_that_a_terminal_cannot_show(name: bytes, encoding: str, tmp_path: Path) -> None:
    """What is not UTF-8 is refused before anything is written, what is works though the terminal cannot show it."""
    words = [
        "run",
        "dense",
        "--data",
        "MUTAG",
        "--hidden",
        "2",
        "--layers",
        "1",
        "--epochs",
        "1",
        "--batch-size",
        "999",
    ]
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "graphprune.cli", *words, "--out", name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=200)
    try:
        name.decode()
    except UnicodeDecodeError:
        assert done.returncode == 2 and b"is not UTF-8 text: rename the file" in done.stderr, done.stderr
        assert not list(tmp_path.iterdir())
    else:
        assert done.returncode == 0 and b"results: " in done.stdout, done.stderr
        assert (tmp_path / name.decode() / "results.json").is_file()


def test_a_locale_without_utf_8_is_told(tmp_path: Path) -> None:
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "graphprune.cli", "report", "grün".encode()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=200)
    assert done.returncode == 2 and b"set PYTHONUTF8=1 in the environment" in done.stderr
