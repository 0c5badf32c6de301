"""UGS: soft masks on edges and weights, trained together (Chen et al., ICML 2021)."""

from graphprune.methods.ugs.method import UGS

__all__ = ["UGS"]
