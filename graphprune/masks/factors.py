"""Weights that are computed from other parameters before each forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


@dataclass(frozen=True)
class Factor:
    """What one parameter is a factor of.

    Attributes:
        weight: dotted name of the weight that the module uses.
        owner: the module.
        shaped: a tensor of as many dimensions as the weight.
        way_out: the call that makes the weight a parameter again.
    """

    weight: str
    owner: nn.Module
    shaped: Tensor
    way_out: str


def factors_of(model: nn.Module) -> dict[str, Factor]:
    """The parameters from which weights are computed, by their dotted names.

    Found are parametrizations (``torch.nn.utils.parametrizations``), and what hooks compute before a forward pass
    from ``weight_orig``, ``weight_g`` and the like into a plain tensor ``weight`` (torch.nn.utils.prune, the older
    weight_norm and spectral_norm, or anything else that works like them).
    """
    found: dict[str, Factor] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        at = f"model.get_submodule({name!r})" if name else "model"
        if parametrize.is_parametrized(module):
            for weight, steps in module.parametrizations.items():
                parts = dict(steps.named_parameters(f"{prefix}parametrizations.{weight}", remove_duplicate=False))
                shaped = max(parts.values(), key=Tensor.dim, default=None)
                if shaped is not None:
                    way = f"torch.nn.utils.parametrize.remove_parametrizations({at}, {weight!r})"
                    found |= dict.fromkeys(parts, Factor(prefix + weight, module, shaped, way))
        if module._forward_pre_hooks:
            computed = {key: value for key, value in vars(module).items() if isinstance(value, Tensor)}
            for own in module._parameters:
                weight = next((key for key in computed if own.startswith(f"{key}_")), None)
                if weight is not None:
                    way = _way_out(module, at, weight)
                    found[prefix + own] = Factor(prefix + weight, module, computed[weight], way)
    return found


def _way_out(module: nn.Module, at: str, weight: str) -> str:
    kinds = {
        BasePruningMethod: f"torch.nn.utils.prune.remove({at}, {weight!r})",
        WeightNorm: f"torch.nn.utils.remove_weight_norm({at}, {weight!r})",
        SpectralNorm: f"torch.nn.utils.remove_spectral_norm({at}, {weight!r})",
    }
    hooks = module._forward_pre_hooks.values()
    return next(
        (call for kind, call in kinds.items() if any(isinstance(hook, kind) for hook in hooks)),
        f"remove the hook of {at} that computes it, leaving {weight!r} a parameter",
    )
