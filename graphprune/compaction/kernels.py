"""Products with sparse matrices, for the layers where they are faster than dense ones on this machine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.compaction.check import run
from graphprune.compaction.layers import replace
from graphprune.measure.latency import time_calls

# Below this share of zeros a sparse product has never won; not worth measuring.
HOPELESS = 0.7
# A sparse product has to be faster by a tenth.
MARGIN = 1.1
REPEATS = 15


class SparseLinear(nn.Module):
    """A linear map by the non-zero entries of its matrix, kept in rows (CSR); where a device lacks the product, dense.

    Args:
        layer: whose map it is.
    """

    crow_indices: Tensor
    col_indices: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says once that CSR is beta
            matrix = layer.weight.detach().to_sparse_csr()
        for name in ("crow_indices", "col_indices", "values"):
            self.register_buffer(name, getattr(matrix, name)().clone())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``."""
        flat = x.reshape(-1, self.in_features).t()
        shape = (self.out_features, self.in_features)
        matrix = torch.sparse_csr_tensor(
            self.crow_indices, self.col_indices, self.values, shape, check_invariants=False
        )
        try:
            out = (matrix @ flat).t()
        except (RuntimeError, NotImplementedError):
            out = (matrix.to_dense() @ flat).t()
        return (out if self.bias is None else out + self.bias).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Sizes and entries."""
        entries = f"{self.values.numel()} entries"
        return f"in_features={self.in_features}, out_features={self.out_features}, {entries}"


def choose_kernels_(
    model: nn.Module, arguments: tuple[Any, ...], clock: Callable[[], float] = time.perf_counter
) -> list[str]:
    """Replace linear maps by sparse ones where these are faster on the layers' own inputs.

    Args:
        model: in ``eval()`` mode; changed in place.
        arguments: what it is called with. The gain depends on the number of rows: give what will be usual.
        clock: seconds.

    Returns:
        The names of the replaced layers.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and type(layer).forward is nn.Linear.forward
        and layer.weight.dtype in (torch.float32, torch.float64)
        and float((layer.weight == 0).float().mean()) >= HOPELESS
    }
    given: dict[str, Tensor] = {}

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: given.__setitem__(name, inputs[0].detach())

    handles = [layer.register_forward_pre_hook(noting(name)) for name, layer in layers.items()]
    try:
        run(model, arguments)
    finally:
        for handle in handles:
            handle.remove()
    chosen = []
    for name, x in given.items():
        sparse = SparseLinear(layers[name])
        if _seconds(sparse, x, clock) * MARGIN < _seconds(layers[name], x, clock):
            replace(model, layers[name], sparse.eval())
            chosen.append(name)
    return chosen


@torch.no_grad()
def _seconds(layer: nn.Module, x: Tensor, clock: Callable[[], float]) -> float:
    def call() -> None:
        layer(x)
        torch.get_device_module(x.device).synchronize()

    return time_calls(call, repeats=REPEATS, warmup=1, clock=clock).median
