"""GICP: edges and weights removed in one training, for tickets of all densities."""

from graphprune.methods.gicp.method import GICP

__all__ = ["GICP"]
