"""What cannot be saved is said at once, and a fault in the middle leaves nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.ticket import Ticket
from graphprune.ticket import folder as folder_module
from tests.ticket.samples import facts, ticket

# ---------------------------------------------------------------------- what is not saved


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"history": ({"loss": object()},)}, TypeError, r"ticket\.history\[0\]\.loss is a object"),
        ({"history": ({3: 1},)}, TypeError, r"ticket\.history\[0\] has the key 3"),
        ({"provenance": {"x": torch.zeros(2)}}, TypeError, r"ticket\.provenance\.x is a Tensor"),
        ({"provenance": {"$float": "nan"}}, TypeError, "key '\\$float'"),
        ({"row": {}}, ValueError, "ticket.row lacks 'method', lacks 'data'"),
        ({"round": -1}, ValueError, "round must not be negative"),
        ({"trained": {}}, ValueError, "trained/node_encoder.lin.weight has nothing"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        replace(ticket(), **change).save(tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_too_much_json_is_neither_saved_nor_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket().save(tmp_path / "round-1")
    monkeypatch.setattr(folder_module, "LIMIT", 1000)
    with pytest.raises(ValueError, match="bytes, more than 1,000"):
        ticket().save(tmp_path / "round-2")
    with pytest.raises(ValueError, match=r"round-1/ticket\.json: more than 1,000 bytes"):
        Ticket.load(tmp_path / "round-1")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_nothing_that_exists_is_overwritten(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "t")
    with pytest.raises(FileExistsError, match="t exists already"):
        ticket().save(tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


# ---------------------------------------------------------------------- faults while saving


def test_a_full_disk_leaves_nothing_but_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files fails in the same calls as a disk that is full."""
    ticket().save(tmp_path / "round-1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"round-2, which takes [\d,]+ bytes: .*rounds saved earlier are untouched"):
            ticket().save(tmp_path / "round-2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["round-1"]
    assert facts(Ticket.load(tmp_path / "round-1")) == facts(ticket())


@pytest.mark.parametrize("failing", ["fsync", "mkdir", "rename"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)) as caught:
        patch.setattr(os, failing, fail)
        ticket().save(tmp_path / "t")
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert "No space left on device" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"cannot write the ticket in .*file/t"):
        ticket().save(tmp_path / "file" / "t")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.ticket.samples import facts, ticket
from graphprune.ticket import Ticket

def counted(folder, last):
    "Save, and do not survive the call of a C function after the given one."
    calls = 0
    def count(frame, event, arg):
        nonlocal calls
        calls += event == "c_call"
        if calls > last:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    try:
        sample.save(folder)
    finally:
        sys.setprofile(None)
    return calls

root, sample, whole = Path(sys.argv[1]), ticket(), 0
sample.save(root / "first")  # what is done only once
total = counted(root / "counted" / "t", 1 << 30)
for last in {*range(total - 200, total, 10), *range(0, total, total // 10)}:
    folder = root / f"killed-{last}" / "t"
    child = os.fork()
    if not child:
        counted(folder, last)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (last, status)
    if folder.exists():
        whole += 1
    else:
        sample.save(folder)  # what was left behind is not in the way
    assert facts(Ticket.load(folder)) == facts(sample), last
    assert whole or os.listdir(folder.parent) == ["t"], last  # nothing is left of what died before its renaming
print(whole)
"""


def test_a_kill_leaves_a_whole_folder_or_none(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 20  # some kills came behind the renaming, most before
