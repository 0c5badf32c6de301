"""A masked model made physically small, and saved."""

from graphprune.compaction import rules_elementwise, rules_reduce  # noqa: F401 (they register what they handle)
from graphprune.compaction.compact import Kernels, compact
from graphprune.compaction.couplings import coupled_channels
from graphprune.compaction.export import restored, save
from graphprune.compaction.kernels import SparseLinear

__all__ = ["Kernels", "SparseLinear", "compact", "coupled_channels", "restored", "save"]
