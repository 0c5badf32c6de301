"""What a whole ICPG search costs: every ticket trained and every epoch validated, against what was asked for only.

python benchmarks/bench_search.py --json benchmarks/results/search.json

``every`` trains the ticket of each round and validates each epoch. ``last`` trains the last round's ticket only, which
has to be the same: masks, edges and weights are compared bit for bit. ``validated`` also validates every fifth epoch
only, in searches and ticket; that may select other epochs, so its metric is told. One run after another, in as many
threads as are asked for; ``side_by_side`` is ``validated`` for two seeds in two processes of one thread each, seconds a
seed.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from common import parser, report

from graphprune import ICPG, EdgePredictor, Ticket, data, models
from graphprune.train import Fit


def search(name: str, options: dict[str, Any], fit: dict[str, Any], threads: int, seed: int) -> tuple[float, Ticket]:
    """Seconds and last ticket of a run; data, model and predictor are there before the clock starts."""
    torch.set_num_threads(threads)
    graphs = data.load(name)
    torch.manual_seed(seed)
    model = models.GIN.for_data(graphs, hidden=64)
    method = ICPG(predictor=EdgePredictor.for_data(graphs, hidden=64), seed=seed, **options)
    training = Fit(batch_size=64, seed=seed, **fit)
    training.prepare()
    begin = time.perf_counter()
    ticket = list(method.rounds(model, graphs, training))[-1]
    return time.perf_counter() - begin, ticket


def same(one: Ticket, other: Ticket) -> bool:
    """Whether two tickets keep and weigh the same."""
    states = zip(one.trained.values(), other.trained.values(), strict=True)
    scorers = [(a.scorer, b.scorer) for a, b in zip(one.edges.rounds, other.edges.rounds, strict=True)]
    weights = [(p, q) for a, b in scorers if a and b for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    return one.masks == other.masks and all(torch.equal(a, b) for a, b in (*states, *weights))


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--data", nargs="+", default=["ogbg-molbace", "PROTEINS"])
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--epochs", type=int, default=10)
    args = options.parse_args()
    rounds, fit = {"rounds": args.rounds}, {"epochs": args.epochs}
    once, rarely = rounds | {"ticket_every": args.rounds}, fit | {"validate_every": 5}
    rows: dict[str, Any] = {}
    for name in args.data:
        every, all_tickets = search(name, rounds, fit, args.threads, args.seed)
        last, one_ticket = search(name, once, fit, args.threads, args.seed)
        validated, rare = search(name, once, rarely, args.threads, args.seed)
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            list(pool.map(torch.set_num_threads, [1, 1]))  # both processes are up, and have imported torch
            begin = time.perf_counter()
            list(pool.map(partial(search, name, once, rarely, 1), (args.seed, args.seed + 1)))
            pair = time.perf_counter() - begin
        rows |= {
            f"{name}: every, s": every,
            f"{name}: last, s": last,
            f"{name}: validated, s": validated,
            f"{name}: side_by_side, s a seed": pair / 2,
            f"{name}: every over last": every / last,
            f"{name}: every over validated": every / validated,
            f"{name}: every over side_by_side": every / (pair / 2),
            f"{name}: every and last are the same ticket": same(all_tickets, one_ticket),
            f"{name}: validated has the same masks": rare.masks == one_ticket.masks,
            f"{name}: test metric of every": all_tickets.row["test_metric"],
            f"{name}: test metric of validated": rare.row["test_metric"],
        }
    report("search", args, rows)


if __name__ == "__main__":
    main()
