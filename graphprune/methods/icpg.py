"""ICPG: an edge predictor and weight magnitudes prune graphs and network together, round by round."""

from __future__ import annotations

import copy
from typing import Any, Literal

import attrs
import torch
from torch import nn

from graphprune.graphs import EdgePredictor, RandomEdges, Stage, supports
from graphprune.masks import magnitude, random
from graphprune.methods.fit import AnyData, Fit, derive_seed
from graphprune.methods.joint import JointNetwork
from graphprune.methods.rounds import Found, IterativeMethod, Position, weights


@attrs.frozen(kw_only=True)
class ICPG(IterativeMethod):
    """Inductive co-pruning (Sui et al., "Inductive Lottery Ticket Learning for Graph Neural Networks", JCST 2024).

    A round: rewind model and predictor, train both on the task loss with edges weighed by the predictor's scores,
    take the predictor of the best validation epoch and the model of the last; remove the lowest-scoring edges of every
    graph and the smallest weights over all layers; rewind and train the sparse ticket. Rates and rounds are the
    authors'. Ablations: ``edge_rate=0`` or ``weight_rate=0`` leave a part dense, ``rounds=1`` with larger rates is
    one-shot.

    Args:
        rounds: of search and ticket training (authors: 20).
        edge_rate: share of the remaining edges that goes each round (authors: 0.05).
        weight_rate: share of the remaining weights that goes each round (authors: 0.2).
        predictor: the edge predictor with its initial weights; needed unless ``edge_rate`` is 0 or edges are random.
        predictor_lr: its learning rate; None: the model's (the authors tune it per data set, from 1e-4 to 1e-2).
        predictor_start: each round's predictor starts from the ``"rewound"`` initial weights (authors, TU) or from
            ``"fresh"`` random ones (authors, Cora).
        edge_scores: ``"predictor"``, or ``"random"`` as an ablation.
        weight_scores: ``"magnitude"``, or ``"random"`` as an ablation.
        protocol: see :class:`~graphprune.methods.Protocol`, as all that follow.
        scope: weights compete over all layers or within each.
        layer_floor: share of each layer's weights that is always kept.
        degree_features: counted on full or on pruned graphs.
        select: which weights can be pruned.
        protect: patterns of parameters that are not pruned after all.
        seed: of the ablations' random choices.

    Raises:
        ValueError: a rate outside [0, 1), fewer than one round, no predictor where one is needed.
    """

    predictor: nn.Module | None = None
    predictor_lr: float | None = None
    predictor_start: Literal["rewound", "fresh"] = "rewound"
    edge_scores: Literal["predictor", "random"] = "predictor"
    weight_scores: Literal["magnitude", "random"] = "magnitude"

    name = "icpg"
    soft_edges = True

    def __attrs_post_init__(self) -> None:
        if self._learns_edges and self.predictor is None:
            raise ValueError("ICPG needs a predictor: predictor=EdgePredictor.for_data(data), or edge_rate=0")

    @property
    def _learns_edges(self) -> bool:
        return bool(self.edge_rate) and self.edge_scores == "predictor"

    def supports(self, model: nn.Module, data: AnyData) -> None:
        """Raise where the model has a convolution without soft edges, or there is nothing to prune."""
        super().supports(model, data)
        if self._learns_edges:
            supports(model)

    def search(self, here: Position, fit: Fit) -> Found:
        """Train model and predictor together; score edges by the predictor, weights by magnitude."""
        number = here.round + 1
        model, prefix, scorer = here.rewound(), "", None
        if self._learns_edges:
            scorer, prefix = self._initial_predictor(number), "model."
            stage = Stage(scorer, self.edge_rate, self.edge_density(number))
            model = JointNetwork(model, scorer, stage, self.protocol.rule, here.data.train, self.predictor_lr)
        result = here.job(model, here.masks.prefixed(prefix), "search", self.protocol.select).run(fit)
        if scorer is not None:
            best = {name: value for name, value in result.best.items() if name.startswith("predictor.")}
            scorer.load_state_dict({name.removeprefix("predictor."): value for name, value in best.items()})
        elif self.edge_rate:
            scorer = RandomEdges(derive_seed(self.seed, number, "edges"), self.protocol.rule.unit)
        score = magnitude if self.weight_scores == "magnitude" else random(derive_seed(self.seed, number, "weights"))
        last = weights(result.last, here.masks, prefix)
        return Found(scorer, score(last, {}, here.masks) if self.weight_rate else None, result.history)

    def _initial_predictor(self, number: int) -> nn.Module:
        assert self.predictor is not None
        if self.predictor_start == "rewound":
            return copy.deepcopy(self.predictor)
        if not isinstance(self.predictor, EdgePredictor):
            raise ValueError("predictor_start='fresh' rebuilds the predictor, which needs an EdgePredictor")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, number, "predictor"))
            return EdgePredictor(**self.predictor.config())

    def settings(self) -> dict[str, Any]:
        """All hyper-parameters as plain data, the predictor by what it is made from."""
        config = getattr(self.predictor, "config", None)
        return super().settings() | {"predictor": config() if callable(config) else repr(self.predictor)}
