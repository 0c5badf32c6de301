"""Everything that writes, as calls with an output that can be compared: what campaigns of kills repeat."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphprune import Ticket
from graphprune.cli import main
from graphprune.data import load
from graphprune.data.disk.open import open_stored
from graphprune.data.disk.write import store
from graphprune.grids import command as grids
from graphprune.report.report import write_report
from graphprune.runs import RunConfig, run_one
from tests.runs.same import assert_same_run, tensors
from tests.runs.samples import NAME, tiny_run, tiny_set


@dataclass(frozen=True)
class Command:
    """A call that writes an output.

    Attributes:
        share: of a campaign's kills.
        call: writes to a folder; returns 0 or nothing.
        same: raises AssertionError if the first output is not what the second is.
        final: a finished output is not overwritten, but refused.
    """

    share: int
    call: Callable[[Path], int | None]
    same: Callable[[Path, Path], None]
    final: bool = False


def hamp(root: Path, **options: Any) -> RunConfig:
    """A small search."""
    method = {"name": "hamp", "search": "random", "budget": 5, "members": 2, "step": 0.5, "holdout": 0.25}
    given = tiny_run(root, "dense").plain()
    return RunConfig.of(given | {"method": method | {"objectives": ["params"], **options}})


def grid(root: Path, file: Path, epochs: int = 1, **entries: Any) -> Path:
    """A grid of two cells."""
    values: dict[str, Any] = {
        "data": [{"name": NAME, "root": str(root), "features": "deg+odeg10"}],
        "models": [{"name": "gcn", "hidden": 8, "layers": 2}],
        "methods": ["random", "dense"],
        "sparsity": [{"rounds": 2, "edge_rate": 0.1}],
        "seeds": [0],
        "common": {"fit": {"epochs": epochs, "batch_size": 16, "lr": 0.01}},
        **entries,
    }
    file.write_text(yaml.safe_dump(values))
    return file


def commands(folder: Path) -> dict[str, Command]:
    """All of them, on a tiny data set and runs that are made here."""
    root, runs = tiny_set(folder / "raw"), folder / "runs"
    for method in ("icpg", "dense"):
        options = {"edge_rate": 0.2, "unit": "channel", "weight_rate": 0.4} if method == "icpg" else {}
        run_one(tiny_run(root, method, **options), runs / method)
    ticket, data = Ticket.load(runs / "icpg/round-2"), load(NAME, root=root, features="deg+odeg10")
    file, icpg, searched = grid(root, folder / "grid.yaml"), tiny_run(root, rounds=2), hamp(root)

    def run(config: RunConfig) -> Callable[[Path], int]:
        return lambda out: int(not run_one(config, out))

    def report(out: Path) -> None:
        write_report([runs], out, latex=True)

    def bench(out: Path) -> int:
        grids.write_report = _no_report  # `report` is a command of its own
        return grids.run_bench(file, out, nullcontext(ThreadPoolExecutor(1)))

    def on_ticket(command: str) -> Callable[[Path], int]:
        return lambda out: main([command, str(runs / "icpg"), "--out", str(out)])

    return {
        "ticket": Command(20, ticket.save, _same_ticket, final=True),
        "store": Command(20, lambda out: store(data, out), _same_set, final=True),
        "prune-graphs": Command(20, on_ticket("prune-graphs"), _same_files),
        "run": Command(15, run(icpg), assert_same_run),
        "hamp": Command(10, run(searched), _same_search),
        "bench": Command(7, bench, _same_grid),
        "compact": Command(4, on_ticket("compact"), _same_network),
        "report": Command(4, report, _same_report),
    }


def _no_report(*_: Any, **__: Any) -> None:
    raise ImportError("left out")


def _files(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    files = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    return {
        name: file.read_bytes() for name, file in files.items() if not file.name.startswith(".") and name not in but
    }


def _same_files(one: Path, other: Path) -> None:
    assert _files(one) == _files(other)


def _same_ticket(one: Path, other: Path) -> None:
    left, right = tensors(Ticket.load(one)), tensors(Ticket.load(other))
    assert left.keys() == right.keys() and all(value.equal(right[name]) for name, value in left.items())
    _same_files(one, other)


def _same_set(one: Path, other: Path) -> None:
    assert open_stored(one).digest() == open_stored(other).digest()
    _same_files(one, other)


def _same_network(one: Path, other: Path) -> None:
    measured = ("costs.json", "program.pt2")  # times; and a zip that holds times, which has been run before it was kept
    assert _files(one, but=measured) == _files(other, but=measured)
    assert all((one / name).stat().st_size > 100 for name in measured)


def _same_report(one: Path, other: Path) -> None:
    assert _files(one).keys() == _files(other).keys()
    for name in ("report.md", "report.html"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def _same_search(one: Path, other: Path) -> None:
    lines = [(out / "search/evaluations.jsonl").read_text().splitlines() for out in (one, other)]
    found = [[(line["point"], line["found"]["error"]) for line in map(json.loads, out[1:])] for out in lines]
    assert found[0] == found[1]
    for number in (1, 2):
        left, right = (tensors(Ticket.load(out / f"round-{number}")) for out in (one, other))
        assert all(value.equal(right[name]) for name, value in left.items())
    trained = [[json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in (one, other)]
    assert [(row["round"], row["phase"], row["epoch"], row["loss"]) for row in trained[0]] == [
        (row["round"], row["phase"], row["epoch"], row["loss"]) for row in trained[1]
    ]


def _same_grid(one: Path, other: Path) -> None:
    assert json.loads((one / "cells.json").read_text()) == json.loads((other / "cells.json").read_text())
    runs = [file.parent for file in sorted(other.rglob("results.json"))]
    assert runs
    for run in runs:
        assert_same_run(one / run.relative_to(other), run)
