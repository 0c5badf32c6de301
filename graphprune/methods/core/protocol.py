"""How a method selects and counts: the clean protocol, the published one, and anything between."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from graphprune.data import GraphData
from graphprune.data.labelled import LabelledData
from graphprune.graphs import EdgeRule


@dataclass(frozen=True)
class Protocol:
    """How choices are made and edges are counted.

    Args:
        select: the split that selects epoch and predictor. ``"test"`` is what the ICPG authors' TU code does and leaks
            the test set: every output says so. Validation graphs that were only held out of the training graphs, as of
            the TU sets' folds, train then: see :meth:`splits`.
        rule: units, counts, budget and scoring of edges.
        pruned: pruned edges of the training graphs are ``"removed"``, or ``"gated"``: they stay in the graph with a
            gate of 0, as in the code of UGS, whose GAT and GIN still count them. Only UGS can do that.

    Raises:
        ValueError: a word that is none of these.
    """

    select: Literal["val", "test"] = "val"
    rule: EdgeRule = field(default_factory=EdgeRule)
    pruned: Literal["removed", "gated"] = "removed"

    def __post_init__(self) -> None:
        for name, words in (("select", ("val", "test")), ("pruned", ("removed", "gated"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {words}, got {getattr(self, name)!r}")

    @staticmethod
    def parts(name: str) -> list[str]:
        """Full names of what a protocol of this name is made of, such as ``name.rule.unit``."""
        return [
            *(f"{name}.{part.name}" for part in fields(Protocol)),
            *(f"{name}.rule.{part.name}" for part in fields(EdgeRule)),
        ]

    def splits(self, data: LabelledData[Any]) -> LabelledData[Any]:
        """The data as the protocol splits them: see :meth:`graphprune.data.GraphData.without_val`."""
        return data.without_val() if self.select == "test" and isinstance(data, GraphData) else data

    def config(self) -> dict[str, Any]:
        """Plain data that it can be made from; see :meth:`graphprune.EdgeRule.config`."""
        return asdict(self) | {"rule": self.rule.config()}

    @property
    def label(self) -> str:
        """``clean``, ``paper``, or every switch that differs from clean."""
        for named, label in ((CLEAN, "clean"), (PAPER, "paper (selects on test)"), (UGS_PAPER, "paper (edges gated)")):
            if self == named:
                return label
        mine, clean = self.config(), CLEAN.config()
        changed = {name: mine[name] for name in ("select", "pruned") if mine[name] != clean[name]}
        changed |= {name: value for name, value in mine["rule"].items() if value != clean["rule"].get(name)}
        return ", ".join(f"{name}={value}" for name, value in changed.items())

    @property
    def published(self) -> bool:
        """Whether this is what the authors of a method did."""
        return self in (PAPER, UGS_PAPER)


CLEAN: Protocol = Protocol()
PAPER = Protocol("test", EdgeRule(unit="arc", count="floor", budget="graph", scoring="batch"))

# Chen et al. (ICML 2021): one threshold for all arcs, which stay in the graph; the validation nodes select.
UGS_PAPER = Protocol("val", EdgeRule(unit="arc", count="floor", budget="global"), "gated")


def protocol(value: Protocol | str, paper: Protocol = PAPER) -> Protocol:
    """``"clean"``, ``"paper"`` or a protocol of one's own; ``paper`` is what the method's authors did."""
    named = {"clean": CLEAN, "paper": paper}
    if isinstance(value, Protocol):
        return value
    if value not in named:
        raise ValueError(f"protocol must be 'clean', 'paper' or a Protocol, got {value!r}")
    return named[value]
