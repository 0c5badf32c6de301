"""Folders of made-up runs with configuration and provenance, as grids leave them."""

import json
from pathlib import Path
from typing import Any

from tests.runs.samples import row

VERSIONS = {"graphprune": "1.0", "torch": "2.0"}


def cell(
    folder: Path,
    method: str,
    seed: int = 0,
    *,
    rounds: int = 1,
    tests: list[float] | None = None,
    config: dict[str, Any] | None = None,
    digest: str = "d" * 64,
    versions: dict[str, str] | None = None,
    **changes: Any,
) -> Path:
    """One run.

    Args:
        folder: where its files go.
        method: name in results and configuration.
        seed: of the run.
        rounds: how many there are.
        tests: test metric of each round.
        config: sections of the configuration that differ.
        digest: of the data.
        versions: of packages.
        changes: to each row.
    """
    rows = [row(method, number, seed, **changes) for number in range(1, rounds + 1)]
    for one, test in zip(rows, tests or [], strict=False):
        one["test_metric"] = test
    values: dict[str, Any] = {
        "method": {"name": method, "rounds": rounds},
        "data": {"name": rows[0]["data"], "root": f"/elsewhere/{seed}"},
        "model": {"name": "gin", "hidden": 8},
        "fit": {"epochs": 2},
        "seed": seed,
    }
    for section, options in (config or {}).items():
        values[section] = {**values[section], **options} if isinstance(options, dict) else options
    signed = {
        "started": f"2026-01-0{1 + seed % 9}T00:00:00+0000",
        "command": ["graphprune", "run", method],
        "threads": 1,
        "machine": {"system": "Linux", "processor": "made up", "cpus": 2, "gpu": None},
        "versions": versions or VERSIONS,
        "data": {"name": rows[0]["data"], "digest": digest},
    }
    folder.mkdir(parents=True)
    for name, content in (("results.json", rows), ("config.yaml", values), ("provenance.json", [signed])):
        (folder / name).write_text(json.dumps(content))  # JSON is YAML
    return folder


# What each method loses of the dense network's 0.8 in its last round.
LOSSES = {"dense": 0.0, "no-edges": 0.2, "small-dense": 0.03, "icpg": 0.01, "imp": 0.012, "random": 0.1}


def grid(out: Path, seeds: int = 6, rounds: int = 3, losses: dict[str, float] | None = None, **options: Any) -> Path:
    """A method a loss, all seeds; metrics fall linearly with the rounds and scatter a little, alike in all methods."""
    for method, loss in (losses or LOSSES).items():
        last = 1 if method in ("dense", "no-edges", "small-dense") else rounds
        for seed in range(seeds):
            noise = 0.02 * ((seed * 7) % 5) + 0.002 * ((seed * 3 + len(method)) % 5)
            tests = [0.8 + noise - loss * number / last for number in range(1, last + 1)]
            cell(out / method / f"seed-{seed}", method, seed, rounds=last, tests=tests, **options)
    return out


def cells(out: Path, *entries: tuple[str, str, str | None]) -> Path:
    """The list of cells that a grid leaves: name, state, error."""
    content = [{"cell": name, "folder": name, "state": state, "error": error} for name, state, error in entries]
    (out / "cells.json").write_text(json.dumps(content))
    return out


# What the cells of a joint grid of two by two rates lose.
LOST = {(0.1, 0.2): 0.0, (0.1, 0.4): 0.0, (0.3, 0.2): 0.0, (0.3, 0.4): 0.1}


def joint(out: Path, losses: dict[tuple[float, float], float]) -> Path:
    """A joint grid, by edge and weight rate what each cell loses, and its dense network."""
    for seed in range(6):
        cell(out / f"dense{seed}", "dense", seed, tests=[0.8])
        for (edge, weight), loss in losses.items():
            cell(
                out / f"{edge}-{weight}-{seed}",
                "icpg",
                seed,
                config={"method": {"edge_rate": edge, "weight_rate": weight}},
                tests=[0.8 - loss + 0.001 * (seed % 3 - 1)],
                edge_sparsity_test=edge,
                weight_sparsity=weight,
            )
    return out
