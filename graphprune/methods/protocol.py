"""How a method selects and counts: the clean protocol, the published one, and anything between."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from graphprune.graphs import EdgeRule


@dataclass(frozen=True)
class Protocol:
    """How choices are made and edges are counted.

    Args:
        select: the split that selects epoch and predictor. ``"test"`` is what the ICPG authors' TU code does and leaks
            the test set: every output says so.
        rule: units, counts, budget and scoring of edges.
    """

    select: Literal["val", "test"] = "val"
    rule: EdgeRule = field(default_factory=EdgeRule)

    @property
    def label(self) -> str:
        """``clean``, ``paper``, or every switch that differs from clean."""
        if self == CLEAN:
            return "clean"
        if self == PAPER:
            return "paper (selects on test)"
        mine, clean = asdict(self), asdict(CLEAN)
        changed = {"select": mine["select"]} if mine["select"] != clean["select"] else {}
        changed |= {name: value for name, value in mine["rule"].items() if value != clean["rule"][name]}
        return ", ".join(f"{name}={value}" for name, value in changed.items())


CLEAN = Protocol()
PAPER = Protocol("test", EdgeRule(unit="arc", count="floor", budget="graph", scoring="batch"))


def protocol(value: Protocol | str) -> Protocol:
    """``"clean"``, ``"paper"`` or a protocol of one's own."""
    named = {"clean": CLEAN, "paper": PAPER}
    if isinstance(value, Protocol):
        return value
    if value not in named:
        raise ValueError(f"protocol must be 'clean', 'paper' or a Protocol, got {value!r}")
    return named[value]
