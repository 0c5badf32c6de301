"""The package's own models by what tickets and deployed networks say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from graphprune.models import MODELS
from graphprune.ticket.scorers import Bounded

# Bytes of weights: of what a file asks for no more is made.
LIMIT = 4 << 30


def recorded(model: nn.Module) -> dict[str, Any]:
    """What :func:`model_of` needs: the class, and the options as far as the model tells them."""
    config = getattr(model, "config", None)
    return {
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "config": config() if callable(config) else None,
    }


def model_of(told: Mapping[str, Any], tensors: int | None = None) -> nn.Module:
    """The model that a file names, with the options that it had and fresh weights; no random number is drawn.

    Args:
        told: ``class`` and ``config``, of ``ticket.provenance["model"]``.
        tensors: how many it has in the file; None: not known.

    Raises:
        ValueError: a model that is not the package's, options that it does not take, or that ask for more layers than
            there are tensors, or for more weights than :data:`LIMIT`.
    """
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in MODELS.working().values()}
    kind, config = known.get(str(told.get("class"))), told.get("config")
    if kind is None or config is None:
        raise ValueError(
            f"a network of {told.get('class')}, which is not one of the package's models: say where it is imported "
            "from, --model my_package.nets:Net, or hand over a model of its class in Python: "
            "gp.compact(ticket.build(model), example), gp.Deployed.load(path, model)"
        )
    with torch.random.fork_rng(devices=[]):
        try:
            if tensors is not None:
                with torch.device("meta"), Bounded(1000 + 100 * tensors):
                    outline = kind(**config)
                size = sum(each.numel() * each.element_size() for each in outline.state_dict().values())
                if size > LIMIT:
                    raise ValueError(f"its weights take {size:,} bytes before compaction, {LIMIT:,} are the limit")
            model: nn.Module = kind(**config)
        except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"the options of a recorded {kind.__name__}: {error}") from error
    return model
