"""Data sets: embedded, downloaded by name, from folders of raw files, or the user's own graphs and images."""

from graphprune.data.base import GraphData
from graphprune.data.degrees import DegreeColumns
from graphprune.data.disk.open import open_stored
from graphprune.data.disk.write import store, store_graphs
from graphprune.data.images import Augment, ImageBatch, ImageData, Images
from graphprune.data.metrics import METRICS, MetricInfo
from graphprune.data.pyg import from_pyg
from graphprune.data.registry import LOADERS, cards, load, names
from graphprune.data.sets.shared import Card
from graphprune.data.users import from_graphs, from_nodes

__all__ = [
    "LOADERS",
    "METRICS",
    "Augment",
    "Card",
    "DegreeColumns",
    "GraphData",
    "ImageBatch",
    "ImageData",
    "Images",
    "MetricInfo",
    "cards",
    "from_graphs",
    "from_nodes",
    "from_pyg",
    "load",
    "names",
    "open_stored",
    "store",
    "store_graphs",
]
