"""Undirected edges as the arcs that graphs are stored with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def both_ways(pairs: NDArray[Any]) -> Tensor:
    """Undirected edges ``(P, 2)`` as arcs ``(2, 2 P)`` int64, (u, v) and (v, u) side by side as in OGB."""
    arcs = np.stack([pairs, pairs[:, ::-1]], axis=1).reshape(-1, 2)
    return torch.from_numpy(np.ascontiguousarray(arcs.T.astype(np.int64)))
