"""What digests of JSON documents cost: of loading a ticket, and of a run.

python benchmarks/bench_digests.py --threads 1 --json benchmarks/results/digests.json

Tickets of MUTAG with and without an edge predictor, of short and long trainings, are loaded in turns as they are and by
the same reader without looking at digests and doubled keys. In a run (ICPG, small and quick on purpose) the seconds
within functions of digests are added up and compared with those of the whole, without its imports.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from common import parser, report, take_turns

from graphprune import ICPG, IMP, EdgePredictor, Ticket, data, models
from graphprune.runs import RunConfig, entries, run_one
from graphprune.runs import folder as run_folder
from graphprune.ticket import folder, plain
from graphprune.train import Fit

cpu = time.process_time


def old_head(file: Path, kind: str = "ticket") -> dict[str, Any]:
    """As documents were read before."""
    text = json.loads(file.read_bytes(), object_hook=plain._decode, parse_constant=plain._refuse)
    head = plain.require(text, dict, "the document")
    return plain.require_fields(head, {**folder._HEAD, kind: dict, "digest": str}, "document")


def loading(place: Path, repeats: int) -> dict[str, float]:
    """Seconds for each ticket, as it is and without digests."""
    graphs = data.load("MUTAG")
    jobs: dict[str, Callable[[], object]] = {}
    for method in ("icpg", "imp"):
        for epochs in (5, 100):
            torch.manual_seed(0)
            model = models.GIN.for_data(graphs, hidden=32, layers=3)
            options = {"predictor": EdgePredictor.for_data(graphs, hidden=32)} if method == "icpg" else {}
            (ticket,) = (ICPG if method == "icpg" else IMP)(rounds=1, **options).rounds(
                model, graphs, Fit(epochs=epochs, batch_size=169, seed=0)
            )
            out = place / f"{method}-{epochs}"
            ticket.save(out)

            def before(out: Path = out) -> None:
                with patch.object(folder, "head", old_head):
                    Ticket.load(out)

            jobs |= {f"load {out.name}": lambda out=out: Ticket.load(out), f"load {out.name}; without": before}
    return take_turns(jobs, repeats, clock=cpu)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """The seconds within the functions of digests, added up."""
    found = {"seconds": 0.0, "calls": 0}

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            begin = cpu()
            try:
                return function(*args)
            finally:
                found["seconds"] += cpu() - begin
                found["calls"] += 1

        return call

    places = [
        (folder, "seal"),
        (folder, "check_seal"),
        (plain, "read"),
        (run_folder, "seal"),
        (entries, "check_seal"),
    ]
    patches = [patch.object(module, name, counting(getattr(module, name))) for module, name in places]
    for each in patches:
        each.start()
    try:
        yield found
    finally:
        for each in patches:
            each.stop()


def run(place: Path) -> dict[str, float]:
    """A run of many documents for little training: 5 rounds of 2 trainings of 20 epochs."""
    config = RunConfig.of(
        {
            "method": {"name": "icpg", "rounds": 5},
            "data": {"name": "MUTAG"},
            "model": {"name": "gin", "hidden": 16, "layers": 2},
            "fit": {"epochs": 20, "batch_size": 64, "lr": 0.01},
            "predictor": {"hidden": 16, "layers": 1},
            "seed": 0,
        }
    )
    run_one(config, place / "warm")
    with timed() as found:
        begin = cpu()
        run_one(config, place / "run")
        whole = cpu() - begin
    return {"run": whole, "run, digests": found["seconds"], "run, calls": found["calls"]}


def main() -> None:
    """Measure, print and save."""
    args = parser(__doc__, repeats=200).parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        seconds = loading(Path(temporary), args.repeats) | run(Path(temporary))
    rows: dict[str, Any] = {f"seconds: {name}": value for name, value in seconds.items()}
    rows |= {
        f"ratio: {name}": seconds[name] / seconds[f"{name}; without"]
        for name in seconds
        if name.startswith("load") and "without" not in name
    }
    rows["share of the run"] = seconds["run, digests"] / seconds["run"]
    report("digests", args, rows)


if __name__ == "__main__":
    main()
