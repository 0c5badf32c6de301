"""What a floor for each layer is worth where global magnitude would empty one: IMP by weights and by channels.

python benchmarks/layer_floor.py --json benchmarks/results/layer_floor.json
"""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from common import parser, report

import graphprune as gp

# None is the default; so small a share is a single unit of every layer.
FLOORS = {"none": 0.0, "one unit": 1e-9, "a tenth of the density": None}


class Setting(NamedTuple):
    """A network, and how it is pruned."""

    model: Any
    unit: Any
    rate: float
    rounds: int
    shown: tuple[int, ...]


SETTINGS = {
    "weights of a GCN": Setting(gp.models.GCN, "weight", 0.2, 20, (8, 11, 14, 17, 20)),
    "coupled channels of a GAT": Setting(gp.models.GAT, "coupled", 0.4, 4, (1, 2, 3, 4)),
}


def run(name: str, setting: Setting, seed: int, floor: float | None) -> list[dict[str, Any]]:
    """The rows of all rounds."""
    data = gp.data.load(name)
    torch.manual_seed(seed)
    model = setting.model.for_data(data, hidden=32, layers=3)
    fit = gp.train.Fit(epochs=15, lr=3e-3, batch_size=64, seed=seed)
    imp = gp.IMP(rounds=setting.rounds, weight_rate=setting.rate, unit=setting.unit, layer_floor=floor)
    return [ticket.row for ticket in imp.rounds(model, data, fit)]


def main() -> None:
    """Measure and report: test metrics and how many layers have lost all weights, by rounds."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--data", nargs="+", default=["MUTAG", "ogbg-molbace"])
    options.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {}
    for name in args.data:
        for what in args.settings:
            for word, floor in FLOORS.items():
                runs = [run(name, SETTINGS[what], seed, floor) for seed in range(args.seed, args.seed + args.repeats)]
                for number in SETTINGS[what].shown:
                    rows = [rows[number - 1] for rows in runs]
                    metrics = [row["test_metric"] for row in rows]
                    key = f"{name}, {what}, floor: {word}, round {number}"
                    found[f"{key}, test metric"] = mean(metrics)
                    found[f"{key}, its standard deviation"] = stdev(metrics)
                    found[f"{key}, weight sparsity"] = mean(row["weight_sparsity"] for row in rows)
                    found[f"{key}, layers without weights"] = sum(len(row["collapsed"]) for row in rows)
                print(name, what, word, "done", flush=True)
    report("layer_floor", args, found)


if __name__ == "__main__":
    main()
