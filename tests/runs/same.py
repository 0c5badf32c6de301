"""What two runs must have in common to be the same run: everything but the time they took."""

import json
from pathlib import Path
from typing import Any

import torch

from graphprune.ticket import Ticket


def assert_same_run(one: Path, other: Path) -> None:
    """Both folders hold the same tickets, metrics and results."""
    names = sorted(folder.name for folder in one.glob("round-*"))
    assert names == sorted(folder.name for folder in other.glob("round-*"))
    for name in names:
        left, right = Ticket.load(one / name), Ticket.load(other / name)
        mine, others = tensors(left), tensors(right)
        assert mine.keys() == others.keys()
        assert all(torch.equal(value, others[key]) for key, value in mine.items()), name
        assert timeless(left.row) == timeless(right.row)
    assert [timeless(row) for row in metrics(one)] == [timeless(row) for row in metrics(other)]
    rows = [[timeless(row) for row in json.loads((out / "results.json").read_text())] for out in (one, other)]
    assert rows[0] == rows[1]


def tensors(ticket: Ticket) -> dict[str, torch.Tensor]:
    found = {f"mask {name}": mask for name, mask in ticket.masks.items()}
    for name in ("rewind", "trained", "last"):
        found |= {f"{name} {key}": value for key, value in getattr(ticket, name).items()}
    for number, stage in enumerate(ticket.edges.rounds):
        found |= {f"edges {number} {key}": value for key, value in stage.scorer.state_dict().items()}
    return found


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """Without the time that it took, and the digests, which are of that, too."""
    return {name: value for name, value in row.items() if name not in ("seconds", "cpu_seconds", "ticket", "digest")}


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
