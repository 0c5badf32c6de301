"""Errors of torch inside a model, said with the function that raised them and the module that called it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class Calls(TorchFunctionMode):
    """Knows which function of torch has raised which error."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: tuple[str, BaseException | None] = "", None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            self.failed = getattr(func, "__name__", str(func)), error
            raise


@contextmanager
def located(model: nn.Module, calls: Calls) -> Iterator[None]:
    """Run a model inside; errors of torch's functions and modules tell where they were raised, others are its own.

    Raises:
        RuntimeError: one of torch's functions has raised something.
    """
    try:
        with calls:
            yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        name, raised = calls.failed
        *_, (last, _) = frames = list(traceback.walk_tb(error.__traceback__))
        if raised is not error:
            name = last.f_code.co_name
            if not str(last.f_globals.get("__name__")).startswith("torch.") or not isinstance(error, RuntimeError):
                raise
        inside = [each for frame, _ in frames if isinstance(each := frame.f_locals.get("self"), nn.Module)]
        names = {id(module): own for own, module in model.named_modules()}
        module = next((each for each in reversed(inside) if id(each) in names), model)
        place = f"{names[id(module)]}, a {type(module).__name__}" if module is not model else type(model).__name__
        raise RuntimeError(f"{error} (raised by {name} in {place})") from error
