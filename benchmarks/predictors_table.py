"""Edge predictors of all sizes: the accuracy that their edges leave, and what scoring costs.

    graphprune bench benchmarks/predictors.yaml --out runs/predictors --workers 2
    python benchmarks/predictors_table.py runs/predictors benchmarks/results/predictors --threads 1

Keeps rows and circumstances as gather.py does, and writes table.md: the mean of each predictor over seeds or folds, its
difference to the largest one, paired, with a 95 % interval; and the seconds of scoring, selecting and collating all
training graphs over those of one forward pass of the dense network, both with random weights, in turns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from common import own_time, parser, take_turns
from gather import gather

import graphprune as gp
from graphprune.files import read_json
from graphprune.graphs import EdgeRound, EdgeRule, PruneEdges
from graphprune.report.stats import compare

GRID = Path(__file__).with_name("predictors.yaml")
LARGEST = "gcn-3x64-walks-16"
TITLES = ("set", "predictor", "validation", "test", "runs", f"validation less {LARGEST}", "scoring, forward passes")


def costs(name: str, kinds: dict[str, dict[str, Any]], model: dict[str, Any], repeats: int) -> dict[str, float]:
    """Seconds of pruning all training graphs over a dense forward pass, by predictor."""
    data = gp.data.load(name)
    assert isinstance(data, gp.data.GraphData)
    network = gp.models.GIN.for_data(data, **model).eval()

    @torch.no_grad()
    def forward() -> None:
        for batch in data.train.loader(256):
            network(batch)

    jobs: dict[str, Any] = {"forward": forward}
    for label, options in kinds.items():
        predictor = gp.EdgePredictor.for_data(data, **options).eval()
        edges = PruneEdges([EdgeRound(predictor, 0.43, 0.57)], EdgeRule())
        jobs[label] = lambda edges=edges: edges.mask(data.train)
    seconds = take_turns(jobs, repeats, warmup=1, clock=own_time())
    return {label: seconds[label] / seconds["forward"] for label in kinds}


def spread(values: pd.Series) -> str:
    """Mean and sample standard deviation."""
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


def table(rows: Path, repeats: int) -> str:
    """The rows in Markdown."""
    grid = yaml.safe_load(GRID.read_text(encoding="utf-8"))
    kinds = {each["label"]: each["predictor"] for each in grid["methods"] if isinstance(each, dict)}
    frame = pd.DataFrame(read_json(rows))
    frame[["set", "network", "label", "repetition"]] = frame["cell"].str.split("/", expand=True)
    lines = ["| " + " | ".join(TITLES) + " |", "|---" * len(TITLES) + "|"]
    for name, found in frame.groupby("set", sort=False):
        paid = costs(str(name), kinds, grid["common"]["model"], repeats)
        by_label = {label: mine.set_index("repetition") for label, mine in found.groupby("label")}
        for label in ("dense", "no-edges", *kinds):
            if label not in by_label:
                continue
            mine, less = by_label[label], ""
            if label in kinds and label != LARGEST and LARGEST in by_label:
                both = (mine["val_metric"].to_dict(), by_label[LARGEST]["val_metric"].to_dict())
                gap = compare(*both, higher_is_better=True).difference
                less = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
            cells = [str(name), label, spread(mine["val_metric"]), spread(mine["test_metric"]), str(len(mine)), less]
            lines.append("| " + " | ".join([*cells, f"{paid[label]:.2f}" if label in paid else ""]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Gather the rows and write the table."""
    options = parser(__doc__, repeats=5)
    options.add_argument("runs", type=Path)
    options.add_argument("out", type=Path)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    gather(args.runs, args.out, "benchmarks/predictors.yaml")
    text = table(args.out / "rows.json", args.repeats)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
