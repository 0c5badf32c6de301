"""What is handed to a method in place of a training or a network that tickets can hold: named, with the right call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress

from torch import Tensor, nn

from graphprune.checks import instance


def check_fit(fit: object) -> None:
    """Raise TypeError unless this is a function of one argument; a class in place of an instance is named."""
    words = "a function of a FitJob, such as graphprune.train.Fit(epochs=100)"
    instance("fit", fit, Callable, words)
    with suppress(ValueError):  # written in C
        try:
            inspect.signature(fit).bind(None)  # type: ignore[arg-type]
        except TypeError as error:
            raise TypeError(f"fit must be {words}; it cannot be called with a job alone: {error}") from None


def check_state(model: nn.Module) -> None:
    """Make sure that a ticket can hold a model's state, which is tensors.

    Raises:
        TypeError: something else in it; names the entry and what puts it there.
    """
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            path, _, last = name.rpartition(".")
            extra = last == "_extra_state"
            way = "get_extra_state() puts it there: take it out, or return a tensor" if extra else "make it a buffer"
            raise TypeError(
                f"the state of {type(model.get_submodule(path)).__name__} holds {name!r}, a {type(value).__name__}, "
                f"and tickets hold tensors alone: {way} (of a torchmetrics metric: persistent(False))"
            )
