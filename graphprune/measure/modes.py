"""States of a model and of torch that a measurement changes and gives back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``eval()`` mode inside; behind it every module has its mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def using_threads(number: int | None) -> Iterator[int]:
    """So many threads inside, and how many these are; None: those that torch uses anyway.

    Raises:
        ValueError: less than 1.
    """
    before = torch.get_num_threads()
    if number is not None and number < 1:
        raise ValueError(f"threads must be at least 1, got {number}")
    torch.set_num_threads(number or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
