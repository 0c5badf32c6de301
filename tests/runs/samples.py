"""A tiny TU set on disk, configurations on it, and made-up results."""

import json
import random
from pathlib import Path
from typing import Any

from graphprune.runs import RunConfig

NAME = "TINY"


def tiny_set(folder: Path, graphs: int = 40) -> Path:
    """Random trees, every second one with a triangle planted on it (class 1); written as TU raw files."""
    rng = random.Random(0)
    arcs, owner, labels, nodes = [], [], [], 0
    for number in range(graphs):
        size = rng.randint(6, 9)
        edges = [(rng.randrange(node), node) for node in range(1, size)]
        if number % 2:
            edges += [(0, size), (size, size + 1), (0, size + 1)]
            size += 2
        arcs += [(u + nodes + 1, v + nodes + 1) for a, b in edges for u, v in ((a, b), (b, a))]
        owner += [number + 1] * size
        labels.append(number % 2)
        nodes += size
    folder.mkdir(parents=True, exist_ok=True)
    files = {"A": [f"{u}, {v}" for u, v in arcs], "graph_indicator": owner, "graph_labels": labels}
    for name, lines in files.items():
        text = "\n".join(map(str, lines)) + "\n"
        (folder / f"{NAME}_{name}.txt").write_text(text)
    return folder


def tiny_run(root: Path, method: str = "icpg", seed: int = 0, **options: Any) -> RunConfig:
    """Two quick rounds of a method on the tiny set, or one training of a baseline."""
    rounds = {} if method in ("dense", "no-edges", "small-dense") else {"rounds": 2}
    values: dict[str, Any] = {
        "method": {"name": method, **rounds, **options},
        "data": {"name": NAME, "root": str(root), "features": "deg+odeg10"},
        "model": {"name": "gcn", "hidden": 8, "layers": 2},
        "fit": {"epochs": 2, "batch_size": 16, "lr": 0.01},
        "seed": seed,
    }
    if method == "icpg":
        values["predictor"] = {"hidden": 8, "layers": 1}
    return RunConfig.of(values)


def row(method: str, number: int = 1, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A row of results that nobody computed."""
    density = {"dense": (1.0, 1.0), "no-edges": (0.0, 1.0), "imp": (1.0, 0.8**number)}.get(
        method, (0.9**number, 0.8**number)
    )
    return {
        "method": method,
        "data": "ogbg-made-up",
        "model": "GIN",
        "protocol": "clean",
        "seed": seed,
        "round": number,
        "edge_sparsity_train": 1 - density[0],
        "edge_sparsity_val": 1 - density[0],
        "edge_sparsity_test": 1 - density[0],
        "weight_sparsity": 1 - density[1],
        "params_kept": round(1000 * density[1]),
        "params_total": 1000,
        "val_metric": 0.8 - 0.01 * number + 0.001 * seed,
        "test_metric": 0.7 - 0.01 * number + 0.002 * seed,
        "metric": "rocauc",
        "epoch": 3,
        "epochs_trained": 10,
        "seconds": 2.5,
        "collapsed": [],
        **changes,
    }


def results(folder: Path, *rows: dict[str, Any]) -> Path:
    """A folder with nothing but a results file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(rows))
    return folder
