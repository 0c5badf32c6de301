"""The runs of benchmarks/results as folders again, and the numbers of a report on them.

python -m tests.report.committed  # writes the numbers of all folders again, to be looked at with git diff
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphprune.report import tables as chapters
from graphprune.report.collect import collect
from graphprune.report.compare import findings
from graphprune.report.overview import overview

RESULTS = Path(__file__).parents[2] / "benchmarks/results"
REFERENCE = Path(__file__).with_name("committed.json")
# How often too few runs are told is a matter of layout.
FEW = re.compile(r"too few runs \(\d+ of at least \d+\)")
NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?")


def folders() -> list[Path]:
    """What holds runs: the rows of a grid, or a run as it was."""
    return sorted({file.parent for name in ("rows.json", "config.yaml") for file in RESULTS.rglob(name)})


def rebuilt(kept: Path, out: Path) -> Path:
    """The folders of runs that a file of rows was gathered from; what their configurations were is in their names."""
    if not (kept / "rows.json").exists():
        return kept
    cells: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads((kept / "rows.json").read_text()):
        cells.setdefault(row["cell"], []).append(row)
    for cell, rows in cells.items():
        _, model, label, seed = cell.split("/")
        label, _, sparsity = label.partition(",")
        method: dict[str, Any] = {"name": rows[0]["method"], "label": label}
        if sparsity:
            name, _, value = sparsity.partition("=")
            method[name] = float(value)
        if method["name"] == "ugs":
            method["unseen"] = rows[0]["unseen"]
        fold = re.search(r"fold-(\d+)", seed)
        data = {"name": rows[0]["data"], **({"fold": int(fold[1])} if fold else {})}
        prefix = "data.encodings."
        if told := {name.removeprefix(prefix): rows[0][name] for name in rows[0] if name.startswith(prefix)}:
            data["encodings"] = told
        config = {"method": method, "data": data, "model": {"name": model}, "seed": rows[0]["seed"]}
        (out / cell).mkdir(parents=True)
        (out / cell / "results.json").write_text(json.dumps(rows))
        (out / cell / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return out


def tables(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every table of the report on a folder, with its place in it."""
    found = [findings(group) for group in collect([folder])]
    yield from (("summary", table) for table in overview(found))
    for one in found:
        yield from (
            (one.group.title, table)
            for table in (chapters.results(one), *chapters.comparisons(one), chapters.rounds(one))
        )


def numbers(kept: Path) -> dict[str, list[str]]:
    """By place and title of a table, the numbers of its head and of each of its rows."""
    with tempfile.TemporaryDirectory() as temporary:
        return {
            f"{place}: {table.title}": [
                " ".join(NUMBER.findall(FEW.sub("", " | ".join(row)))) for row in (table.head, *table.rows)
            ]
            for place, table in tables(rebuilt(kept, Path(temporary)))
            if table.rows
        }


if __name__ == "__main__":
    found = {folder.relative_to(RESULTS).as_posix(): numbers(folder) for folder in folders()}
    REFERENCE.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
