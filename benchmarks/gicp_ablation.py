"""What each part of GICP is worth: NCI1, one split, GCN of 3 x 64, edges only.

python benchmarks/gicp_ablation.py --runs runs/gicp-ablation --threads 1 --json benchmarks/results/gicp_ablation.json

Each arm is GICP with one thing changed; all arms of a seed start from the same network. ``val`` and ``test`` are
accuracies by density; ``gain_val`` and ``gain_test`` are the mean paired differences to GICP over the densities that
both have, over seeds, with 95 % intervals. GICP selects one epoch for all densities on validation graphs; arms that
train for each density anew (``icpg*``, ``fine-tuned``, ``lowest-42``) select for each, which favours their ``val``.

- ``additive``, ``no-walks``, ``icpg-predictor``: scores that are sums of both ends', no walks, neither
- ``norms-as-trained``: the same tickets, whose norms are not counted anew
- ``fine-tuned``: each ticket is trained for ten more epochs on its own graphs, which no other arm has
- ``gumbel``: edges are removed by chance while it trains; ``temperature-3``: flatter gradients
- ``distilled``: half of the loss is the divergence to the softened outputs (temperature 2) of a trained dense network
  whose weights are an average over its training
- ``ranked``: 0.1 times the mean entropy of the relaxed gates joins the loss, so that edges are told apart
- ``from-epoch-10``: the network starts from ten epochs of dense training, not from its initial weights
- ``warm-predictor``: the predictor starts from the one that GICP has trained
- ``lowest-42``: trained for 42 % of the edges alone, and compared there with GICP
- ``icpg``, ``icpg-knows``, ``icpg-top``: ICPG at the same densities (12 trainings), with GICP's predictor, and with
  straight-through removal while it trains
- ``dense``, ``dense-with-walks``: all edges; with the predictor's walk features beside the network's own inputs

Finished runs lie in the folder ``--runs`` and are not repeated. ``--root`` is a folder or archive of NCI1's raw files.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from common import parser, report
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import graphprune as gp
from graphprune.graphs import edge_units
from graphprune.graphs.rule import unit_sizes
from graphprune.graphs.walks import walk_features
from graphprune.methods import Dense, FitJob, FitResult
from graphprune.methods.core.edge_gates import to_share
from graphprune.methods.core.norms import recalibrate_
from graphprune.report.stats import interval
from graphprune.train import Fit, evaluate

DENSITIES = (0.75, 0.5625, 0.421875, 0.31640625, 0.2373046875, 0.177978515625)
ONE = 0.421875
BATCH, LR, TUNING = 128, 1e-3, 10
Row = dict[str, Any]
Loss = Callable[[FitJob, Any, Tensor], Tensor]


def main() -> None:
    """Run what is missing, and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--runs", required=True, help="folder of finished runs")
    options.add_argument("--root", help="folder or archive with NCI1's raw files")
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    data = gp.data.load("NCI1", root=args.root, split_seed=0)
    assert isinstance(data, gp.data.GraphData)
    found: dict[str, list[Row]] = {}
    for seed in range(args.seed, args.seed + args.repeats):
        for arm in args.arms:
            found.setdefault(arm, []).append(_run(arm, data, args.epochs, seed, Path(args.runs)))
            print(seed, arm, found[arm][-1], flush=True)
    report("gicp_ablation", args, {arm: _summary(rows, found.get("gicp", [])) for arm, rows in found.items()})


def _run(arm: str, data: gp.data.GraphData, epochs: int, seed: int, runs: Path) -> Row:
    """One arm of one seed; from its file, if it is there."""
    file = runs / f"{arm}-epochs-{epochs}-seed-{seed}.json"
    if not file.exists():
        started = time.perf_counter()
        row = ARMS[arm](data, epochs, seed, runs) | {"seconds": round(time.perf_counter() - started, 1)}
        runs.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".part").write_text(json.dumps(row))
        file.with_suffix(".part").replace(file)
    row = json.loads(file.read_text())
    assert isinstance(row, dict)
    return row


def _summary(rows: list[Row], base: list[Row]) -> Row:
    """Means, and the paired differences to GICP where both have tickets."""
    summary: Row = {"runs": len(rows), "seconds": round(fmean(row["seconds"] for row in rows), 1)}
    for split in ("val", "test"):
        summary[split] = {density: round(fmean(row[split][density] for row in rows), 4) for density in rows[0][split]}
        shared = [density for density in rows[0][split] if base and density in base[0][split]]
        if shared and rows is not base:
            pairs = zip(rows, base, strict=True)
            gain = interval(fmean(row[split][at] - other[split][at] for at in shared) for row, other in pairs)
            summary[f"gain_{split}"] = [round(value, 4) for value in (gain.mean, gain.low, gain.high)]
    return summary


# ---------------------------------------------------------------------- the arms


def _network(data: gp.data.GraphData, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = gp.models.GCN.for_data(data, hidden=64, layers=3)
    return model


def _gicp(data: gp.data.GraphData, epochs: int, seed: int, **changes: Any) -> gp.GICP:
    torch.manual_seed(1000 + seed)
    known = {"score": "bilinear", "walks": 16} | {key: changes.pop(key) for key in ("score", "walks") if key in changes}
    predictor = gp.EdgePredictor.for_data(data, hidden=64, **known)
    stop = int(0.6 * epochs * math.ceil(len(data.train) / BATCH))
    return gp.GICP(**({"predictor": predictor, "densities": DENSITIES, "stop": stop} | changes))


def _row(tickets: list[gp.Ticket], densities: tuple[float, ...] = DENSITIES) -> Row:
    return {
        split: {str(density): ticket.row[f"{split}_metric"] for density, ticket in zip(densities, tickets, strict=True)}
        for split in ("val", "test")
    }


def _plain(data: gp.data.GraphData, epochs: int, seed: int, _: Path, **changes: Any) -> Row:
    method = _gicp(data, epochs, seed, **changes)
    return _row(list(method.rounds(_network(data, seed), data, _fit(epochs, seed))), method.densities)


def _icpg(data: gp.data.GraphData, epochs: int, seed: int, _: Path, **changes: Any) -> Row:
    knows = {key: changes.pop(key) for key in ("score", "walks") if key in changes}
    torch.manual_seed(1000 + seed)
    predictor = gp.EdgePredictor.for_data(data, hidden=64, **knows)
    method = gp.ICPG(rounds=len(DENSITIES), edge_rate=0.25, weight_rate=0.0, predictor=predictor, **changes)
    return _row(list(method.rounds(_network(data, seed), data, _fit(epochs, seed))))


def _base(data: gp.data.GraphData, epochs: int, seed: int, runs: Path) -> Row:
    """GICP itself, whose tickets other arms go on from."""
    tickets = list(_gicp(data, epochs, seed).rounds(_network(data, seed), data, _fit(epochs, seed)))
    for density, ticket in zip(DENSITIES, tickets, strict=True):
        shutil.rmtree(_place(runs, epochs, seed, density), ignore_errors=True)  # of a run that was interrupted
        ticket.save(_place(runs, epochs, seed, density))
    return _row(tickets)


def _place(runs: Path, epochs: int, seed: int, density: float) -> Path:
    return runs / "tickets" / f"epochs-{epochs}-seed-{seed}-{density}"


def _tickets(data: gp.data.GraphData, epochs: int, seed: int, runs: Path) -> list[gp.Ticket]:
    _run("gicp", data, epochs, seed, runs)
    return [gp.Ticket.load(_place(runs, epochs, seed, density)) for density in DENSITIES]


def _as_trained(data: gp.data.GraphData, epochs: int, seed: int, runs: Path) -> Row:
    row: Row = {"val": {}, "test": {}}
    for density, ticket in zip(DENSITIES, _tickets(data, epochs, seed, runs), strict=True):
        model = _network(data, seed)
        model.load_state_dict(ticket.last)
        for split in ("val", "test"):
            row[split][str(density)] = evaluate(model, ticket.prune(data.splits[split]), data)
    return row


def _tuned(data: gp.data.GraphData, epochs: int, seed: int, runs: Path) -> Row:
    row: Row = {"val": {}, "test": {}}
    for density, ticket in zip(DENSITIES, _tickets(data, epochs, seed, runs), strict=True):
        model = ticket.build(_network(data, seed))
        graphs = data.with_splits(**{split: ticket.prune(part) for split, part in data.splits.items()})
        result = Fit(epochs=TUNING, batch_size=BATCH, lr=LR, seed=seed)(FitJob(model, graphs, ticket.masks))
        row["val"][str(density)], row["test"][str(density)] = result.val_metric, result.test_metric
    return row


def _from_epoch(data: gp.data.GraphData, epochs: int, seed: int, _: Path) -> Row:
    model = _network(data, seed)
    job = FitJob(model, data, gp.MaskSet.dense(model))
    model.load_state_dict(_fit(10, seed)(job).last)
    return _row(list(_gicp(data, epochs, seed).rounds(model, data, _fit(epochs, seed))))


def _warm(data: gp.data.GraphData, epochs: int, seed: int, runs: Path) -> Row:
    scorer = _tickets(data, epochs, seed, runs)[0].edges.rounds[-1].scorer
    method = _gicp(data, epochs, seed, predictor=scorer)
    return _row(list(method.rounds(_network(data, seed), data, _fit(epochs, seed))))


def _distilled(data: gp.data.GraphData, epochs: int, seed: int, _: Path) -> Row:
    teacher = _teacher(data, epochs, seed)

    def loss(_job: FitJob, batch: Any, out: Tensor) -> Tensor:
        with torch.no_grad():
            known = (teacher(batch) / 2).softmax(1)
        apart = functional.kl_div((out / 2).log_softmax(1), known, reduction="batchmean")
        return 0.5 * functional.cross_entropy(out, batch.y) + 0.5 * 4 * apart

    tickets = _gicp(data, epochs, seed).rounds(_network(data, seed), data, partial(_own_loop, epochs, seed, loss))
    return _row(list(tickets))


def _ranked(data: gp.data.GraphData, epochs: int, seed: int, _: Path) -> Row:
    def loss(job: FitJob, batch: Any, out: Tensor) -> Tensor:
        units = edge_units(batch.edge_index, int(batch.num_nodes), "pair")
        predictor = job.model.get_submodule("predictor")
        logits = to_share(units.mean(predictor(batch)), unit_sizes(units, batch), 0.5)
        undecided = functional.binary_cross_entropy_with_logits(logits, logits.sigmoid())
        return functional.cross_entropy(out, batch.y) + 0.1 * undecided

    tickets = _gicp(data, epochs, seed).rounds(_network(data, seed), data, partial(_own_loop, epochs, seed, loss))
    return _row(list(tickets))


def _dense(data: gp.data.GraphData, epochs: int, seed: int, _: Path, *, walks: bool = False) -> Row:
    if walks:
        joined = {}
        for split, graphs in data.splits.items():
            seen = torch.cat([walk_features(batch, 16) for batch in graphs.loader(256)])
            joined[split] = graphs.with_node(x=torch.cat([graphs.node["x"], seen], 1))
        data = gp.data.from_graphs(
            *([joined[split][i] for i in range(len(joined[split]))] for split in ("train", "val", "test")),
            name="NCI1-walks",
            task="multiclass",
        )
    (ticket,) = Dense().rounds(_network(data, seed), data, _fit(epochs, seed))
    return {split: {"1.0": ticket.row[f"{split}_metric"]} for split in ("val", "test")}


# ---------------------------------------------------------------------- trainings


def _fit(epochs: int, seed: int) -> Fit:
    return Fit(epochs=epochs, batch_size=BATCH, lr=LR, seed=seed)


def _teacher(data: gp.data.GraphData, epochs: int, seed: int) -> nn.Module:
    """A dense network whose weights are an exponential average over its training, norms counted anew."""
    model = _network(data, seed)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    order = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for batch in data.train.loader(BATCH, shuffle=True, generator=order):
            loss = functional.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
    teacher = copy.deepcopy(average.module).eval()
    recalibrate_(teacher, data.train.loader(BATCH))
    return teacher


def _own_loop(epochs: int, seed: int, loss_of: Loss, job: FitJob) -> FitResult:
    """A training with a loss of one's own."""
    optimizer = torch.optim.Adam(job.param_groups(lr=LR), fused=True)
    order, track = torch.Generator().manual_seed(job.seed(seed)), job.track()
    torch.manual_seed(job.seed(seed))
    with job.attach(optimizer):
        for _ in range(epochs):
            job.model.train()
            for batch in job.data.train.loader(BATCH, shuffle=True, generator=order):
                loss = loss_of(job, batch, job.model(batch))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            track.epoch(val=evaluate(job.model, job.data.val, job.data))
    return track.result()


ARMS: dict[str, Callable[[gp.data.GraphData, int, int, Path], Row]] = {
    "gicp": _base,
    "additive": partial(_plain, score="concat_mlp"),
    "no-walks": partial(_plain, walks=0),
    "icpg-predictor": partial(_plain, score="concat_mlp", walks=0),
    "norms-as-trained": _as_trained,
    "fine-tuned": _tuned,
    "gumbel": partial(_plain, edge_gates="gumbel"),
    "distilled": _distilled,
    "from-epoch-10": _from_epoch,
    "lowest-42": partial(_plain, densities=(ONE,), train_densities="lowest"),
    "warm-predictor": _warm,
    "ranked": _ranked,
    "temperature-3": partial(_plain, temperature=3.0),
    "icpg": _icpg,
    "icpg-knows": partial(_icpg, score="bilinear", walks=16),
    "icpg-top": partial(_icpg, edge_gates="top"),
    "dense": _dense,
    "dense-with-walks": partial(_dense, walks=True),
}


if __name__ == "__main__":
    main()
