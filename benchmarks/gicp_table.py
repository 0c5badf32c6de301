"""GICP beside the other methods at equal sparsity: a table from the committed rows of their grids.

python benchmarks/gicp_table.py                  # test metrics
python benchmarks/gicp_table.py --split val      # validation metrics, by which epochs were selected

The others' rows are those of ``fair.yaml`` (third round: 39 % of the edges, 87.5 % of the weights) and ``molhiv.yaml``
(second round: 36 % and 84 %), GICP's those of ``gicp.yaml`` and ``molhiv_gicp.yaml``, on the same splits, with the same
networks and seeds. In brackets: runs. Differences are paired over the seeds or folds of both, with 95 % intervals;
fewer than five claim nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from graphprune.report.stats import compare

RESULTS = Path(__file__).parent / "results"
# Results of GICP, those of the others, and the round there that has removed as much.
GRIDS = (("gicp", "fair", 3), ("molhiv_gicp", "molhiv", 2))
RIVALS = (
    "dense",
    "no-edges",
    "icpg",
    "ugs-unseen-random",
    "random",
    "sparsifier-degree",
    "sparsifier-effective-resistance",
    "imp",
)
AT_ONCE = 1  # rounds of what removes nothing, edges or weights

Repetitions = Mapping[str, float]


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--split", choices=("val", "test"), default="test")
    split = options.parse_args().split
    print("| data | " + " | ".join(("dense, as long", "GICP", *RIVALS)) + " | GICP - dense, as long | GICP - ICPG |")
    print("|---" * (len(RIVALS) + 5) + "|")
    for own, others, last in GRIDS:
        if not (RESULTS / own).exists():
            continue
        mine, theirs = _rows(own), _rows(others)
        for data in dict.fromkeys(row["data"] for row in mine):
            print(_line(data, mine, theirs, last, f"{split}_metric"))


def _line(data: str, mine: list[dict[str, Any]], theirs: list[dict[str, Any]], last: int, metric: str) -> str:
    known = {name: _metric(theirs, data, name, AT_ONCE if name in RIVALS[:2] else last, metric) for name in RIVALS}
    level = next(row for row in theirs if (row["data"], row["method"], row["round"]) == (data, "icpg", last))
    found = {row["round"]: row["edge_sparsity_train"] for row in mine if (row["data"], row["method"]) == (data, "gicp")}
    number = min(found, key=lambda round_: abs(found[round_] - level["edge_sparsity_train"]))
    gicp, longer = _metric(mine, data, "gicp", number, metric), _metric(mine, data, "dense", AT_ONCE, metric)
    cells = [data, _mean(longer), _mean(gicp), *(_mean(known[name]) for name in RIVALS)]
    return "| " + " | ".join((*cells, _difference(gicp, longer), _difference(gicp, known["icpg"]))) + " |"


def _rows(name: str) -> list[dict[str, Any]]:
    rows = json.loads((RESULTS / name / "rows.json").read_text(encoding="utf-8"))
    return [row | {"label": row["cell"].split("/")[2], "repetition": row["cell"].split("/")[3]} for row in rows]


def _metric(rows: list[dict[str, Any]], data: str, label: str, number: int, metric: str) -> Repetitions:
    mine = [row for row in rows if (row["data"], row["label"], row["round"]) == (data, label, number)]
    return {row["repetition"]: row[metric] for row in mine}


def _mean(metrics: Repetitions) -> str:
    return f"{fmean(metrics.values()):.3f} ({len(metrics)})" if metrics else "-"


def _difference(first: Repetitions, second: Repetitions) -> str:
    found = compare(first, second, higher_is_better=True)
    interval = found.difference
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}], {found.text}"


if __name__ == "__main__":
    main()
