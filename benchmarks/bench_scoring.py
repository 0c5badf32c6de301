"""Scoring and pruning every graph of ogbg-molhiv beside one plain forward pass of the edge predictor over it.

python benchmarks/bench_scoring.py --json benchmarks/results/scoring.json

The pass that decides is computed in double precision (see graphprune.graphs.prune); the plain pass is the predictor as
it trains, in single precision, on the same batches. ``score_select_remove`` is what a round does, ``unseen_data_set``
counts each graph's edges first, as a ticket does for graphs that it sees for the first time.
"""

from __future__ import annotations

import torch
from common import parser, report, take_turns

from graphprune import EdgePredictor, data
from graphprune.graphs import EdgeRound, EdgeRule, PruneEdges
from graphprune.graphs.prune import keep_arcs
from graphprune.graphs.rule import in_chunks, original_units


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--hidden", type=int, default=64)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    molhiv = data.load("ogbg-molhiv")
    splits = list(molhiv.splits.values())
    predictor = EdgePredictor.for_data(molhiv, hidden=args.hidden).eval()
    rule, stage = EdgeRule(), EdgeRound(predictor, 0.05, 0.95)
    original = [original_units(graphs, rule) for graphs in splits]

    @torch.no_grad()
    def forward() -> None:
        for graphs in splits:
            for batch in in_chunks(graphs, rule):
                predictor(batch)

    def score(remove: bool = False) -> None:
        for graphs, units in zip(splits, original, strict=True):
            keep = keep_arcs(in_chunks(graphs, rule), stage, rule, units).arcs
            if remove:
                graphs.keep_edges(keep)

    jobs = {
        "forward": forward,
        "score_and_select": score,
        "score_select_remove": lambda: score(remove=True),
        "unseen_data_set": lambda: [PruneEdges([stage], rule).prune(graphs) for graphs in splits],
    }
    seconds = take_turns(jobs, args.repeats, warmup=1)
    rows = {f"{name}_s": value for name, value in seconds.items()}
    rows |= {f"{name}_over_forward": seconds[name] / seconds["forward"] for name in list(seconds)[1:]}
    report(
        "scoring", args, {"graphs": sum(map(len, splits)), "arcs": sum(graphs.num_edges for graphs in splits)} | rows
    )


if __name__ == "__main__":
    main()
