"""Which optimiser really steps: training frameworks wrap it, and optimisers wrap one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer


def wrapped(optimizer: Any) -> list[Any]:
    """An optimiser and those inside of it: training frameworks wrap the one that steps, SAM and Lookahead another."""
    found = [optimizer]
    for each in found:
        inside = [getattr(each, "optimizer", None), *getattr(each, "__dict__", {}).values()]
        found += [o for o in inside if isinstance(o, Optimizer) and not any(o is known for known in found)]
    return found


def stepping(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> list[Optimizer]:
    """Those of `wrapped` that own all parameters and have torch's step hooks, the innermost last.

    Raises:
        TypeError: none has step hooks.
        ValueError: none owns all parameters; the text names those that are missing.
    """
    every = wrapped(optimizer)
    owning = [each for each in every if not foreign(each, parameters)]
    if not owning:
        missing = min((foreign(each, parameters) for each in every), key=len)
        raise ValueError(f"the optimizer does not own the masked parameters {missing}: give it these, or exclude them")
    # A wrapper that copies the attributes of another (Fabric's does) shares its hooks.
    hooked = {
        id(each._optimizer_step_post_hooks): each for each in owning if hasattr(each, "_optimizer_step_post_hooks")
    }
    if not hooked:
        raise TypeError(
            f"{type(optimizer).__name__} has no step hooks, as its __init__ does not call torch.optim.Optimizer's: "
            "masks cannot follow it. Call super().__init__(params, defaults) there, or attach to an optimizer inside it"
        )
    return list(hooked.values())


def foreign(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of the parameters that an optimiser does not own."""
    groups = getattr(optimizer, "param_groups", ())
    owned = {id(parameter) for group in groups for parameter in group["params"]}
    return [name for name, parameter in parameters.items() if id(parameter) not in owned]
