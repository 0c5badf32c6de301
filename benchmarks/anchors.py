"""The dense anchors beside their sources: what networks without any pruning reach here, and what they cost.

    make anchors                                                             # all grids, then this
    python benchmarks/anchors.py runs/anchors benchmarks/results/anchors     # of what is there, finished or not

Each benchmarks/anchors/NAME.yaml is a grid whose runs lie in runs/anchors/NAME; published.json has what its rows stand
beside. Rows and circumstances are kept in benchmarks/results/anchors/NAME, the table in anchors.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from gather import gather

from graphprune.files import below, read_json

HERE = Path(__file__).parent / "anchors"
TITLES = ("set", "network", "validation", "test", "runs", "parameters", "epochs", "CPU minutes a run", "published")


def spread(values: pd.Series) -> str:
    """Mean and sample standard deviation."""
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def cell_label(cell: str, method: str) -> str:
    """The network as its grid calls it; a control by its method, too."""
    network = cell.split("/")[1]
    return network if method == "dense" else f"{network}, {method}"


def table(results: Path, published: dict[str, Any]) -> list[list[str]]:
    """One row a set and network of each grid, as far as it has run."""
    rows = []
    for file in below(results, "rows.json"):
        frame = pd.DataFrame(read_json(file))
        frame["set"] = [cell.split("/")[0] for cell in frame["cell"]]
        frame["network"] = [
            cell_label(cell, method) for cell, method in zip(frame["cell"], frame["method"], strict=True)
        ]
        known = published.get(file.parent.name, {})
        for (name, network), found in frame.groupby(["set", "network"], sort=True):
            about = known.get(f"{name}/{network}", known.get(str(name).split(",")[0], ""))
            minutes = found["cpu_seconds"].mean() / 60 if "cpu_seconds" in found else float("nan")
            rows.append(
                [
                    *(f"{name} ({found['metric'].iloc[0]})", str(network)),
                    *(spread(found["val_metric"]), spread(found["test_metric"]), str(len(found))),
                    *(f"{int(found['params_total'].iloc[0]):,}", f"{found['epochs_trained'].mean():.0f}"),
                    *(f"{minutes:.1f}", about),
                ]
            )
    return rows


def markdown(rows: list[list[str]]) -> str:
    """The rows as a table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [list(TITLES), ["---"] * len(TITLES), *rows]]
    return "\n".join(lines) + "\n"


def main(runs: Path, out: Path) -> None:
    """Gather what has run and write the table."""
    for grid in sorted(HERE.glob("*.yaml")):
        if (runs / grid.stem / "report.md").exists():
            gather(runs / grid.stem, out / grid.stem, f"benchmarks/anchors/{grid.name}")
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    text = markdown(table(out, published))
    (out / "anchors.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
