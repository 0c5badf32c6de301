"""What is kept of a grid: all rows in one file, how they were computed, and the report in Markdown with its figures.

A row also gets ``train_loss``, the mean training loss in the last epoch of the round's ticket.

python benchmarks/gather.py runs/fair benchmarks/results/fair benchmarks/fair.yaml
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from graphprune.files import below, write_json
from graphprune.runs.entries import read_entries
from graphprune.sealed import DIGEST, seal

DATA = ("name", "digest", "graphs", "images")


def gather(runs: Path, out: Path, grid: str) -> None:
    """Write ``out/rows.json`` (a line a round), ``out/circumstances.json``, report.md and its figures."""
    lines, seen = [], {}
    for file in below(runs, "results.json"):
        found = read_entries(file)
        if not found:  # of a cell that has begun
            continue
        cell = file.parent.relative_to(runs).as_posix()
        losses = _last_losses(file.with_name("metrics.jsonl"))
        for row in found:
            line = {"cell": cell, **row, "train_loss": losses.get(row["round"])}
            lines.append(json.dumps(seal(line) if DIGEST in row else line))
        for entry in read_entries(file.with_name("provenance.json")):
            kept: dict[str, Any] = {name: entry[name] for name in ("machine", "threads", "versions")}
            kept["data"] = {name: entry["data"][name] for name in DATA if name in entry["data"]}
            seen.setdefault(json.dumps(kept, sort_keys=True), kept)
    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    write_json(out / "circumstances.json", list(seen.values()))
    report = (runs / "report.md").read_text(encoding="utf-8")
    # The commands as typed hold folders of the machine that computed, and name parts of the grid.
    report = re.sub(r"- Commands:.*\n(  - .*\n)*", f"- Commands: graphprune bench {grid}, in parts\n", report)
    report = re.sub(r"- Configurations: .*\n", "", report).replace(str(Path.home()), "~")
    (out / "report.md").write_text(report, encoding="utf-8")
    for name in re.findall(r"\]\((figures/[^)]+)\)", report):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(runs / name, out / name)


def _last_losses(metrics: Path) -> dict[int, float]:
    """By round."""
    entries = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return {entry["round"]: entry["loss"] for entry in entries if entry["phase"] == "ticket"}


if __name__ == "__main__":
    gather(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
