"""A training step with projected masks beside the dense step and ``torch.nn.utils.prune``: GCN-128, ogbg-molhiv.

python benchmarks/bench_masked_step.py --json benchmarks/results/masked_step.json
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from common import parser, report, take_turns
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch_geometric.data import Batch

from graphprune import MaskSet, data, models
from graphprune.masks import magnitude


def step(model: nn.Module, batch: Batch) -> Callable[[], None]:
    """One Adam step on one batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run() -> None:
        loss = functional.binary_cross_entropy_with_logits(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    run.optimizer = optimizer  # type: ignore[attr-defined]
    return run


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=40)
    options.add_argument("--batch", type=int, default=512)
    options.add_argument("--density", type=float, default=0.2)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    molhiv = data.load("ogbg-molhiv")
    batch = molhiv.train.batch(torch.randperm(len(molhiv.train))[: args.batch])
    model = models.GCN.for_data(molhiv, hidden=128)
    masks = MaskSet.dense(model)
    masks = masks.tighten(magnitude(dict(model.named_parameters()), {}, masks), args.density)

    dense, masked, pruned = model, copy.deepcopy(model), copy.deepcopy(model)
    for name, mask in masks.items():
        owner, _, weight = name.rpartition(".")
        prune.custom_from_mask(pruned.get_submodule(owner), weight, mask)
    jobs = {"dense": step(dense, batch), "masked": step(masked, batch), "torch_prune": step(pruned, batch)}
    with masks.attach(masked, jobs["masked"].optimizer):  # type: ignore[attr-defined]
        seconds = take_turns(jobs, args.repeats, warmup=5)
    masks.verify(masked)
    report(
        "masked_step",
        args,
        {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
        | {f"{name}_over_dense": seconds[name] / seconds["dense"] for name in ("masked", "torch_prune")},
    )


if __name__ == "__main__":
    main()
