"""Do edge scores tell motif edges from base edges? Planted-motif graphs, whose true edges are known.

python benchmarks/planted_motif.py --json benchmarks/results/planted_motif.json
python benchmarks/planted_motif.py --repeats 10 --threads 1 --json benchmarks/results/planted_motif_gates.json

The first round of ICPG trains predictor and classifier together; the area under the ROC curve of the predictor's scores
on the *full test graphs*, motif edges against all others, stands beside random scores (0.5 expected) and an untrained
predictor. Epoch and predictor are selected on validation accuracy; the true edges are never seen in training.

Each model is trained with soft and with Gumbel edge gates from the same initial weights; ``gin_auc`` is of soft gates,
``gin_gumbel_auc`` of Gumbel ones.
"""

from __future__ import annotations

import statistics
from typing import Any, get_args

import torch
from common import parser, report
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from graphprune import ICPG, EdgePredictor, data, models
from graphprune.graphs import PackedGraphs, RandomEdges, score_arcs
from graphprune.methods.icpg import EdgeGates
from graphprune.train import Fit


def auc(scorer: nn.Module, graphs: PackedGraphs) -> float:
    """Area under the ROC curve over all arcs of all graphs."""
    batch = graphs.batch(torch.arange(len(graphs)))
    truth: Tensor = batch.edge_truth
    scores = score_arcs(scorer, batch)
    # Ranks, not values: saturated logits would be tied by the metric's own sigmoid.
    ranks = scores.unique(return_inverse=True)[1].double()
    return float(binary_auroc(ranks / ranks.max().clamp(min=1), truth.long()))


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--epochs", type=int, default=15)
    options.add_argument("--edge-rate", type=float, default=0.05)
    options.add_argument("--lr", type=float, default=5e-3)
    options.add_argument("--models", nargs="+", default=["gin", "gcn", "sage"])
    options.add_argument("--edge-gates", nargs="+", choices=get_args(EdgeGates), default=["soft", "gumbel"])
    options.add_argument("--temperature", type=float, default=1.0, help="of Gumbel gates")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    motifs = data.load("planted-motif")
    assert isinstance(motifs, data.GraphData)
    found: dict[str, list[float]] = {}
    for seed in range(args.seed, args.seed + args.repeats):
        torch.manual_seed(seed)
        predictor = EdgePredictor.for_data(motifs, hidden=32)
        found.setdefault("random_auc", []).append(auc(RandomEdges(seed), motifs.test))
        found.setdefault("untrained_auc", []).append(auc(predictor, motifs.test))
        for kind in args.models:
            model = models.MODELS[kind].for_data(motifs, hidden=32, layers=3)  # type: ignore[attr-defined]
            fit = Fit(epochs=args.epochs, lr=args.lr, batch_size=64, seed=seed)
            for gates in args.edge_gates:
                icpg = ICPG(
                    rounds=1,
                    edge_rate=args.edge_rate,
                    weight_rate=0.2,
                    predictor=predictor,
                    edge_gates=gates,
                    temperature=args.temperature,
                )
                (ticket,) = icpg.rounds(model, motifs, fit)
                name = kind if gates == "soft" else f"{kind}_{gates}"
                scorer = ticket.edges.rounds[0].scorer
                assert scorer is not None
                found.setdefault(f"{name}_auc", []).append(auc(scorer, motifs.test))
                found.setdefault(f"{name}_ticket_test_accuracy", []).append(ticket.row["test_metric"])
    rows: dict[str, Any] = {"seeds": args.repeats}
    for name, values in found.items():
        rows[f"{name}_mean"] = statistics.mean(values)
        rows[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else float("nan")
    report("planted_motif", args, rows | {"by_seed": found})


if __name__ == "__main__":
    main()
