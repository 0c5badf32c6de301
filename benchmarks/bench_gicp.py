"""What a curve over densities costs: GICP's one training beside ICPG's twenty rounds. NCI1, GCN of 3 x 64.

python benchmarks/bench_gicp.py --threads 1 --epochs 40 --json benchmarks/results/gicp_cost.json

ICPG trains twice a round and hands out 20 tickets; GICP trains once and hands out ten, from all of the edges down to
36 % of them, where ICPG's last one is: as long as one of ICPG's trainings, and (``gicp-longer``) 2.5 times as long. All
remove weights as well, score, prune, validate behind each epoch and measure every ticket. They take turns, so that a
drift of the machine's speed hits all; with one thread the CPU's seconds are counted. With fewer ``--epochs`` what is no
training weighs more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from common import own_time, parser, report

import graphprune as gp
from graphprune.train import Fit

DENSITIES = (1.0, 0.95, 0.86, 0.77, 0.7, 0.63, 0.57, 0.49, 0.42, 0.36)
BATCH = 128


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--root", help="folder or archive of NCI1's raw files")
    options.add_argument("--epochs", type=int, default=40, help="of each of ICPG's trainings")
    options.add_argument("--rounds", type=int, default=20)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    data = gp.data.load("NCI1", root=args.root, split_seed=0)
    assert isinstance(data, gp.data.GraphData)
    runs = {
        "icpg": _icpg(data, args.epochs, args.rounds, args.seed),
        "gicp": _gicp(data, args.epochs, args.seed),
        "gicp-longer": _gicp(data, 5 * args.epochs // 2, args.seed),
    }
    clock, seconds, epochs, tickets = (
        own_time(),
        dict.fromkeys(runs, 0.0),
        dict.fromkeys(runs, 0),
        dict.fromkeys(runs, 0),
    )
    while runs:
        for name in list(runs):
            begin = clock()
            ticket = next(runs[name], None)
            seconds[name] += clock() - begin
            if ticket is None:
                del runs[name]
                continue
            epochs[name] += ticket.row["epochs_trained"]
            tickets[name] += 1
            print(name, ticket.summary(), flush=True)
    report(
        "gicp_cost",
        args,
        {
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "epochs": epochs,
            "tickets": tickets,
            "share of the seconds": {name: round(seconds[name] / seconds["icpg"], 4) for name in seconds},
            "share of the epochs": {name: round(epochs[name] / epochs["icpg"], 4) for name in epochs},
        },
    )


def _icpg(data: gp.data.GraphData, epochs: int, rounds: int, seed: int) -> Iterator[gp.Ticket]:
    torch.manual_seed(seed)
    method = gp.ICPG(
        rounds=rounds, edge_rate=0.05, weight_rate=0.2, predictor=gp.EdgePredictor.for_data(data, hidden=64)
    )
    model = gp.models.GCN.for_data(data, hidden=64, layers=3)
    return method.rounds(model, data, Fit(epochs=epochs, batch_size=BATCH, seed=seed))


def _gicp(data: gp.data.GraphData, epochs: int, seed: int) -> Iterator[gp.Ticket]:
    torch.manual_seed(seed)
    predictor = gp.EdgePredictor.for_data(data, hidden=64, score="bilinear", walks=16)
    stop = int(0.6 * epochs * math.ceil(len(data.train) / BATCH))
    method = gp.GICP(predictor=predictor, densities=DENSITIES, stop=stop, weight_density=0.0115)
    model = gp.models.GCN.for_data(data, hidden=64, layers=3)
    return method.rounds(model, data, Fit(epochs=epochs, batch_size=BATCH, seed=seed))


if __name__ == "__main__":
    main()
