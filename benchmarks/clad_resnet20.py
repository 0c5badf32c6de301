"""What a learned criterion and attention distillation are worth: ResNet-20 on a part of CIFAR-10, 53 % fewer MACs.

python benchmarks/clad_resnet20.py --runs runs/clad --json benchmarks/results/clad.json

One dense network a seed is the teacher of all runs, and their start. Each criterion chooses the channels that stay,
with attention distillation and without, and the network is fine-tuned alike. ``before`` is the test accuracy of the
chosen channels with the teacher's weights and batch norms recalibrated on the training images; ``after`` that behind
the fine-tuning; ``gain`` is ``after`` less the dense network's. ``dense_again`` has all channels, and the same
fine-tuning. MACs are counted in the compacted networks. Finished runs lie in the folder ``--runs``, and are not
repeated.

The budget is short and the data are few, so that a CPU finishes: the accuracies rank ways to choose, and are far below
what the network reaches in a full training.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from common import parser, report
from torch import Tensor, nn

import graphprune as gp
from graphprune.data import ImageData
from graphprune.measure import count_macs
from graphprune.methods.clad import CLAD
from graphprune.methods.core.fit import derive_seed
from graphprune.train import Fit, evaluate

CRITERIA = ("learner", "free", "mixture", "l1", "l2", "geometric-median")
State = dict[str, Tensor]


def main() -> None:
    """Run what is missing, and report."""
    args = _options()
    torch.set_num_threads(args.threads)
    data = gp.data.load("cifar10", limit=args.images)
    assert isinstance(data, ImageData)
    data = data.with_splits(val=data.val.select(range(args.validation)), test=data.test.select(range(args.test)))
    arms = ["dense_again", *(f"{name}{at}" for name, at in itertools.product(args.criteria, ("", "+at")))]
    seeds = range(args.seed, args.seed + args.repeats)
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ("dense", *arms)}
    for seed in seeds:
        torch.manual_seed(derive_seed(seed, "model"))
        model = gp.models.ResNet20.for_data(data, hidden=args.hidden)
        dense, teacher = _dense(model, data, args, seed)
        runs["dense"].append(dense)
        for arm in arms:
            runs[arm].append(_run(arm, model, data, teacher, args, seed))
            print(seed, arm, runs[arm][-1], flush=True)
    report("clad_resnet20", args, {arm: _row(found, runs["dense"]) for arm, found in runs.items()})


def _options() -> argparse.Namespace:
    options = parser(__doc__, repeats=3)
    options.add_argument("--runs", required=True, help="folder of finished runs")
    options.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=CRITERIA)
    options.add_argument("--images", type=int, default=2000, help="to train on")
    options.add_argument("--validation", type=int, default=500, help="images that select epochs")
    options.add_argument("--test", type=int, default=4000, help="images that are reported on")
    options.add_argument("--hidden", type=int, default=16)
    options.add_argument("--target", type=float, default=0.47)
    options.add_argument("--dense-epochs", type=int, default=16)
    options.add_argument("--criterion-epochs", type=int, default=4)
    options.add_argument("--epochs", type=int, default=4, help="of fine-tuning")
    options.add_argument("--precision", default="bf16-mixed")
    return options.parse_args()


def _fit(args: argparse.Namespace, seed: int, epochs: int, lr: float) -> Fit:
    return Fit(
        epochs=epochs,
        lr=lr,
        batch_size=64,
        optimizer="nesterov",
        weight_decay=5e-4,
        milestones=(0.5, 0.75),
        precision=args.precision,
        seed=seed,
    )


def _dense(model: nn.Module, data: ImageData, args: argparse.Namespace, seed: int) -> tuple[dict[str, Any], State]:
    """The teacher: what it reaches, and its weights."""
    path = Path(args.runs) / f"{seed}-dense"
    if not path.exists():
        (ticket,) = gp.Dense(seed=seed).rounds(model, data, _fit(args, seed, args.dense_epochs, 0.1))
        ticket.save(path)
    ticket = gp.Ticket.load(path)
    return {"after": ticket.row["test_metric"], "macs": 1.0, "seconds": ticket.row["seconds"]}, ticket.trained


def _run(
    arm: str, model: nn.Module, data: ImageData, teacher: State, args: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """One run, or what it found before."""
    file = Path(args.runs) / f"{seed}-{arm}.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    fit = _fit(args, seed, args.epochs, 0.02)
    taught = copy.deepcopy(model)
    taught.load_state_dict(teacher)
    if arm == "dense_again":
        (ticket,) = gp.Dense(seed=seed).rounds(taught, data, fit)
        found = {"after": ticket.row["test_metric"], "macs": 1.0, "seconds": ticket.row["seconds"]}
    else:
        name, plus, _ = arm.partition("+")
        method = CLAD(
            target=args.target,
            criterion=name,  # type: ignore[arg-type]
            distillation=1000.0 if plus else 0.0,
            teacher=teacher,
            criterion_epochs=args.criterion_epochs,
            criterion_batch=64,
            seed=seed,
        )
        (ticket,) = method.rounds(model, data, fit)
        example = data.val.batch(range(8)).x
        small = gp.compact(ticket.build(model), example)
        ticket.masks.apply_(taught)
        found = {
            "before": _recalibrated(taught, data),
            "after": ticket.row["test_metric"],
            "macs": count_macs(small, example).total / count_macs(model, example).total,
            "channels": ticket.row["channels_kept"],
            "params": sum(parameter.numel() for parameter in small.parameters()),
            "seconds": ticket.row["seconds"],
        }
    file.write_text(json.dumps(found))
    return found


@torch.no_grad()
def _recalibrated(model: nn.Module, data: ImageData) -> float:
    """Test accuracy with batch norms' statistics of the training images."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    model.train()
    for batch in data.train.loader(250):
        model(batch.x)
    return evaluate(model, data.test, data)


def _row(found: list[dict[str, Any]], dense: list[dict[str, Any]]) -> dict[str, Any]:
    """Each run's numbers, their means, and the gain over each seed's own dense network."""
    rows: dict[str, Any] = {name: [run[name] for run in found] for name in found[0] if name != "seconds"}
    rows["gain"] = [run["after"] - own["after"] for run, own in zip(found, dense, strict=True)]
    for name in ("before", "after", "gain"):
        if name in rows:
            rows[f"{name}_mean"] = statistics.mean(rows[name])
            rows[f"{name}_std"] = statistics.stdev(rows[name]) if len(found) > 1 else 0.0
    return rows


if __name__ == "__main__":
    main()
