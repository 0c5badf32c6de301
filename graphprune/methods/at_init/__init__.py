"""Pruning before training: random, magnitude, SNIP, GraSP and SynFlow."""

from graphprune.methods.at_init.method import SNIP, AtInit, GraSP, MagnitudeAtInit, RandomAtInit, SynFlow

__all__ = ["SNIP", "AtInit", "GraSP", "MagnitudeAtInit", "RandomAtInit", "SynFlow"]
