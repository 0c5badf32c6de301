"""What of the user's world a method might touch: network, data, predictor, random states, settings of the process."""

import hashlib
import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.methods import Method

PLAIN = (bool, int, float, str, type(None))


def digest(tensor: Tensor) -> str:
    """SHA-256 of dtype, shape and bytes."""
    values = tensor.detach().cpu().contiguous().reshape(-1)
    about = f"{values.dtype} {tuple(tensor.shape)} "
    return hashlib.sha256(about.encode() + values.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def identity(tensor: Tensor) -> tuple[int, int, int, str]:
    """Object, storage, number of writes and content of a tensor."""
    return id(tensor), tensor.data_ptr(), tensor._version, digest(tensor)


def of_module(model: nn.Module) -> dict[str, Any]:
    """Everything that hangs on a network."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in sorted(vars(module).items()):
            where = f"{name or 'network'}: {key}"
            if key in ("_parameters", "_buffers"):
                for own, tensor in value.items():
                    found[f"{where}[{own}]"] = None if tensor is None else identity(tensor)
                    if isinstance(tensor, nn.Parameter):
                        gradient = None if tensor.grad is None else identity(tensor.grad)
                        hooks = list((tensor._backward_hooks or {}).values())
                        found[f"{where}[{own}] as it trains"] = tensor.requires_grad, gradient, hooks
            elif isinstance(value, PLAIN):
                found[where] = value
            elif isinstance(value, Mapping):  # submodules, hooks of all kinds
                found[where] = [(entry, id(part)) for entry, part in value.items()]
            else:
                found[where] = id(value)
    return found


def of_data(data: Any) -> dict[str, Any]:
    """Every tensor of a data set, and what its digest says."""
    found: dict[str, Any] = {"data: digest": data.digest()}
    for split, samples in data.splits.items():
        for name, value in vars(samples).items():
            parts = value if isinstance(value, Mapping) else {"": value}
            found[f"data: {split}.{name}"] = list(parts)
            for key, part in parts.items():
                if isinstance(part, Tensor):
                    found[f"data: {split}.{name}[{key}]"] = identity(part)
    return found


def of_process() -> dict[str, Any]:
    """Random generators and switches that all code of a process shares."""
    kind, keys, *rest = np.random.get_state()
    return {
        "random": random.getstate(),
        "numpy.random": (kind, keys.tobytes(), *rest),
        "torch generator": digest(torch.get_rng_state()),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "environment": dict(os.environ) | {"PYTEST_CURRENT_TEST": ""},
    }


def snapshot(model: nn.Module, data: Any, method: Method) -> dict[str, Any]:
    """All of it by name."""
    settings = {f"method: {name}": value for name, value in method.settings().items()}
    predictor = getattr(method, "predictor", None)
    own = {} if predictor is None else {f"predictor, {name}": value for name, value in of_module(predictor).items()}
    return of_module(model) | of_data(data) | settings | own | of_process()


def same_bits(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bytes."""
    return digest(one) == digest(two)
