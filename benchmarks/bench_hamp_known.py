"""What a memetic search needs of NSGA-II's evaluations to be as good, on known problems made integer.

python benchmarks/bench_hamp_known.py --json benchmarks/results/hamp_known.json

ZDT1, ZDT2, ZDT3 (30 genes, 2 objectives) and DTLZ2 (12 genes, 3 objectives) of pymoo, each variable on a grid of 51
values. Of every seed, NSGA-II spends the whole budget; ``share`` is the part of the budget after which a search, of the
same seed and so from the same first generation, has reached the hypervolume that NSGA-II ended with. A search that
never reaches it counts as 1, and is counted in ``missed``. The reference point is 1.1 in every objective.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pymoo
from common import parser, report
from pymoo.problems import get_problem

from graphprune.search import Archive, Evaluate, Space, memetic, nsga2, random_search

LEVELS = 50
PROBLEMS = {"zdt1": 30, "zdt2": 30, "zdt3": 30, "dtlz2": 12}
SEARCHES: dict[str, Callable[..., Archive]] = {
    "memetic": memetic,
    "memetic_without_portfolio": partial(memetic, portfolio=False),
    "memetic_without_surrogate": partial(memetic, surrogate=False),
}


def problem(name: str) -> tuple[Evaluate, Space, int]:
    """One of pymoo's problems on a grid, its space, and how many objectives it has."""
    known = get_problem(name, n_var=PROBLEMS[name])
    genes = known.n_var
    space = Space(tuple(f"x{gene + 1}" for gene in range(genes)), (0,) * genes, (LEVELS,) * genes)
    width = known.xu - known.xl
    return lambda points: known.evaluate(known.xl + width * points / LEVELS, return_values_of=["F"]), space, known.n_obj


def run(name: str, budget: int, population: int, seed: int) -> dict[str, Any]:
    """The final hypervolumes, and the share of the budget that each search needs to reach NSGA-II's."""
    evaluate, space, objectives = problem(name)
    reference = np.full(objectives, 1.1)
    settings: dict[str, Any] = {"budget": budget, "seed": seed}
    goal = nsga2(evaluate, space, population=population, **settings).hypervolume(reference)
    if goal <= 0:
        raise RuntimeError(
            f"{name}, seed {seed}: NSGA-II found nothing below the reference; it needs a larger --budget"
        )
    random = random_search(evaluate, space, **settings).hypervolume(reference)
    row: dict[str, Any] = {"seed": seed, "hypervolume": {"nsga2": goal, "random": random}, "share": {}}
    for label, search in SEARCHES.items():
        progress = search(evaluate, space, population=population, **settings).progress(reference)
        reached = np.flatnonzero(progress >= goal * (1 - 1e-9))
        row["hypervolume"][label] = float(progress[-1])
        row["share"][label] = (int(reached[0]) + 1) / budget if len(reached) else None
    return row


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--budget", type=int, default=2000, help="true evaluations of every search")
    options.add_argument("--population", type=int, default=40)
    options.add_argument("--workers", type=int, default=2, help="processes, each for one problem and seed at a time")
    args = options.parse_args()
    rows: dict[str, Any] = {"pymoo": pymoo.__version__, "numpy": np.__version__}
    seeds = range(args.seed, args.seed + args.repeats)
    jobs = [(name, args.budget, args.population, seed) for name in PROBLEMS for seed in seeds]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in PROBLEMS}
    with ProcessPoolExecutor(args.workers) as pool:
        for (name, *_), row in zip(jobs, pool.map(run, *zip(*jobs, strict=True)), strict=True):
            print(name, row, file=sys.stderr, flush=True)
            found[name].append(row)
    for name, runs in found.items():
        for label in SEARCHES:
            shares = [row["share"][label] for row in runs]
            rows[f"{name}_{label}_share"] = statistics.mean(1.0 if share is None else share for share in shares)
            rows[f"{name}_{label}_missed"] = shares.count(None)
        rows[f"{name}_runs"] = runs
    for label in SEARCHES:
        rows[f"{label}_share"] = statistics.mean(rows[f"{name}_{label}_share"] for name in PROBLEMS)
    report("hamp_known", args, rows)


if __name__ == "__main__":
    main()
