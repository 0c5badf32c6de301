"""States of a model and of torch that a measurement changes and gives back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.checks import whole
from graphprune.masks.copies import uncached_


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``eval()`` mode inside, no cache of a graph, and after it every module as it was."""
    with as_it_was(model):
        model.eval()
        uncached_(model)
        yield


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Takes back what forward passes write: attributes, the entries of lists, dictionaries and sets, buffers."""
    with ExitStack() as back:
        for module in model.modules():
            back.callback(_attributes(module))
            back.callback(setattr, module, "training", module.training)  # which TorchScript keeps elsewhere
            for buffer in module._buffers.values():
                if buffer is not None and not buffer.is_inference():
                    back.callback(_values(buffer))
        yield


def _attributes(module: nn.Module) -> Callable[[], None]:
    """Gives a module the attributes that it has now."""
    own = dict(vars(module))
    # Parameters, buffers, hooks and submodules are in dictionaries of their own, some of them in ordered ones.
    entries = {name: copy.copy(value) for name, value in own.items() if isinstance(value, list | dict | set)}

    def back() -> None:
        vars(module).clear()
        vars(module).update(own)
        for name, before in entries.items():
            now: Any = own[name]
            if isinstance(now, list):
                now[:] = before
            else:
                now.clear()
                now.update(before)

    return back


def _values(buffer: Tensor) -> Callable[[], None]:
    """Gives a buffer the values that it has now, if they are written to."""
    version, before = buffer._version, buffer.detach().clone()

    def back() -> None:
        if buffer._version != version:
            buffer.detach().copy_(before)

    return back


@contextmanager
def using_threads(number: int | None) -> Iterator[int]:
    """So many threads inside, and how many these are; None: those that torch uses anyway.

    Raises:
        ValueError: less than 1.
    """
    before = torch.get_num_threads()
    if number is not None:
        whole("threads", number, 1)
    torch.set_num_threads(number or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
