"""How much of a predictor's lead is what it knows: methods where all networks know random walks, or predictors alone.

    graphprune bench benchmarks/encodings.yaml --out runs/encodings --workers 2
    python benchmarks/encodings_table.py runs/encodings benchmarks/results/encodings

Keeps rows and circumstances as gather.py does, and writes table.md: validation and test accuracy of each method, and
paired differences over the folds with 95 % intervals.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from gather import gather

from graphprune.files import read_json
from graphprune.report.stats import compare

SETS = {"NCI1": "nobody", "NCI1-walks": "everybody"}
PREDICTOR = "-predictor-walks"
# Of each pair what stands first less what stands second.
PAIRS = (
    ("GICP less ICPG, nobody reads walks", "NCI1/gicp", "NCI1/icpg"),
    ("GICP less ICPG, the predictor of GICP alone reads walks", f"NCI1/gicp{PREDICTOR}", "NCI1/icpg"),
    ("GICP less ICPG, the predictors of both read walks", f"NCI1/gicp{PREDICTOR}", f"NCI1/icpg{PREDICTOR}"),
    ("GICP less ICPG, everybody reads walks", "NCI1-walks/gicp", "NCI1-walks/icpg"),
    ("GICP whose predictor reads walks, less GICP without", f"NCI1/gicp{PREDICTOR}", "NCI1/gicp"),
    ("ICPG whose predictor reads walks, less ICPG without", f"NCI1/icpg{PREDICTOR}", "NCI1/icpg"),
    ("ICPG less random edges, nobody reads walks", "NCI1/icpg", "NCI1/random"),
    ("ICPG less random edges, everybody reads walks", "NCI1-walks/icpg", "NCI1-walks/random"),
    ("GICP whose predictor reads walks, less dense", f"NCI1/gicp{PREDICTOR}", "NCI1/dense"),
    ("GICP less dense, everybody reads walks", "NCI1-walks/gicp", "NCI1-walks/dense"),
    ("no edges less dense, nobody reads walks", "NCI1/no-edges", "NCI1/dense"),
    ("no edges less dense, everybody reads walks", "NCI1-walks/no-edges", "NCI1-walks/dense"),
)

Metrics = Mapping[str, Mapping[int, tuple[float, float]]]


def metrics(rows: Path) -> Metrics:
    """Validation and test accuracy by ``set/method`` and fold."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for row in read_json(rows):
        data, _, method, _ = row["cell"].split("/")
        found.setdefault(f"{data}/{method}", {})[row["data.fold"]] = row["val_metric"], row["test_metric"]
    return found


def lines(found: Metrics) -> Iterator[str]:
    """Both tables."""
    yield "| method | walks are read by | validation | test | folds |\n|---|---|---|---|---|"
    for cell, folds in found.items():
        data, method = cell.split("/")
        reader = "the predictor" if method.endswith(PREDICTOR) else SETS[data]
        frame = pd.DataFrame(folds.values())
        spread = [f"{frame[side].mean():.3f} ± {frame[side].std():.3f}" for side in (0, 1)]
        yield f"| {method.removesuffix(PREDICTOR)} | {reader} | {' | '.join(spread)} | {len(frame)} |"
    yield "\n| difference of test accuracy | mean | 95 % interval | verdict |\n|---|---|---|---|"
    for text, one, other in PAIRS:
        if one in found and other in found:
            tests = ({fold: test for fold, (_, test) in found[cell].items()} for cell in (one, other))
            result = compare(*tests, higher_is_better=True)
            low, high = result.difference.low, result.difference.high
            yield f"| {text} | {result.difference.mean:+.3f} | {low:+.3f} to {high:+.3f} | {result.text} |"


def main(runs: Path, out: Path) -> None:
    """Gather what has run and write the tables."""
    gather(runs, out, "benchmarks/encodings.yaml")
    text = "\n".join(lines(metrics(out / "rows.json"))) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
