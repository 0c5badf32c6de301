"""CLAD-style pruning: learned filter criteria with attention distillation."""

from graphprune.methods.clad.method import CLAD

__all__ = ["CLAD"]
