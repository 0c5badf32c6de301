"""Two functions of two inputs each: do trained gates find two pathways that share nothing?

python benchmarks/four_inputs.py --threads 1 --json benchmarks/results/four_inputs/four_inputs.json

The toy of Zhang et al., "Neural Network Pruning by Gradient Descent" (arXiv 2311.12526), as in the notebook of
github.com/3riccc/neural_pruning: inputs uniform in [-1, 1], y1 = 3 sin((x1 - x2)^2), y2 = (x3 + x4)^3, 1,000 rows train
and 1,000 test, a network 4-10-10-2 with SiLU, mean absolute error, 7,500 steps of Adam on all rows, gates of
temperature 3 on the 160 weights, biases not gated. The notebook has one learning rate, 0.01, for weights, biases and
gates of two logits, and a fixed weight of the penalty. Here gates have one logit and a learning rate of 0.03, and the
penalty is steered: the target falls to 15 % (24 weights) over the first 6,000 steps.

A seed *recovers* the functions if evaluation (which keeps every gate that is rather open than closed) has two pathways,
x1 and x2 to y1 and x3 and x4 to y2, at most 24 weights, and a mean squared error of at most 0.005 on the test rows.
Then dead ends are removed, the network is tuned with these masks (Adam, from 0.01 to 0 on a straight line), and the
verdict is given again. Biases are not counted. Pathways of the first seed that recovers and of the first that does not
are drawn beside the numbers, as the gates left them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from common import parser, report
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from graphprune.masks import MaskSet
from graphprune.masks.gates import DensityControl, GumbelGates
from graphprune.reading import Chain, draw_pathways, trace, trim_

INPUTS, OUTPUTS = ("x1", "x2", "x3", "x4"), ("y1", "y2")
WANTED = {((0, 1), (0,)), ((2, 3), (1,))}  # inputs and outputs of the two pathways
MOST_WEIGHTS, MOST_ERROR = 24, 0.005
RATE, GATE_RATE, DENSITY = 0.01, 0.03, 0.15
TRAIN, TEST = slice(1000), slice(1000, None)
SAMPLES = 100


@dataclass
class Toy:
    """Rows and a network, drawn from torch's generator."""

    x: Tensor
    y: Tensor
    net: nn.Sequential

    @classmethod
    def drawn(cls) -> Toy:
        x = torch.rand(2000, 4) * 2 - 1
        y = torch.stack([3 * torch.sin((x[:, 0] - x[:, 1]) ** 2), (x[:, 2] + x[:, 3]) ** 3], 1)
        first, second, head = nn.Linear(4, 10), nn.Linear(10, 10), nn.Linear(10, 2)
        named = {"first": first, "silu1": nn.SiLU(), "second": second, "silu2": nn.SiLU(), "head": head}
        return cls(x, y, nn.Sequential(OrderedDict(named)))

    def loss(self) -> Tensor:
        return functional.l1_loss(self.net(self.x[TRAIN]), self.y[TRAIN])

    @torch.no_grad()
    def errors(self) -> list[float]:
        """Mean squared error of each output on the test rows, in the network's present mode."""
        return (self.net(self.x[TEST]) - self.y[TEST]).square().mean(0).tolist()  # type: ignore[no-any-return]

    def gated(self, steps: int) -> tuple[MaskSet, float]:
        """Train with gates, and write what evaluation keeps into the network; also the mean error of sampled gates."""
        control = DensityControl(steps=round(0.8 * steps), power=1.5)
        gates = GumbelGates(self.net, density=DENSITY, control=control, empty="keep-one")
        groups: list[dict[str, Any]] = [{"params": self.net.parameters()}]
        optimizer = Adam([*groups, {"params": gates.parameters(), "lr": GATE_RATE}], lr=RATE)
        with gates.attach(self.net):
            for _ in range(steps):
                loss = self.loss() + gates.penalty()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            sampled = mean(mean(self.errors()) for _ in range(SAMPLES))
        masks = gates.harden()
        gates.apply_(self.net.eval())
        return masks, sampled

    def tune(self, masks: MaskSet, steps: int) -> None:
        """Train what is left; the learning rate falls to 0 on a straight line."""
        optimizer = Adam(self.net.parameters(), lr=RATE)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        with masks.attach(self.net, optimizer):
            for _ in range(steps):
                loss = self.loss()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()


def verdict(chain: Chain, kept: int, error: float) -> bool:
    """Whether both functions are recovered."""
    pathways = {(pathway.inputs, pathway.outputs) for pathway in chain.pathways()}
    return pathways == WANTED and kept <= MOST_WEIGHTS and error <= MOST_ERROR


def measured(seed: int, steps: int, tune_steps: int) -> tuple[dict[str, Any], Chain, dict[str, Tensor]]:
    """One seed: its numbers, and the chain and weights that gates leave."""
    torch.manual_seed(seed)
    toy = Toy.drawn()
    masks, sampled = toy.gated(steps)
    chain, errors = trace(toy.net, masks, toy.x), toy.errors()
    weights = {name: value.clone() for name, value in toy.net.state_dict().items()}
    counts = chain.path_counts()
    before = toy.net(toy.x).detach()
    live = trim_(toy.net, masks, toy.x)
    moved = float((toy.net(toy.x).detach() - before).abs().max())
    toy.tune(live, tune_steps)
    tuned = toy.errors()
    row = {
        "weights": masks.kept,
        "live_weights": live.kept,
        "pathways": [
            {
                "inputs": [INPUTS[unit] for unit in pathway.inputs],
                "outputs": [OUTPUTS[unit] for unit in pathway.outputs],
                "weights": pathway.weights,
            }
            for pathway in chain.pathways()
        ],
        "paths": int(counts.sum()),
        "cross_paths": int(counts[0, 2:].sum() + counts[1, :2].sum()),
        "mse": mean(errors),
        "mse_of_outputs": errors,
        "mse_sampled_gates": sampled,
        "recovered": verdict(chain, masks.kept, mean(errors)),
        "output_change_by_trimming": moved,
        "mse_tuned": mean(tuned),
        "mse_of_outputs_tuned": tuned,
        "recovered_tuned": verdict(chain, live.kept, mean(tuned)),
    }
    return row, chain, weights


def main() -> None:
    """Measure, draw and report."""
    options = parser(__doc__, repeats=8)
    options.add_argument("--steps", type=int, default=7500)
    options.add_argument("--tune-steps", type=int, default=2000)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    seeds = range(args.seed, args.seed + args.repeats)
    found = {seed: measured(seed, args.steps, args.tune_steps) for seed in seeds}
    rows = {seed: row for seed, (row, _, _) in found.items()}
    drawn: dict[str, int] = {}
    for seed, row in rows.items():
        drawn.setdefault("recovered" if row["recovered"] else "failed", seed)
    report(
        "four_inputs",
        args,
        {f"seed_{seed}": row for seed, row in rows.items()}
        | {f"{name}_seeds": sum(row[name] for row in rows.values()) for name in ("recovered", "recovered_tuned")}
        | {"seeds_without_cross_paths": sum(not row["cross_paths"] for row in rows.values())}
        | {f"{name}_drawn_seed": seed for name, seed in drawn.items()},
    )
    if args.json:
        for name, seed in drawn.items():
            _, chain, weights = found[seed]
            picture = draw_pathways(chain, weights, inputs=INPUTS, outputs=OUTPUTS)
            picture.savefig(args.json.with_name(f"{name}.png"), dpi=150)


if __name__ == "__main__":
    main()
