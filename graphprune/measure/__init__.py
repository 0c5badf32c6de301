"""Reading what was learned: paths through a sparse network, the inputs it looks at, and pictures of both."""

from importlib import import_module
from typing import TYPE_CHECKING

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
    "PathRow",
    "Pathway",
    "Survivor",
    "Survivors",
    "Symmetry",
    "draw_class_maps",
    "draw_importance",
    "draw_pathways",
    "live",
    "survivors",
    "symmetry",
    "trace",
    "trim_",
]
