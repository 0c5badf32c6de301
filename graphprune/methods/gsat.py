"""GSAT: stochastic attention on edges, held back by an information term, whose lowest edges then go."""

from __future__ import annotations

from math import log, log1p

import attrs
from torch import Tensor

from graphprune.graphs.rule import original_units
from graphprune.methods.core import validators
from graphprune.methods.core.edge_gates import ConcreteGates, UnitGates, entropy
from graphprune.methods.core.learned import LearnedEdges
from graphprune.methods.core.state import RunState


@attrs.frozen(kw_only=True)
class GSAT(LearnedEdges):
    """Edges by stochastic attention (GSAT-like: after Miao, Liu & Li, ICML 2022).

    "Interpretable and Generalizable Graph Learning via Stochastic Attention Mechanism" explains by attention, and keeps
    it; here it tells which edges are pruned.

    A round: rewind model and predictor; train both on the task loss with each edge weighed by a sample of its attention
    a, a sigmoid of the predictor's logit with logistic noise, and on the mean over edges of
    ``a log(a / r) + (1 - a) log((1 - a) / (1 - r))``, which holds every edge at the prior's probability r unless the
    task needs it; remove the edges of lowest attention, without noise, by the predictor of the best validation epoch,
    and the smallest weights after the last; rewind and train the ticket. In evaluation edges are removed, not weighed.

    Noise, information term and prior are the authors'. Rounds, removal, retraining, one draw for both arcs of an edge
    (on the mean of their logits) and a predictor of its own are not (docs/learned-edges.md). Arguments that are not
    named here: see :class:`IterativeMethod`.

    Args:
        predictor: the edge predictor with its initial weights; needed unless ``edge_rate`` is 0.
        predictor_lr: its learning rate; None: the model's (authors).
        information: weight of the information term beside the task's mean loss (authors: 1).
        prior: the probability r in the end, between 0 and 1 (authors: 0.7, on some sets 0.5).
        prior_start: r in the first epoch (authors: 0.9).
        prior_fall: by how much r falls at a time (authors: 0.1).
        prior_every: epochs from one fall to the next (authors: 10, on some sets 20).
        temperature: of the samples, above 0 (authors: 1).

    Raises:
        ValueError: a number outside its range, a prior that would rise, or no predictor where one is needed.
        RuntimeError: (in training) float16 autocast.
    """

    information: float = attrs.field(default=1.0, validator=validators.penalty)
    prior: float = attrs.field(default=0.7, validator=validators.part)
    prior_start: float = attrs.field(default=0.9, validator=validators.part)
    prior_fall: float = attrs.field(default=0.1, validator=validators.positive)
    prior_every: int = attrs.field(default=10, validator=validators.count)
    temperature: float = attrs.field(default=1.0, validator=validators.positive)

    name = "gsat"

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.prior > self.prior_start:
            raise ValueError(f"prior={self.prior} lies above prior_start={self.prior_start}, from which it falls")

    def prior_at(self, epoch: int) -> float:
        """The probability r after so many epochs."""
        return max(self.prior_start - epoch // self.prior_every * self.prior_fall, self.prior)

    def gates(self, state: RunState) -> UnitGates:
        """Samples of the attention, under the information term."""
        units = int(original_units(state.graph_data.train, self.protocol.rule).sum())
        return ConcreteGates(lambda epoch: self.temperature, self._loss, units)

    def _loss(self, logits: Tensor, epoch: int) -> Tensor:
        return self.information * information(logits, self.prior_at(epoch))


def information(logits: Tensor, prior: float) -> Tensor:
    """Mean divergence, in nats, of coins that fall as the logits say from those of one probability, 0-dimensional."""
    return -entropy(logits) - (logits.sigmoid() * log(prior) + (-logits).sigmoid() * log1p(-prior)).mean()
