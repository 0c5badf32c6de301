"""What has to be known of modules: where biases go, which sizes they write down, what stands before a batch norm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear as PyGLinear

_LINEAR = (nn.Linear, PyGLinear)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Attributes that write down a size, and which dimension of the weight has it.
_SIZES: tuple[tuple[tuple[type[nn.Module], ...], dict[str, int]], ...] = (
    ((nn.Linear,), {"out_features": 0, "in_features": 1}),
    ((PyGLinear, *_CONVS), {"out_channels": 0, "in_channels": 1}),
    ((nn.Embedding, nn.EmbeddingBag), {"embedding_dim": 1}),
)

# Buffers of modules of which the code has written down sizes that have changed.
WRITTEN = "written_"


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers of a model; shared ones under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def owner(model: nn.Module, name: str) -> nn.Module:
    """The module that has this parameter or buffer."""
    return model.get_submodule(name.rpartition(".")[0])


def like(tensor: Tensor, values: Tensor) -> Tensor:
    """Values as what the tensor is: a parameter, or a buffer."""
    return nn.Parameter(values, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Make this the parameter or buffer of that name, whatever its shape."""
    module, own = owner(model, name), name.rpartition(".")[2]
    slots: dict[str, Any] = module._parameters if isinstance(tensor, nn.Parameter) else module._buffers
    slots[own] = tensor


def replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put one module in another's place, wherever the model has it."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)


def takes_bias(module: nn.Module) -> bool:
    """Whether a bias of the module, which it may not have yet, is added to the product with its weight."""
    return any(type(module).forward is known.forward for known in (*_LINEAR, *_CONVS))


@torch.no_grad()
def add_bias(module: nn.Module, shift: Tensor) -> None:
    """Add to a layer's bias, making one if there is none."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    total = shift.to(weight.device) + (0 if bias is None else bias.double())  # type: ignore[operator]
    module.bias = nn.Parameter(total.to(weight.dtype), requires_grad=weight.requires_grad)


def write_sizes(model: nn.Module) -> None:
    """Set the sizes that modules write down to those of their weights."""
    for module in model.modules():
        for types, names in _SIZES:
            if isinstance(module, types):
                for name, dim in names.items():
                    setattr(module, name, module.weight.shape[dim])  # type: ignore[index]
        for name in ("att_src", "att"):  # attention vectors, one for each head
            if isinstance(vectors := getattr(module, name, None), Tensor) and hasattr(module, "out_channels"):
                setattr(module, "out_channels", vectors.shape[-1])  # noqa: B010 (modules hold no int for mypy)
        if isinstance(module, NORMS) and isinstance(module.running_mean, Tensor):
            module.num_features = len(module.running_mean)


def write_size(module: nn.Module, name: str, size: int) -> None:
    """Set a size that a module writes down, and keep it in the module's state."""
    setattr(module, name, size)
    module.register_buffer(f"{WRITTEN}{name}", torch.tensor(size))


def written_sizes(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[tuple[nn.Module, str, int]]:
    """The sizes of a model's modules that are kept in a state, with the modules and their names.

    Raises:
        RuntimeError: a size of something that is none in the model.
    """
    modules = dict(model.named_modules())
    for key, value in state.items():
        owner, _, own = key.rpartition(".")
        if own.startswith(WRITTEN) and owner in modules:
            module, name = modules[owner], own.removeprefix(WRITTEN)
            if type(vars(module).get(name)) is not int or value.dtype != torch.int64 or value.dim():
                raise RuntimeError(f"{key} is the size of nothing in a {type(module).__name__}")
            yield module, name, int(value)


def folds(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether a layer can do the work of the batch norm after it."""
    return type(norm) in NORMS and norm.running_mean is not None and takes_bias(layer)


@torch.no_grad()
def fold_norm(layer: nn.Module, norm: nn.Module) -> None:
    """Make a layer compute ``norm(layer(x))``, in evaluation."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(norm, NORMS)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight.double())
    shift = (0 if norm.bias is None else norm.bias.double()) - norm.running_mean.double() * scale
    if isinstance(bias, Tensor):
        shift += bias.double() * scale
        layer.register_parameter("bias", None)
    scaled = (weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))).to(weight.dtype)
    layer.register_parameter("weight", nn.Parameter(scaled, requires_grad=weight.requires_grad))
    add_bias(layer, shift)
