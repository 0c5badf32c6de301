"""The frame of campaigns that damage files: mutate one, read it as the package does, and say what came of it.

A subject is added with one entry, see `Subject`; tests/campaigns/tickets.py and inputs.py hold those that there are.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaigns.counting import Counters, child, options
from tests.campaigns.mutate import Mutation

FAULTS = ("accepted with other content", "raw errors", "hangs", "memory above the limit", "code run")
CLEAN = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)  # and a text
PATIENCE = 30.0  # seconds for a file of a few kilobytes
MEMORY = 512 << 20  # bytes beyond what the process has when it begins

_CODE = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "socket.connect")


@dataclass(frozen=True)
class Subject:
    """Files that are read.

    Attributes:
        make: writes the files to a folder that is there.
        read: reads them; what it returns is compared by its text, so that it has to tell all that was read.
        files: patterns of those that are damaged, each with the ways to do it.
        sealed: whether every change has to be noticed, as it has where a digest is over all of the content; what
            another's file says in plain text may be changed to something that is as good.
        same: whether the text of what was read, the second, is all right beside that of the whole.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    files: Mapping[str, Sequence[Mutation]]
    sealed: bool = False
    same: Callable[[str, str], bool] = str.__eq__


def trial(subject: Subject, whole: Path, text: str, place: Path, rng: random.Random) -> tuple[str, str]:
    """Damage a copy, and read it; what came of it, and of what."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    pattern = rng.choice(list(subject.files))
    file = rng.choice(sorted(path for path in place.rglob(pattern) if path.is_file()))
    mutation, before = rng.choice(subject.files[pattern]), file.read_bytes()
    after = mutation(before, rng)
    what = f"{file.relative_to(place)}, {mutation.__name__}"
    if after == before:
        return "unchanged", what
    file.write_bytes(after)
    try:
        found = str(subject.read(place))
    except MemoryError:
        return "memory above the limit", what
    except CLEAN as error:
        return ("refused", what) if str(error).strip() else ("raw errors", f"{what}: {error!r}")
    except Exception as error:
        kind = "memory above the limit" if "allocate" in str(error) else "raw errors"
        return kind, f"{what}: {type(error).__name__}: {str(error)[:200]}"
    if subject.same(text, found):
        return "accepted, the same content", what
    return ("accepted with other content" if subject.sealed else "accepted, as good"), what


def _many(subject: Subject, whole: Path, text: str, place: Path, told: Path, numbers: range, seed: str) -> None:
    """Trials, one after the other in this process; a line each."""
    ran: list[str] = []

    def noted(event: str, _: Any) -> None:
        if event in _CODE:
            ran.append(event)

    sys.addaudithook(noted)
    with told.open("a") as stream:
        for number in numbers:
            found, what = trial(subject, whole, text, place, random.Random(f"{seed} {number}"))
            if ran or (place / "ran").exists() or Path("ran").exists():
                found, what = "code run", f"{what}: {', '.join(ran)}"
                ran.clear()
            print(json.dumps([number, found, what]), file=stream, flush=True)


def campaign(subjects: Mapping[str, Subject], trials: int, counters: Counters, folder: Path, seed: int) -> None:
    """So many trials, or as many as there is time for, in equal parts over the subjects."""
    part = -(-trials // len(subjects))
    for name, subject in subjects.items():
        whole, told, place = folder / name / "whole", folder / name / "told", folder / name / "trial"
        whole.mkdir(parents=True)
        subject.make(whole)
        text, first = str(subject.read(whole)), 0
        assert text == str(subject.read(whole)), f"{name}: the same files are read in two ways"
        for _ in counters.running(part):
            if first >= part:
                break
            log = folder / name / "log"
            numbers = range(first, min(part, first + 250))
            call = partial(_many, subject, whole, text, place, told, numbers, f"{seed} {name}")
            told.unlink(missing_ok=True)
            process = child(call, log, MEMORY)
            code = _watched(process, told)
            lines = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
            for number, found, what in lines:
                counters.add(found, f"{name} {number}: {what}")
            first += len(lines)
            if code != 0:
                how = "hangs" if code is None else "raw errors"
                counters.add(how, f"{name} {first}: the process ended with {code}: {log.read_text()[-300:]}")
                first += 1
            log.unlink(missing_ok=True)


def _watched(process: int, told: Path) -> int | None:
    """The exit code; None: nothing came for too long."""
    size, since = 0, time.monotonic()
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if told.exists() and (now := told.stat().st_size) != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.02)


def main(subjects: Callable[[Path], Mapping[str, Subject]], about: str | None, open_faults: tuple[str, ...]) -> int:
    """1 if a fault was found that is not open yet.

    Args:
        subjects: made with the help of a folder.
        about: the script's text.
        open_faults: are counted, but known, and no reason to fail.
    """
    given = options(about, {"trials": 20_000}, 1800.0)
    counters = Counters(FAULTS, given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where a file that asks for code would leave its mark
        every = subjects(Path(folder))
        chosen = {name: every[name] for name in given.only or every}
        campaign(chosen, given.trials, counters, Path(folder) / "subjects", given.seed)
        counters.close(given.json)
    return int(any(counters.found[fault] for fault in FAULTS if fault not in open_faults))
