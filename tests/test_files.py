"""Files and folders are there as a whole or not at all, and what the dead have left goes."""

import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from graphprune import files
from graphprune.files import append_json, locked, make_folder, new_file, new_folder, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is brought down to the disk, and what gets its name, in their order."""
    told: list[Any] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def noted(handle: int) -> None:
        told.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def named(how: Any) -> Any:
        def call(source: Any, target: Any, **kwargs: Any) -> None:
            told.append(("name", Path(target).name))
            how(source, target, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "rename", named(rename))
    monkeypatch.setattr(os, "replace", named(replace))
    return told


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, synced: list[Any]) -> None:
    write_text(tmp_path / "one.txt", "é\r\n")
    assert (tmp_path / "one.txt").read_bytes() == "é\r\n".encode()
    assert synced == [("sync", ".part.one.txt"), ("name", "one.txt"), ("sync", tmp_path.name)]


def test_a_folder_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, synced: list[Any]) -> None:
    with new_folder(tmp_path / "deep" / "new") as made:
        (made / "inner").mkdir()
        (made / "inner" / "a").write_text("1")
        (made / "b").write_text("2")
    assert synced[0] == ("sync", tmp_path.name)  # of the parent that was made
    assert sorted(synced[1:-2]) == [("sync", name) for name in ("a", "b", "inner", "new")]
    assert synced[-2:] == [("name", "new"), ("sync", "deep")]
    assert names(tmp_path / "deep") == ["new"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("no")])
def test_an_error_leaves_what_was_there(error: BaseException, tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", [1])
    with pytest.raises(type(error)), new_file(tmp_path / "file.json") as part:
        part.write_text("half")
        raise error
    with pytest.raises(type(error)), new_folder(tmp_path / "folder") as made:
        (made / "half").write_text("half")
        raise error
    assert names(tmp_path) == ["file.json"] and json.loads((tmp_path / "file.json").read_text()) == [1]


def test_a_new_folder_is_refused_where_anything_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "link", "."):
        with pytest.raises(FileExistsError, match=f"{name} exists already"), new_folder(Path(name)):
            pass


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    for name in (".new.0123456789abcdef.tmp", ".old.00.tmp", ".new.mine.tmp", ".newer.00.tmp"):
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "new" / "half").write_text("half")
    (tmp_path / ".part.file").write_text("half")
    with locked(tmp_path / ".newer.00.tmp" / files.LOCK):
        with new_folder(tmp_path / "new"):
            pass
        write_text(tmp_path / "file", "whole")
        assert names(tmp_path) == [".new.mine.tmp", ".newer.00.tmp", ".old.00.tmp", "file", "new"]
        files.remove_leftovers(tmp_path)
        assert names(tmp_path) == [".new.mine.tmp", ".newer.00.tmp", "file", "new"]
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".new.mine.tmp", "file", "new"]
    files.remove_leftovers(tmp_path / "nowhere")


def _hold(file: Path, ready: Any, leave: Any) -> None:
    with locked(file):
        ready.set()
        leave.wait(60)


def test_a_lock_is_held_by_one_process_and_dropped_with_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready, leave))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(BlockingIOError, match=f"another process is running in {tmp_path}"), locked(tmp_path / "lock"):
        pass
    holder.kill()
    with locked(tmp_path / "lock", wait=True):
        pass
    holder.join()


def test_lines_are_added_and_synced(tmp_path: Path, synced: list[Any]) -> None:
    append_json(tmp_path / "log", {"a": 1})
    append_json(tmp_path / "log", {"a": 2}, synced=False)
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == [{"a": 1}, {"a": 2}]
    assert synced == [("sync", "log"), ("sync", tmp_path.name)]


def test_folders_that_are_made_will_be_there(tmp_path: Path, synced: list[Any]) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert synced == [("sync", tmp_path.name), ("sync", "a")]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_what_is_written_may_be_read_by_others(tmp_path: Path) -> None:
    """As any new file may: a temporary one of the library's would be its owner's alone."""
    (tmp_path / "usual").touch()
    write_text(tmp_path / "file", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "file")]
    assert modes[0] == modes[1]
