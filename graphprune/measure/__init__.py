"""What a network costs, and what it has learned: a ledger, paths through a sparse network, and pictures of them."""

from importlib import import_module
from typing import TYPE_CHECKING

from graphprune.measure.costs import Costs, Scoring, Weights
from graphprune.measure.latency import Latency, break_even, time_calls
from graphprune.measure.ledger import report
from graphprune.measure.macs import Macs, count_macs
from graphprune.measure.memory import file_bytes, peak_bytes
from graphprune.measure.paths import Chain, live
from graphprune.measure.rows import PathRow, Pathway
from graphprune.measure.survivors import Survivor, Survivors, survivors
from graphprune.measure.symmetry import Symmetry, symmetry
from graphprune.measure.trace import trace, trim_

if TYPE_CHECKING:
    from graphprune.measure.pictures import draw_class_maps, draw_importance, draw_pathways
else:
    _PICTURES = ("draw_class_maps", "draw_importance", "draw_pathways")

    def __getattr__(name: str) -> object:
        # Only pictures need matplotlib, which is an extra.
        if name in _PICTURES:
            return getattr(import_module("graphprune.measure.pictures"), name)
        raise AttributeError(f"module 'graphprune.measure' has no attribute {name!r}")


__all__ = [
    "Chain",
    "Costs",
    "Latency",
    "Macs",
    "PathRow",
    "Pathway",
    "Scoring",
    "Survivor",
    "Survivors",
    "Symmetry",
    "Weights",
    "break_even",
    "count_macs",
    "draw_class_maps",
    "draw_importance",
    "draw_pathways",
    "file_bytes",
    "live",
    "peak_bytes",
    "report",
    "survivors",
    "symmetry",
    "time_calls",
    "trace",
    "trim_",
]
