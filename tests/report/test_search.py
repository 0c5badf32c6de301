"""Searches in reports of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphprune.methods.hamp import proxy, read
from graphprune.report.report import write_report
from graphprune.runs import RunConfig, run_one
from graphprune.runs.build import last_round
from tests.runs.samples import NAME, tiny_set


def config(root: Path) -> RunConfig:
    return RunConfig.of(
        {
            "method": {"name": "hamp", "budget": 10, "population": 4, "members": 2, "objectives": ["params"]}
            | {"batches": 1, "holdout": 0.3, "search": "random", "edge_score": "degree"},
            "data": {"name": NAME, "root": str(root), "features": "deg+odeg10"},
            "model": {"name": "gin", "hidden": 8, "layers": 2},
            "fit": {"epochs": 2, "batch_size": 16, "lr": 0.01},
        }
    )


def test_a_run_keeps_its_search_and_its_report_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, whole = config(tiny_set(tmp_path / "raw")), tmp_path / "whole"
    rows = run_one(options, whole)
    assert len(rows) == last_round(options) == 2
    kept = read(whole / "search")
    assert len(kept.evaluations) == 10 and [list(one.point) for one in kept.evaluations].count(rows[0]["point"]) == 1
    written = write_report([whole], tmp_path / "report")
    text = written.markdown.read_text()
    for name in ("front", "hypervolume", "channels"):
        assert f"figures/{name}.png" in text and (tmp_path / "report" / "figures" / f"{name}.pdf").exists()
    # Killed in the middle of the search it goes on to the same tickets.
    real, left = proxy.Proxy._judged, [6]

    def judged(this: proxy.Proxy, point: proxy.Point) -> object:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(this, point)

    monkeypatch.setattr(proxy.Proxy, "_judged", judged)
    with pytest.raises(KeyboardInterrupt):
        run_one(options, tmp_path / "killed")
    again = run_one(options, tmp_path / "killed")
    same = ("point", "test_metric", "val_metric", "proxy_error", "costs", "weight_sparsity", "edge_sparsity_test")
    assert [[row[name] for name in same] for row in again] == [[row[name] for name in same] for row in rows]
    assert run_one(options, tmp_path / "killed") == again
