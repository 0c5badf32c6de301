"""The reference training loop on Lightning Fabric, with losses and evaluation for each kind of task."""

from graphprune.data.evaluation import evaluate, predict
from graphprune.train.loop import Fit

__all__ = ["Fit", "evaluate", "predict"]
