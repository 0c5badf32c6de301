"""Do GICP's edges serve larger graphs than it was trained on, and networks that it was not trained with? NCI1.

python benchmarks/gicp_transfer.py --runs runs/gicp-transfer --tickets runs/gicp-nci1/NCI1/gcn/gicp --threads 1 \
    --json benchmarks/results/gicp_transfer.json

``larger``: trained and selected on the smaller 60 % of all graphs (a tenth of them validates), tested on the largest
20 %. GICP beside random edges at the same densities, the dense network and the one without edges, all trained as long.

``backbone``: the predictor of GICP's tickets for 42 % of the edges, trained with a GCN (``graphprune bench
benchmarks/gicp_nci1.yaml``), prunes all graphs; a new GIN, SAGE and GCN are trained on what it leaves, on as many
random edges, and on all edges.

Accuracies are of test graphs, means over seeds; ``over_random`` is the mean paired difference to random edges with its
95 % interval. Finished runs lie in the folder ``--runs`` and are not repeated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from common import parser, report
from torch import nn

import graphprune as gp
from graphprune.graphs import EdgeRound, EdgeRule, PruneEdges, RandomEdges
from graphprune.graphs.packed import PackedGraphs
from graphprune.methods import Dense, NoEdges, Sparsifier
from graphprune.report.stats import interval
from graphprune.train import Fit

DENSITIES = (0.5625, 0.421875, 0.31640625)
MOVED, ROUND = 0.421875, 6
BACKBONES = ("gin", "sage", "gcn")
BATCH = 128
Row = dict[str, float]


def main() -> None:
    """Run what is missing, and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--runs", required=True, help="folder of finished runs")
    options.add_argument("--tickets", required=True, help="folder with seed-0/round-6 and so on")
    options.add_argument("--root", help="folder or archive of NCI1's raw files")
    options.add_argument(
        "--epochs", type=int, default=40, help="of a training in ``backbone``; in ``larger`` 2.5 times as many"
    )
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    data = gp.data.load("NCI1", root=args.root, split_seed=0)
    assert isinstance(data, gp.data.GraphData)
    found: dict[str, list[Row]] = {"larger": [], "backbone": []}
    for seed in range(args.seed, args.seed + args.repeats):
        jobs: dict[str, Callable[[], Row]] = {
            "larger": partial(_larger, data, 5 * args.epochs // 2, seed),
            "backbone": partial(_backbones, data, args.epochs, seed, Path(args.tickets)),
        }
        for part, job in jobs.items():
            found[part].append(_kept(Path(args.runs) / f"{part}-epochs-{args.epochs}-seed-{seed}.json", job))
            print(seed, part, found[part][-1], flush=True)
    report("gicp_transfer", args, {part: _summary(rows) for part, rows in found.items()})


def _kept(file: Path, job: Callable[[], Row]) -> Row:
    """What a job found, from its file if it is there."""
    if not file.exists():
        row = job()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".part").write_text(json.dumps(row))
        file.with_suffix(".part").replace(file)
    return dict(json.loads(file.read_text()))


def _summary(rows: list[Row]) -> dict[str, Any]:
    """Means, and what GICP's edges gain over random ones; keys are ``SOURCE WHERE``."""
    summary: dict[str, Any] = {key: round(fmean(row[key] for row in rows), 4) for key in rows[0]}
    for key in rows[0]:
        source, _, where = key.partition(" ")
        if source == "gicp":
            gain = interval(row[key] - row[f"random {where}"] for row in rows)
            summary[f"over_random {where}"] = [round(value, 4) for value in (gain.mean, gain.low, gain.high)]
    return summary | {"seeds": len(rows)}


# ---------------------------------------------------------------------- larger graphs


def _larger(data: gp.data.GraphData, epochs: int, seed: int) -> Row:
    data = _by_size(data, seed)
    fit = Fit(epochs=epochs, batch_size=BATCH, seed=seed)
    row = {"nodes of train": _size(data.train), "nodes of test": _size(data.test)}
    for name, method in (("dense", Dense()), ("no-edges", NoEdges())):
        (ticket,) = method.rounds(_network("gcn", data, seed), data, fit)
        row[name] = ticket.row["test_metric"]
    for density in DENSITIES:
        drawn = Sparsifier(edges="random", rounds=1, edge_rate=1 - density, weight_rate=0.0, seed=seed)
        (ticket,) = drawn.rounds(_network("gcn", data, seed), data, fit)
        row[f"random {density}"] = ticket.row["test_metric"]
    torch.manual_seed(1000 + seed)
    predictor = gp.EdgePredictor.for_data(data, hidden=64, score="bilinear", walks=16)
    stop = int(0.6 * epochs * math.ceil(len(data.train) / BATCH))
    gicp = gp.GICP(predictor=predictor, densities=DENSITIES, stop=stop)
    for ticket in gicp.rounds(_network("gcn", data, seed), data, fit):
        row[f"gicp {DENSITIES[ticket.round - 1]}"] = ticket.row["test_metric"]
    return row


def _by_size(data: gp.data.GraphData, seed: int) -> gp.data.GraphData:
    """The smaller 60 % to train and validate, the largest 20 % to test."""
    graphs = [part[i] for part in data.splits.values() for i in range(len(part))]
    graphs.sort(key=lambda graph: int(graph.num_nodes or 0))
    small, large = graphs[: len(graphs) * 3 // 5], graphs[-(len(graphs) // 5) :]
    order = torch.randperm(len(small), generator=torch.Generator().manual_seed(seed)).tolist()
    validate, train = order[: len(order) // 10], order[len(order) // 10 :]
    parts = ([small[i] for i in train], [small[i] for i in validate], large)
    return gp.data.from_graphs(*parts, name="NCI1-by-size", task="multiclass")


def _size(graphs: PackedGraphs) -> float:
    return round(float(graphs.node_count.double().mean()), 1)


# ---------------------------------------------------------------------- other networks


def _backbones(data: gp.data.GraphData, epochs: int, seed: int, tickets: Path) -> Row:
    ticket = gp.Ticket.load(tickets / f"seed-{seed}" / f"round-{ROUND}")
    drawn = PruneEdges((EdgeRound(RandomEdges(seed), 1 - MOVED, MOVED),), EdgeRule())
    kept = {
        "gicp": {split: ticket.edges.prune(part) for split, part in data.splits.items()},
        "random": {split: drawn.prune(part) for split, part in data.splits.items()},
        "full": data.splits,
    }
    edges = {source: sum(part.num_edges for part in splits.values()) for source, splits in kept.items()}
    if edges["gicp"] != edges["random"]:
        raise ValueError(
            f"{tickets} keeps {edges['gicp']:,} arcs and not {edges['random']:,}: it is of another density"
        )
    fit, row = Fit(epochs=epochs, batch_size=BATCH, seed=seed), {}
    for kind in BACKBONES:
        for source, splits in kept.items():
            (found,) = Dense().rounds(_network(kind, data, seed), data.with_splits(**splits), fit)
            row[f"{source} {kind}"] = found.row["test_metric"]
    return row


def _network(kind: str, data: gp.data.GraphData, seed: int) -> nn.Module:
    torch.manual_seed(2000 + seed)
    model: nn.Module = gp.models.MODELS[kind].for_data(data, hidden=64, layers=3)  # type: ignore[attr-defined]
    return model


if __name__ == "__main__":
    main()
