"""HAMP-style search over channels: hardware-aware, multi-objective, memetic."""

from graphprune.methods.hamp.genes import Gene, Genes
from graphprune.methods.hamp.journal import Evaluation, Record, read
from graphprune.methods.hamp.method import HAMP

__all__ = ["HAMP", "Evaluation", "Gene", "Genes", "Record", "read"]
