"""Kills over all commands: at random moments, before any file operation, with and without a loss of power, of parents
and of workers; each is repeated by the same command and compared with what an undisturbed one writes.

python -m tests.campaigns.kills [--kills 1000] [--parents 20] [--seconds 3600] [--seed 0] [--only NAME ...]
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.campaigns.commands import Command, commands, grid, hamp
from tests.campaigns.counting import Counters, child, ended, options
from tests.campaigns.disk import Disk

FAULTS = ("cannot be repeated", "other content", "leftovers", "hangs", "processes left")
HOWS = ("operation", "moment", "power", "power, random")
PATIENCE = 120.0  # seconds, for what takes a few


def watched(command: Command, out: Path, kept: Path, last: int | None, told: Path | None) -> int | None:
    """The command, on a disk that is watched."""
    disk = Disk(out.parent, kept)
    disk.watch(last)
    code = command.call(out)
    if told is not None:
        told.write_text(str(disk.count))
    return code


def leftovers(folder: Path) -> list[str]:
    """Names of temporary files."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if re.search(r"\.tmp$|^\.part\.", path.name)]


class Kills:
    """A campaign in a folder."""

    def __init__(self, folder: Path, counters: Counters, only: list[str]) -> None:
        self.folder, self.counters = folder, counters
        every = commands(folder)
        self.commands = {name: every[name] for name in only or every}
        self.took: dict[str, tuple[int, float]] = {}
        for name, command in self.commands.items():
            out, told = self._place(f"whole/{name}"), folder / "count"
            for _ in range(2):  # the first imports
                shutil.rmtree(out.parent)
                out.parent.mkdir()
                started = time.monotonic()
                process = child(partial(watched, command, out, folder / "kept", None, told), folder / "log")
                code, seconds = ended(process, PATIENCE), time.monotonic() - started
                shutil.rmtree(folder / "kept")
                if code != 0:
                    raise RuntimeError(f"{name} ends with {code}: {(folder / 'log').read_text()[-2000:]}")
            self.took[name] = int(told.read_text()), seconds
            print(f"{name}: {self.took[name][0]} file operations, {seconds:.2f} s", flush=True)

    def _place(self, name: str) -> Path:
        place = self.folder / name
        place.mkdir(parents=True)
        return place / "out"

    def kill(self, number: int, rng: random.Random) -> None:
        """One kill, and the same command again."""
        name = rng.choices(list(self.commands), [command.share for command in self.commands.values()])[0]
        command, how = self.commands[name], HOWS[number % len(HOWS)]
        operations, seconds = self.took[name]
        last = rng.randrange(operations) if how != "moment" else None
        out, log = self._place(f"trial-{number}"), self.folder / f"log-{number}"
        kept = self.folder / "kept"
        what = f"{name}, {how}, trial {number}, operation {last} of {operations}"
        process = child(partial(watched, command, out, kept, last, None), log)
        if how == "moment":
            time.sleep(rng.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        code = ended(process, PATIENCE)
        self.counters.add("killed" if code == -signal.SIGKILL else "ended before")
        if how.startswith("power") and kept.exists():
            disk = Disk.__new__(Disk)
            disk.root, disk.kept = out.parent, kept
            disk.lose_power(rng if "random" in how else None)
        shutil.rmtree(kept, ignore_errors=True)
        self.again(command, out, self.folder / "whole" / name / "out", log, what)
        shutil.rmtree(out.parent)
        log.unlink()

    def again(self, command: Command, out: Path, whole: Path, log: Path, what: str) -> None:
        """The same command, which has to give what an undisturbed one gives."""
        code = ended(child(partial(command.call, out), log), PATIENCE)
        text = log.read_text(errors="replace")[-600:]
        refused = command.final and code == 70 and "exists already and is not overwritten" in text
        if code is None:
            self.counters.add("hangs", what)
        elif code != 0 and not refused:
            self.counters.add("cannot be repeated", f"{what}: ends with {code}: {text}")
        else:
            self.compared(command, out, whole, what)
        if rest := leftovers(out.parent):
            self.counters.add("leftovers", f"{what}: {rest}")

    def compared(self, command: Command, out: Path, whole: Path, what: str) -> None:
        """The outputs, in a process of their own, as reading may fail in any way."""
        log = self.folder / "differs"
        if ended(child(partial(command.same, out, whole), log), PATIENCE) == 0:
            self.counters.add("repeated")
        else:
            self.counters.add("other content", f"{what}: {log.read_text(errors='replace')[-600:]}")
        log.unlink(missing_ok=True)


# ---------------------------------------------------------------------- parents and workers


def below(process: int) -> list[int]:
    """All processes that a process has started, and those that these have."""
    found = dict[int, int]()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(entry)] = int(fields[1])
    reached = [process]
    for parent in reached:
        reached += [one for one, its in found.items() if its == parent]
    return reached[1:]


def alive(processes: list[int]) -> list[int]:
    """Those of them that run."""
    left = []
    for process in processes:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        left += [process] if state != "Z" else []
    return left


def parents(number: int, folder: Path, counters: Counters, rng: random.Random, signals: tuple[int, ...]) -> None:
    """A command with workers whose parent, or one of whose workers, dies; then the same command to its end."""
    place, name = folder / f"parent-{number}", ("hamp", "bench")[number % 2]
    place.mkdir()
    root = folder / "raw"
    if name == "hamp":
        hamp(root).save(place / "config.yaml")
        words = ["run", "--config", str(place / "config.yaml"), "--method.workers", "2", "--out", str(place / "out")]
    else:
        file = grid(root, place / "grid.yaml", epochs=8, seeds=[0, 1])
        words = ["bench", str(file), "--workers", "2", "--out", str(place / "out")]
    command = [sys.executable, "-m", "graphprune.cli", *words]
    log, how = place / "log", signals[number // 2 % len(signals)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    end, workers = time.monotonic() + PATIENCE, list[int]()
    while len(workers) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        workers = below(process.pid)
    time.sleep(rng.uniform(0, 8))
    workers = below(process.pid)
    what = f"{name}, parent ended by {signal.Signals(how).name}, trial {number}"
    if workers and rng.random() < 0.25:  # first a worker, which is replaced or costs its cell a round
        os.kill(rng.choice(workers), signal.SIGKILL)
        time.sleep(rng.uniform(0, 2))
        workers = below(process.pid)
    process.send_signal(how)
    counters.add("parents ended")
    try:
        process.wait(PATIENCE)
        until = time.monotonic() + 10
        while (left := alive(workers)) and time.monotonic() < until:
            time.sleep(0.1)
        if left:
            counters.add("processes left", f"{what}: {len(left)} of {len(workers)}")
            for one in left:
                os.kill(one, signal.SIGKILL)
        with log.open("ab") as stream:
            again = subprocess.run(command, stdout=stream, stderr=stream, timeout=2 * PATIENCE, check=False)
        if again.returncode:
            counters.add("cannot be repeated", f"{what}: {log.read_text(errors='replace')[-600:]}")
        elif rest := leftovers(place):
            counters.add("leftovers", f"{what}: {rest}")
        else:
            counters.add("repeated")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        counters.add("hangs", what)
    shutil.rmtree(place)


def main() -> int:
    """1 if anything was found."""
    given = options(__doc__, {"kills": 1000, "parents": 20}, 3600.0)  # parents: of workers, that are killed
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        counters = Counters(FAULTS, given.seconds)
        campaign = Kills(Path(folder), counters, given.only)
        for number in counters.running(given.parents):
            parents(number, Path(folder), counters, rng, (signal.SIGKILL, signal.SIGTERM))
        for number in counters.running(given.kills):
            campaign.kill(number, rng)
        return int(counters.close(given.json) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
