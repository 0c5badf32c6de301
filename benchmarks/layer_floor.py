"""What a floor for each layer is worth where global magnitude would empty one: IMP, 20 rounds, three floors.

python benchmarks/layer_floor.py --json benchmarks/results/layer_floor.json
"""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import torch
from common import parser, report

import graphprune as gp

ROUNDS, RATE = 20, 0.2
SHOWN = (8, 11, 14, 17, 20)
# None is the default; so small a share is a single weight of every layer.
FLOORS = {"none": 0.0, "one weight": 1e-9, "a tenth of the density": None}


def run(name: str, seed: int, floor: float | None) -> list[dict[str, Any]]:
    """The rows of all rounds."""
    data = gp.data.load(name)
    torch.manual_seed(seed)
    model = gp.models.GCN.for_data(data, hidden=32, layers=3)
    fit = gp.train.Fit(epochs=15, lr=3e-3, batch_size=64, seed=seed)
    imp = gp.IMP(rounds=ROUNDS, weight_rate=RATE, layer_floor=floor)
    return [ticket.row for ticket in imp.rounds(model, data, fit)]


def main() -> None:
    """Measure and report: test metrics and how many layers have lost all weights, by rounds."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--data", nargs="+", default=["MUTAG", "ogbg-molbace"])
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {}
    for name in args.data:
        for word, floor in FLOORS.items():
            runs = [run(name, seed, floor) for seed in range(args.seed, args.seed + args.repeats)]
            for number in SHOWN:
                rows = [rows[number - 1] for rows in runs]
                metrics = [row["test_metric"] for row in rows]
                key = f"{name}, floor: {word}, round {number}"
                found[f"{key}, test metric"] = mean(metrics)
                found[f"{key}, its standard deviation"] = stdev(metrics)
                found[f"{key}, layers without weights"] = sum(len(row["collapsed"]) for row in rows)
            print(name, word, "done", flush=True)
    report("layer_floor", args, found)


if __name__ == "__main__":
    main()
