"""Searches over channels at equal numbers of true evaluations, what the proxy is worth, and latencies measured again.

    python benchmarks/hamp_search.py resnet-20 --runs runs/hamp --json benchmarks/results/hamp_resnet20/results.json
    python benchmarks/hamp_search.py gin --runs runs/hamp --json benchmarks/results/hamp_gin/results.json

Each seed has one dense network and one journal of evaluations, which all searches share, so that a point has the same
error and the same latency for all of them. A killed command goes on where it was. Hypervolumes are shares of the box
between 0 and 1.1 times the dense network's latency and the error of guessing. Of the first seed's memetic search
``--members`` points become tickets: Spearman's rank correlation is that of the error of the proxy and the ticket's
validation error, over all of them and over those whose proxy is better than guessing. Each ticket is compacted and its
latency measured again; the ``noise`` is how far the median of a network, measured so many times, strays from their
median (the largest of all, as a share). Times are taken beside the dense network's, in turns (see docs/hamp.md).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, report
from scipy.stats import spearmanr

from graphprune import HAMP, Ticket, data, models
from graphprune.methods.hamp.journal import Evaluation, Record
from graphprune.methods.hamp.proxy import Meter, compacted
from graphprune.methods.hamp.searches import diverse
from graphprune.report import search as fronts
from graphprune.report.style import save
from graphprune.search import hypervolume
from graphprune.train import Fit

SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "memetic": {},
    "memetic without portfolio": {"portfolio": False},
    "memetic without surrogate": {"surrogate": False},
    "NSGA-II": {"search": "nsga2"},
    "random": {"search": "random"},
    "NetAdapt": {"search": "netadapt"},
    "uniform": {"search": "uniform"},
}
BEYOND = 1.1  # times the dense latency: where the box of the hypervolumes ends
MARKS = (15, 30, 45)  # evaluations at which hypervolumes are told, beside the last


@dataclass(frozen=True)
class Case:
    """A network on a data set.

    Attributes:
        load: makes the data.
        model: makes the network for them.
        dense: training of the dense network.
        tune: training of a ticket.
        options: of the method.
        guess: error of guessing.
    """

    load: Callable[[], Any]
    model: Callable[[Any], torch.nn.Module]
    dense: Mapping[str, Any]
    tune: Mapping[str, Any]
    options: Mapping[str, Any]
    guess: float


SGD = {"optimizer": "nesterov", "weight_decay": 5e-4}
CASES = {
    "resnet-20": Case(
        lambda: data.load("fashion-mnist", limit=4000),
        lambda found: models.ResNet20.for_data(found),
        {"epochs": 5, "lr": 0.1, "batch_size": 64, "milestones": (0.5, 0.75), **SGD},
        {"epochs": 2, "lr": 0.02, "batch_size": 64, "milestones": (0.5,), **SGD},
        {"holdout": 0.15, "batches": 2, "cost_batch": 1},
        0.9,
    ),
    "gin": Case(
        lambda: data.load("ogbg-molhiv"),
        lambda found: models.GIN.for_data(found, hidden=64, layers=3, dropout=0.2, bonds=False),
        {"epochs": 6, "lr": 3e-3, "batch_size": 256},
        {"epochs": 2, "lr": 1e-3, "batch_size": 256},
        {"holdout": 0.1, "batches": 8, "cost_batch": 256, "repeats": 30, "edge_score": "degree"},
        0.5,
    ),
}


class Phases:
    """A training for each phase."""

    def __init__(self, case: Case, seed: int) -> None:
        self._fits = {"dense": Fit(**case.dense, seed=seed), "ticket": Fit(**case.tune, seed=seed)}

    def __call__(self, job: Any) -> Any:
        return self._fits[job.phase](job)


def method_of(case: Case, options: Any, seed: int, journal: Path, **more: Any) -> HAMP:
    return HAMP(
        budget=options.budget,
        population=options.population,
        members=1,
        seed=seed,
        journal=journal,
        **{**case.options, **more},
    )


def explored(case: Case, options: Any, found: Any, seed: int) -> dict[str, Any]:
    """The searches of one seed, by name."""
    torch.manual_seed(seed)
    model, journal, searched = case.model(found), options.runs / options.case / f"seed-{seed}", {}
    for name, more in SEARCHES.items():
        begun = time.perf_counter()
        method = method_of(case, options, seed, journal, **more)
        searched[name] = method.explore(model, found, Phases(case, seed))
        print(f"seed {seed}, {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return searched


def tickets_of(case: Case, options: Any, found: Any) -> list[Ticket]:
    """Tickets of the first seed's memetic search; those that are there are read."""
    seed, folder = options.seed, options.runs / options.case / "tickets"
    torch.manual_seed(seed)
    model = case.model(found)
    method = method_of(case, options, seed, options.runs / options.case / f"seed-{seed}").replace(
        members=options.members
    )
    saved = [
        Ticket.load(folder / str(number)) for number in range(1, options.members + 1) if (folder / str(number)).exists()
    ]
    for ticket in method.rounds(model, found, Phases(case, seed), after=saved[-1] if saved else None):
        ticket.save(folder / str(ticket.round))
        print(ticket.summary(), flush=True)
        saved.append(ticket)
    return saved


def measured_again(case: Case, options: Any, found: Any, tickets: list[Ticket], searched: Any) -> list[dict[str, Any]]:
    """Each ticket's latency, again and again, in turns."""
    model, networks = case.model(found), []
    proxy, reference = searched.proxy, searched.evaluator.reference
    for ticket in tickets:
        held_out = proxy.pruned(proxy.data.val, ticket.row["point"])
        small = compacted(ticket.build(model), proxy.inputs(held_out, 8))
        networks.append((small, proxy.inputs(held_out, case.options["cost_batch"])))
    meter = Meter(("latency",), 1, case.options.get("repeats", 50))
    times = np.array([[meter(*network, reference)["latency"] for network in networks] for _ in range(options.repeats)])
    return [
        {
            "latency": float(np.median(column)),
            "noise": float(np.abs(column / np.median(column) - 1).max()),
            "in_search": ticket.row["costs_in_search"]["latency"],
            "off": float(ticket.row["costs_in_search"]["latency"] / np.median(column) - 1),
        }
        for ticket, column in zip(tickets, times.T, strict=True)
    ]


def draw(searched: Any, options: Any, folder: Path) -> None:
    """Front and channels of the first seed's memetic search."""
    names, known = ("latency",), searched.known
    every = tuple(Evaluation(point, known[point]) for point in map(tuple, searched.archive.x.tolist()))
    record = Record(searched.proxy.genes.genes, names, every)
    points = [every[place].point for place in diverse(searched.archive.f, options.members)]
    save(fronts.front(record, points), folder / "front")
    save(fronts.channels(record, points, [str(number) for number in range(1, len(points) + 1)]), folder / "channels")


def main() -> None:
    options = parser(__doc__, 7)
    options.add_argument("case", choices=CASES)
    options.add_argument("--runs", type=Path, required=True, help="folder that a killed command goes on from")
    options.add_argument("--budget", type=int, default=60)
    options.add_argument("--population", type=int, default=12)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--members", type=int, default=12)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    case = CASES[chosen.case]
    found = case.load()
    every = {seed: explored(case, chosen, found, seed) for seed in range(chosen.seed, chosen.seed + chosen.seeds)}
    result: dict[str, Any] = {"genes": list(every[chosen.seed]["memetic"].archive.space.names)}
    progress: dict[str, list[np.ndarray]] = {name: [] for name in SEARCHES}
    for seed, searched in every.items():
        dense = searched["memetic"].known[searched["memetic"].archive.space.upper]
        corner = np.array([case.guess, BEYOND * dense["latency"]])
        result[f"seed {seed}"] = {
            "dense error of the proxy": dense["error"],
            "dense validation metric": searched["memetic"].dense.row["val_metric"],
            "dense latency": dense["latency"],
            "seconds of an evaluation": float(np.mean([one["seconds"] for one in searched["memetic"].known.values()])),
            "evaluations in the journal": len(list(searched.values())[-1].known),
        }
        for name, one in searched.items():
            scaled = one.archive.f / corner
            grown = np.array([hypervolume(scaled[: size + 1], np.ones(2)) for size in range(len(scaled))])
            progress[name].append(grown)
    for name, grown in progress.items():
        marks = [*(mark for mark in MARKS if mark < chosen.budget), chosen.budget]
        result[name] = {
            "evaluations": [len(one) for one in grown],
            "hypervolume": {
                mark: {"mean": float(np.mean(at)), "seeds": [float(value) for value in at]}
                for mark in marks
                for at in [[one[min(mark, len(one)) - 1] for one in grown]]
            },
        }
        reached = [np.flatnonzero(one >= rival[-1]) for one, rival in zip(grown, progress["NSGA-II"], strict=True)]
        result[name]["evaluations to NSGA-II's last"] = [int(at[0]) + 1 if len(at) else None for at in reached]
    tickets = tickets_of(case, chosen, found)
    again = measured_again(case, chosen, found, tickets, every[chosen.seed]["memetic"])
    errors = [(one.row["proxy_error"], 1 - one.row["val_metric"], 1 - one.row["test_metric"]) for one in tickets]
    useful = [pair for pair in errors if pair[0] < 0.9 * case.guess]
    result["tickets"] = [
        {
            "proxy_error": pair[0],
            "val_error": pair[1],
            "test_error": pair[2],
            "params": one.row["costs"]["params"],
            **more,
        }
        for pair, one, more in zip(errors, tickets, again, strict=True)
    ]
    result["rank correlation"] = {
        "all": [len(errors), float(spearmanr([a for a, *_ in errors], [b for _, b, _ in errors]).statistic)],
        "better than guessing": [
            len(useful),
            float(spearmanr([a for a, *_ in useful], [b for _, b, _ in useful]).statistic) if len(useful) > 2 else None,
        ],
    }
    noise = max(one["noise"] for one in again)
    result["noise"] = noise
    result["measured again within noise"] = sum(abs(one["off"]) <= noise for one in again)
    settings = argparse.Namespace(**{name: value for name, value in vars(chosen).items() if name != "runs"})
    report(f"hamp_search {chosen.case}", settings, result)
    if chosen.json:
        folder = chosen.json.parent
        save(fronts.progress(progress), folder / "hypervolume")
        draw(every[chosen.seed]["memetic"], chosen, folder)


if __name__ == "__main__":
    main()
