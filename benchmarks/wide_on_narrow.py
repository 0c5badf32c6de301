"""Edges found once by a narrow network, wide ones trained on what is left: total time against training on everything.

python benchmarks/wide_on_narrow.py --data COLLAB --folds 0 1 2 3 4 --json benchmarks/results/wide_on_narrow.json

A narrow GIN and a cheap predictor are trained together (GICP), graphs are pruned once, and a wide GIN is trained on
what is left; beside it the same wide network on all edges, and on as many random ones. Seconds are the CPU's, of one
thread; the narrow network and the pruning are part of the total. (As Shirzad et al., NeurIPS 2024, find attention's
edges.)
"""

from __future__ import annotations

import time
from typing import Any

import torch
from common import parser, report

import graphprune as gp
from graphprune.train import Fit


def wide(graphs: gp.data.GraphData, args: Any, seed: int) -> tuple[dict[str, float], float]:
    """A dense training: metrics and seconds."""
    torch.manual_seed(seed)
    begin = time.process_time()
    model = gp.models.GIN.for_data(graphs, hidden=args.wide, layers=args.layers, readout="sum", jk="cat", head_layers=2)
    fit = Fit(epochs=args.epochs, batch_size=args.batch, lr=args.lr, schedule="cosine", warmup=0.05, seed=seed)
    (ticket,) = gp.Dense().rounds(model, graphs, fit)
    return {split: ticket.row[f"{split}_metric"] for split in ("val", "test")}, time.process_time() - begin


def narrow(graphs: gp.data.GraphData, args: Any, seed: int) -> tuple[gp.Ticket, float]:
    """The ticket whose edges are taken, and the seconds that it took."""
    torch.manual_seed(seed)
    begin = time.process_time()
    model = gp.models.GIN.for_data(
        graphs, hidden=args.narrow, layers=args.layers, readout="sum", jk="cat", head_layers=2
    )
    predictor = gp.EdgePredictor.for_data(graphs, hidden=16, layers=1, encoder="mlp", score="bilinear")
    fit = Fit(epochs=args.narrow_epochs, batch_size=args.batch, lr=args.lr, schedule="cosine", warmup=0.05, seed=seed)
    (ticket,) = gp.GICP(predictor=predictor, densities=(args.density,), stop=0.6).rounds(model, graphs, fit)
    return ticket, time.process_time() - begin


def pruned(graphs: gp.data.GraphData, ticket: gp.Ticket) -> tuple[gp.data.GraphData, float]:
    """All splits without the ticket's edges, and the seconds that pruning took."""
    begin = time.process_time()
    splits = {split: ticket.prune(part) for split, part in graphs.splits.items()}
    return graphs.with_splits(**splits), time.process_time() - begin


def one(args: Any, fold: int) -> dict[str, Any]:
    """All three ways on one split."""
    graphs = gp.data.load(args.data, **({"fold": fold} if args.folds != [-1] else {}))
    metrics, seconds = wide(graphs, args, fold)
    ticket, searching = narrow(graphs, args, fold)
    left, pruning = pruned(graphs, ticket)
    found, training = wide(left, args, fold)
    (chance,) = gp.RandomPruning(rounds=1, edge_rate=1 - args.density, weight_rate=0, seed=fold).rounds(
        gp.models.GIN.for_data(graphs, hidden=4, layers=1), graphs, Fit(epochs=1, batch_size=args.batch, seed=fold)
    )
    by_chance, _ = wide(pruned(graphs, chance)[0], args, fold)
    return {
        "all_edges": metrics | {"seconds": seconds},
        "narrows_edges": found | {"seconds": searching + pruning + training, "training_seconds": training},
        "random_edges": by_chance,
        "narrow": {split: ticket.row[f"{split}_metric"] for split in ("val", "test")},
        "edges_left": left.train.num_edges / graphs.train.num_edges,
        "total_over_all_edges": (searching + pruning + training) / seconds,
        "training_over_all_edges": training / seconds,
    }


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--data", default="COLLAB")
    options.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="-1: the set has one split")
    options.add_argument("--wide", type=int, default=256)
    options.add_argument("--narrow", type=int, default=16)
    options.add_argument("--layers", type=int, default=3)
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--narrow-epochs", type=int, default=10)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--lr", type=float, default=3e-3)
    options.add_argument("--density", type=float, default=0.2)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    rows = {}
    for fold in args.folds:
        rows[f"fold {fold}"] = one(args, fold)
        print(fold, rows[f"fold {fold}"], flush=True)
    report("wide_on_narrow", args, rows)


if __name__ == "__main__":
    main()
