"""Runs of networks and predictors that read edge features, from their options to their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graphprune.runs import RunConfig, run_one
from graphprune.ticket import Ticket
from tests.runs.same import assert_same_run


def config(rounds: int, features: str = "deg+odeg10+edges", **options: Any) -> RunConfig:
    values = {
        "method": {"name": "icpg", "rounds": rounds, "edge_rate": 0.2},
        "data": {"name": "MUTAG", "features": features},
        "model": {"name": "gin", "hidden": 4, "layers": 1},
        "fit": {"epochs": 1, "batch_size": 64},
        "predictor": {"hidden": 4, "layers": 1, "edges": True},
    }
    return RunConfig.of({name: section | options.get(name, {}) for name, section in values.items()})


def test_a_run_is_resumed_and_its_rows_say_what_is_read(tmp_path: Path) -> None:
    rows = run_one(config(2), tmp_path / "whole")
    assert all(row["predictor.edges"] is True and row["data.features"] == "deg+odeg10+edges" for row in rows)
    run_one(config(1), tmp_path / "grown")
    run_one(config(2), tmp_path / "grown")
    assert_same_run(tmp_path / "grown", tmp_path / "whole")
    ticket = Ticket.load(tmp_path / "whole/round-2")
    assert [each.scorer.config()["edge_features"] for each in ticket.edges.rounds] == [[4], [4]]  # type: ignore[union-attr,operator]
    with pytest.raises(FileExistsError, match=r"predictor\.edges: True -> False"):
        run_one(config(3, predictor={"edges": False}), tmp_path / "whole")


def test_configurations_without_are_as_they_were() -> None:
    values = {"method": {"name": "icpg"}, "data": {"name": "MUTAG"}, "model": {"name": "gin"}}
    assert "edges" not in RunConfig.of(values).plain()["predictor"]


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        ("deg+odeg10", {}, "edges=True reads edge features"),
        ("deg+odeg10", {"predictor": {"edges": False}, "model": {"bonds": True}}, "bonds=True reads edge features"),
        ("deg+edges", {}, r"with or without \+edges"),
    ],
)
def test_what_a_data_set_does_not_have_is_refused(
    features: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run_one(config(1, features, **options), tmp_path / "run")
