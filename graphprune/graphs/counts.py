"""How many edges stay of some graphs, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_MOST_NAMED = 5  # graphs in a text


@dataclass(frozen=True, eq=False)
class EdgeCounts:
    """How many edges :class:`~graphprune.Sparsify` leaves: pairs or arcs, as its ``unit`` says; no self-loops.

    Attributes:
        edges: that can go, shape ``(G,)``; protected ones cannot.
        kept: how many of them stay, shape ``(G,)``.
        needed: how many of them ``connected`` and ``min_degree`` keep whatever their scores, shape ``(G,)``.
        budget: how many the budget alone would keep, shape ``(G,)``, or ``(1,)`` for all graphs with ``scope="all"``.
            Of ``edges=`` and ``mean_degree=`` what is left beside the protected ones, which may be less than none.
        protected: edges that always stay, shape ``(G,)``.
    """

    edges: Tensor
    kept: Tensor
    needed: Tensor
    budget: Tensor
    protected: Tensor

    @property
    def beyond(self) -> Tensor:
        """Where constraints or protected edges keep more than the budget, bool of the budget's shape."""
        return self._as_budget(self.kept) > self.budget

    def summary(self) -> str:
        """What stays, and where that is more than the budget, in a line."""
        kept, edges = int(self.kept.sum()), int(self.edges.sum())
        share = f" ({kept / edges:.2%})" if edges else ""
        text = f"{len(self.edges):,} graph{'s' * (len(self.edges) != 1)}: {kept:,} of {edges:,} edges kept{share}"
        if bool(self.protected.any()):
            text += f", beside {int(self.protected.sum()):,} protected ones"
        beyond = self.beyond.nonzero().flatten().tolist()
        if not beyond:
            return f"{text}; the budget is met"
        kept_there = self._as_budget(self.kept)
        if len(self.budget) < len(self.edges):
            return f"{text}; constraints need more than the budget of {int(self.budget):,}"
        named = [f"graph {i} keeps {int(kept_there[i]):,} for {int(self.budget[i]):,}" for i in beyond[:_MOST_NAMED]]
        more = f", and {len(beyond) - _MOST_NAMED:,} more" if len(beyond) > _MOST_NAMED else ""
        return f"{text}; constraints need more than the budget in {len(beyond):,}: {', '.join(named)}{more}"

    __str__ = summary

    def _as_budget(self, values: Tensor) -> Tensor:
        return values if values.shape == self.budget.shape else values.sum(0, keepdim=True)
