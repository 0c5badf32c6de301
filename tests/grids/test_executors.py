import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphprune.grids.executors import dask


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("tcp://127.0.0.1:9", "Timed out trying to connect"),
        ("nonsense", "missing port number"),
        ("smoke://127.0.0.1:9", "unknown address scheme"),
    ],
)
def test_a_scheduler_that_cannot_be_reached_is_named(address: str, reason: str, tmp_path: Path) -> None:
    program = (
        "import sys, time; from graphprune.grids.executors import dask; started = time.monotonic()\n"
        "try:\n    with dask(sys.argv[1], timeout=1): pass\n"
        "except ConnectionError as error:\n    print(error)\n"
        "assert time.monotonic() - started < 20"
    )
    environment = os.environ | {"DASK_CONFIG": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, address], capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert f"no Dask scheduler to be reached at {address!r}" in done.stdout
    assert reason in done.stdout
    assert "dask worker ADDRESS" in done.stdout


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"graphprune\[dask\]"), dask("tcp://127.0.0.1:9"):
        pass
