"""Saving models so that they run without this package: as programs of ``torch.export``, or as plain weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.compaction import onnx_ops
from graphprune.compaction.check import difference, run, uncached
from graphprune.compaction.layers import (
    NORMS,
    like,
    named_tensors,
    put,
    replace,
    takes_bias,
    write_size,
    write_sizes,
    written_sizes,
)
from graphprune.files import new_file
from graphprune.graphs.encodings import ENCODINGS
from graphprune.graphs.segments import graph_of_nodes

# How far the outputs of the program may be from the model's, as a share of the largest.
ATOL = 1e-5
_OF_GRAPHS = ("x", "edge_index", "batch", "edge_attr", "edge_weight", ENCODINGS)


class _OverTensors(nn.Module):
    """A network over PyG's ``Data`` that is called with its tensors."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> Any:
        """What the network makes of a graph with these tensors; one that is a batch knows of how many graphs."""
        data = Data(**dict(zip(self.names, tensors, strict=True)))
        if "batch" in self.names:
            _, data.ptr = graph_of_nodes(data, tensors[0].size(0), tensors[0].device)
            data.num_graphs = data.ptr.size(0) - 1
        return self.model(data)


def save(model: nn.Module, example: Any, path: str | Path) -> tuple[str, ...]:
    """Save a model as a program that ``torch.export.load(path).module()`` runs, or ONNX Runtime, without this package.

    The first dimension of every input may have any size, of edges the last one of ``edge_index``; some networks need
    two nodes at least. Of graphs there are as many as ``batch`` knows: one without nodes after all others is not seen.
    The saved program is loaded again and its outputs on the example are compared with the model's.

    Args:
        model: is saved in ``eval()`` mode.
        example: a tensor, a tuple of tensors, or a PyG ``Data`` or ``Batch``; at least two samples.
        path: ends in ``.onnx`` for ONNX (extra ``onnx``), else in ``.pt2``.

    Returns:
        Names of the program's inputs, for a ``Data`` those of its attributes; empty for tensors.

    Raises:
        TypeError: other examples.
        RuntimeError: ``torch.export`` cannot follow the model, an operation that ONNX does not have, or a program that
            computes something else.
        ImportError: an ONNX file without its extra.
    """
    names: tuple[str, ...] = ()
    model = uncached(model)
    for _, tensor in named_tensors(model):
        if tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():  # files hold whole storages
            tensor.data = tensor.data.clone()
    if isinstance(example, Data):
        names = tuple(name for name in _OF_GRAPHS if isinstance(example.get(name), Tensor))
        model, example = _OverTensors(model, names), tuple(example[name] for name in names)
    inputs = example if isinstance(example, tuple) else (example,)
    if not all(isinstance(each, Tensor) for each in inputs):
        raise TypeError(f"example must be a tensor, a tuple of tensors or a Data, got {type(example).__name__}")
    path = Path(path)
    sizes = tuple({_many(each): torch.export.Dim.DYNAMIC} for each in inputs)
    try:
        with torch.no_grad():
            program = torch.export.export(model, inputs, dynamic_shapes=(sizes,) if names else sizes, strict=False)
        with new_file(path) as tried:
            if path.suffix == ".onnx":
                onnx_ops.write(program, names, tried)
                found = onnx_ops.run(tried, inputs)
            else:
                torch.export.save(program, tried)
                found = run(torch.export.load(tried).module(), inputs)
            if (apart := difference(run(model, inputs), found)) > ATOL:
                raise RuntimeError(f"the program's outputs are off by {apart:.2g} of the largest")
    except (ImportError, OSError):
        raise
    except Exception as error:
        raise RuntimeError(
            f"torch.export cannot follow {type(model).__name__}: {_reason(error)}. Save its "
            "state_dict() instead, and load it with graphprune.compaction.restored(the model as it was, state)"
        ) from error
    return names


def _reason(error: BaseException) -> str:
    """The first line of what an error began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0]


def _many(tensor: Tensor) -> int:
    """The dimension of samples, nodes or edges."""
    return 1 if tensor.ndim == 2 and tensor.size(0) == 2 and not tensor.is_floating_point() else 0


def restored(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A compacted model from its weights and the model as it was before.

    Args:
        model: of the class and options of the model that was compacted; it is left as it is.
        state: the compacted model's ``state_dict()``.

    Returns:
        A copy in ``eval()`` mode with the sizes and weights of the state.

    Raises:
        RuntimeError: the state is not one of this model made smaller.
    """
    small = uncached(model)
    for name, module in list(small.named_modules()):
        mine = [key for key in state if key.startswith(f"{name}.")]
        if isinstance(module, NORMS) and module.state_dict() and not mine:
            replace(small, module, nn.Identity())  # folded into the layer before it
        elif takes_bias(module) and module.bias is None and f"{name}.bias" in state:
            module.register_parameter("bias", nn.Parameter(state[f"{name}.bias"].clone()))
    made: dict[int, Tensor] = {}  # parameters may have several names
    for name, tensor in list(named_tensors(small)):
        if name in state and state[name].ndim == tensor.ndim:
            put(small, name, made.setdefault(id(tensor), like(tensor, state[name].clone())))
    write_sizes(small)
    for module, name, size in list(written_sizes(small, state)):
        write_size(module, name, size)
    small.load_state_dict(state)
    return small
