import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from graphprune.processes import RESTARTS, processes
from tests.grids import calls


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead, and nobody has asked for its exit code


def test_processes_answer_calls_and_hand_on_errors() -> None:
    with processes(2) as executor:
        futures = [executor.submit(calls.add, number, 1) for number in range(6)]
        lost = executor.submit(calls.fail, "reason")
        assert [future.result() for future in futures] == [1, 2, 3, 4, 5, 6]
        with pytest.raises(KeyError, match="reason"):
            lost.result()
        assert executor.submit(calls.add, 1, other=2).result() == 3


def test_a_call_whose_process_dies_runs_again_and_its_neighbours_go_on(tmp_path: Path) -> None:
    with processes(2) as executor:
        neighbour = executor.submit(calls.linger, tmp_path / "neighbour")
        assert until((tmp_path / "neighbour").exists, 60)
        survivor = executor.submit(calls.die_once, tmp_path / "mark").result()
        assert survivor not in (0, os.getpid())
        assert not neighbour.done()
        executor.shutdown(wait=False)
    assert until(lambda: gone(int((tmp_path / "neighbour").read_text())), 10)


def test_a_call_that_always_kills_its_process_is_given_up(tmp_path: Path) -> None:
    with processes(1) as executor:
        with pytest.raises(BrokenExecutor, match=rf"died {1 + RESTARTS} times.*SIGKILL"):
            executor.submit(calls.die, tmp_path / "tries").result()
        assert (tmp_path / "tries").read_text() == "x" * (1 + RESTARTS)
        assert executor.submit(calls.add, 1, 2).result() == 3


def test_a_process_that_dies_while_it_has_nothing_to_do_is_replaced() -> None:
    with processes(1) as executor:
        for wait in (0, 0.5):  # its death is noticed with the next call, or before
            process = executor.submit(os.getpid).result()
            os.kill(process, signal.SIGKILL)
            time.sleep(wait)
            assert executor.submit(calls.add, 1, 2).result() == 3


def test_an_error_inside_the_block_ends_the_processes_at_once(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(RuntimeError, match="enough"), processes(1) as executor:
        lingering = executor.submit(calls.linger, mark)
        waiting = executor.submit(calls.linger, mark)
        assert until(mark.exists, 60)
        raise RuntimeError("enough")
    assert until(lambda: gone(int(mark.read_text())), 10)
    assert waiting.cancelled()
    with pytest.raises(BrokenExecutor, match="shut down"):
        lingering.result(timeout=10)


def test_no_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="--workers must be at least 1"), processes(0):
        pass


@pytest.mark.parametrize("signals", [[signal.SIGKILL], [signal.SIGTERM], [signal.SIGINT] * 3])
def test_processes_leave_with_their_parent_and_not_by_ctrl_c(signals: list[int], tmp_path: Path) -> None:
    marks = [tmp_path / "one", tmp_path / "two"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "tests.grids.calls", *map(str, marks)]
    parent = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: all(mark.exists() and mark.read_text() for mark in marks), 90)
        children = [int(mark.read_text()) for mark in marks]
        for child in children:  # a terminal sends it to all; the parent decides
            os.kill(child, signal.SIGINT)
        assert not until(lambda: any(map(gone, children)), 0.5)
    finally:
        for number in signals:
            parent.send_signal(number)
            time.sleep(0.01)
        parent.wait(20)
    assert until(lambda: all(map(gone, children)), 5)
