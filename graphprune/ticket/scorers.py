"""Edge scorers in ticket files: by name, and how one is rebuilt from a stranger's file.

All that is saved is what ``config()`` returns, plain data, and the ``state_dict``. The annotations of the constructor
say what a file may hold, and it has to run on the meta device. Code is imported of plug-ins alone that a file names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from graphprune.graphs import EdgePredictor
from graphprune.graphs.sparsifiers import SCORERS
from graphprune.ticket import plain

PREDICTOR = "predictor"  # the kind of learnt scorers; the others go by their names in the registry


def describe(scorer: nn.Module) -> tuple[str, Any]:
    """The kind and the config of a scorer.

    Raises:
        TypeError: its class is not registered.
    """
    cls = type(scorer)
    kind = PREDICTOR if cls is EdgePredictor else SCORERS.name_of(cls)
    if kind is not None:
        config: Callable[[], Any] = scorer.config  # type: ignore[assignment]
        return kind, config()
    raise TypeError(
        f"tickets cannot hold edge scorers of the class {cls.__module__}.{cls.__qualname__}; give it a "
        "method config() that returns the arguments of its constructor as plain data, and register it: "
        f"graphprune.ticket.SCORERS['my-scorer'] = {cls.__name__}"
    )


def rebuild(kind: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """A scorer of this kind with these tensors, which it takes over as they are.

    The config may ask for anything: nothing of a size is allocated before the tensors' names and shapes have
    been found to be those that the config asks for. No random number is drawn.

    Raises:
        ValueError: an unknown kind, or a config and tensors that do not fit.
        ImportError, TypeError: a plug-in that cannot be used; it is named.
    """
    if kind != PREDICTOR and kind not in SCORERS:
        raise ValueError(
            f"unknown kind of edge scorer {kind!r} (known: {', '.join((PREDICTOR, *SCORERS))}); if the class is yours, "
            f"register it before loading: graphprune.ticket.SCORERS[{kind!r}] = ..."
        )
    cls = EdgePredictor if kind == PREDICTOR else SCORERS[kind]
    _check_arguments(cls, config)
    # Stopped in the middle, an initialiser cannot leave its no_grad() block itself: the outer one does.
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            with torch.device("meta"), Bounded(1000 + 100 * len(tensors)):
                outline = cls(**config).state_dict()
        except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{cls.__name__} cannot be built from the config: {error}") from error
        problems = misfits(outline, tensors)
        if problems:
            raise ValueError(f"the config asks for another {cls.__name__} than the tensors are: {problems}")
        with torch.device("cpu"):
            scorer = cls(**config)
    scorer.load_state_dict(dict(tensors), assign=True)
    return scorer


def misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Where given tensors do not fit wanted ones, by name, shape and kind of number; empty if they do."""
    problems = [
        *(f"{name!r} is missing" for name in wanted if name not in given),
        *(f"{name!r} is unexpected" for name in given if name not in wanted),
        *(
            f"{name!r} has {_form(given[name])} instead of {_form(tensor)}"
            for name, tensor in wanted.items()
            if name in given and _form(given[name]) != _form(tensor)
        ),
    ]
    return first(problems)


def first(problems: Iterable[str], most: int = 4) -> str:
    """The first few of many texts."""
    texts = list(problems)
    return "; ".join(texts[:most]) + (f"; and {len(texts) - most} more" if len(texts) > most else "")


def _form(tensor: Tensor) -> str:
    if is_lazy(tensor):
        return "no shape yet (run the model forward once)"
    kind = "" if tensor.is_floating_point() else f" of {tensor.dtype}"
    return f"shape {tuple(tensor.shape)}{kind}"


def _check_arguments(cls: type[nn.Module], config: Mapping[str, Any]) -> None:
    try:
        inspect.signature(cls).bind(**config)
    except TypeError as error:
        raise ValueError(f"config: {cls.__name__} takes other arguments: {error}") from None
    hints = get_type_hints(cls.__init__)
    for name, value in config.items():
        plain.require(value, hints.get(name, Any), f"config.{name}")


class Bounded(TorchFunctionMode):
    """Stops a constructor that does not end: a billion layers fill the memory on the meta device too."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it asks for many more layers than there are tensors")
        return func(*args, **(kwargs or {}))
