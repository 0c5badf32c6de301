"""Whether a model can be made small, and whether the small one computes the same."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves, tree_map
from torch_geometric.data import Data

from graphprune.compaction.calls import Calls, located
from graphprune.masks.copies import independent_copy, uncached_
from graphprune.masks.networks import check_network
from graphprune.masks.passes import of_passes
from graphprune.measure.modes import as_it_was

TINY = 1e-6  # outputs below it are compared as if they were so large


def check_model(model: nn.Module) -> None:
    """Refuse models that are more than modules with parameters.

    Raises:
        TypeError: no model, or a scripted, compiled or wrapped one.
        ValueError: hooks, parametrizations, or parameters that a first forward would shape.
    """
    check_network(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("a scripted model cannot be made smaller: compact the module that it was made from")
    for wrapper in ("_orig_mod", "module"):
        if type(model).__module__.startswith("torch.") and isinstance(getattr(model, wrapper, None), nn.Module):
            raise TypeError(f"{type(model).__name__} wraps a model: compact its .{wrapper}, then wrap the result")
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise ValueError(f"uninitialised lazy parameters {lazy}: run one forward pass of the model first")
    for name, module in model.named_modules():
        hooks = [
            key
            for key, value in vars(module).items()
            if key.endswith("_hooks") and "ward" in key and not all(map(of_passes, value.values()))
        ]
        if hooks:
            raise ValueError(
                f"{name or 'the model'} has hooks ({', '.join(hooks)}), which its copy would keep: detach them"
            )
        if parametrize.is_parametrized(module):
            raise ValueError(f"{name or 'the model'} has parametrizations: remove them, leaving the masked weights")


def uncached(model: nn.Module) -> nn.Module:
    """A copy in ``eval()`` mode that keeps nothing of one graph for the next."""
    made = independent_copy(model).eval()
    uncached_(made)
    return made


def run(model: nn.Module, arguments: tuple[Any, ...]) -> list[Tensor]:
    """All tensors of the model's output on copies of the arguments, without gradients and without a trace of them.

    Raises:
        RuntimeError: a function of torch has raised an error, with its name and the module's.
    """
    with as_it_was(model), torch.no_grad(), located(model, Calls()):
        return [leaf for leaf in tree_leaves(model(*copy.deepcopy(arguments))) if isinstance(leaf, Tensor)]


def difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest difference, relative to the largest expected value; inf for other shapes or answers, and NaN."""
    if [each.shape for each in expected] != [each.shape for each in found]:
        return float("inf")
    answers = [number for number, each in enumerate(expected) if not each.is_floating_point()]
    if any(not torch.equal(expected[number], found[number]) for number in answers):
        return float("inf")
    expected, found = ([each for each in side if each.is_floating_point()] for side in (expected, found))
    scale = max((float(each.double().abs().max()) for each in expected if each.numel()), default=0.0)
    apart = [
        (one.double() - other.double()).abs().max() for one, other in zip(expected, found, strict=True) if one.numel()
    ]
    worst = max(map(float, apart), default=0.0)
    return worst / max(scale, TINY) if worst == worst else float("inf")


def varied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Other inputs of the same kind: twice the batch for a single tensor, other numbers, fewer arcs for a graph."""
    if len(arguments) == 1 and isinstance(x := arguments[0], Tensor) and x.ndim > 1:
        return (torch.cat([_other(x), x]),)
    changed: tuple[Any, ...] = tree_map(_other, copy.deepcopy(arguments))
    return changed


def _other(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return 0.1 - 0.5 * leaf if leaf.is_floating_point() else leaf
    if isinstance(leaf, Data) and leaf.edge_index is not None:
        leaf = leaf.edge_subgraph(torch.arange(leaf.edge_index.size(1), device=leaf.edge_index.device) % 3 > 0)
        if leaf.x is not None:
            leaf.x = _other(leaf.x)
    return leaf
