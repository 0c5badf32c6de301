"""What a network has learned: paths, dead ends, symmetries, survivors, and pictures of them."""

from importlib import import_module
from typing import TYPE_CHECKING

from graphprune.reading.paths import Chain, PathRow, Pathway, live
from graphprune.reading.survivors import Survivor, Survivors, survivors
from graphprune.reading.symmetry import Symmetry, symmetry
from graphprune.reading.trace import trace, trim_

if TYPE_CHECKING:
    from graphprune.reading.pictures import draw_class_maps, draw_importance, draw_pathways
else:
    _PICTURES = ("draw_class_maps", "draw_importance", "draw_pathways")

    def __getattr__(name: str) -> object:
        # Only pictures need matplotlib, which is an extra.
        if name in _PICTURES:
            return getattr(import_module("graphprune.reading.pictures"), name)
        raise AttributeError(f"module 'graphprune.reading' has no attribute {name!r}")


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
