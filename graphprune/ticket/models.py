"""The package's own models by what tickets and deployed networks say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from graphprune.models import MODELS


def model_of(recorded: Mapping[str, Any]) -> nn.Module:
    """The model that a file names, with the options that it had and fresh weights.

    Args:
        recorded: ``class`` and ``config``, of ``ticket.provenance["model"]``.

    Raises:
        ValueError: a model that is not the package's, or options that it does not take.
    """
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in MODELS.working().values()}
    kind, config = known.get(str(recorded.get("class"))), recorded.get("config")
    if kind is None or config is None:
        raise ValueError(
            f"a network of {recorded.get('class')}, which is not one of the package's models: say where it is imported "
            "from, --model my_package.nets:Net, or hand over a model of its class in Python: "
            "gp.compact(ticket.build(model), example), gp.Deployed.load(path, model)"
        )
    try:
        model: nn.Module = kind(**config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the options of a recorded {kind.__name__}: {error}") from error
    return model
