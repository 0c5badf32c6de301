"""A method as another package would bring it along: edges by a score of its own, weights by magnitude."""

import attrs
import torch
from torch import nn

from graphprune.masks import magnitude
from graphprune.methods import Decision, IterativeMethod
from graphprune.ticket import SCORERS


class Spread(nn.Module):
    """Arcs between nodes whose first features differ are kept longest."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def config(self) -> dict[str, float]:
        return {"scale": self.scale}

    def forward(self, data) -> torch.Tensor:
        source, target = data.edge_index
        return self.scale * (data.x[source, 0] - data.x[target, 0]).abs()


@attrs.frozen(kw_only=True)
class Plugged(IterativeMethod):
    """Edges by :class:`Spread`, weights by a dense training's magnitudes."""

    name = "contract-plugin"

    def search(self, state, fit) -> Decision:
        trained = self.job(state, state.rewound(), state.masks, "search").run(fit)
        last = {name: trained.last[name] for name in state.masks}
        scorer = Spread(2.0) if self.edge_rate else None
        return Decision(scorer, magnitude(last, {}, state.masks) if self.weight_rate else None, trained.history)


SCORERS.setdefault("contract-spread", Spread)
