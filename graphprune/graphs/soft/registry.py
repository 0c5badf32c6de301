"""Which modules of a model use the edges, and by which adapter each is gated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import Aggregation

from graphprune.graphs.soft.adapters import Adapter, Handle, gate_message_passing, signature
from graphprune.graphs.soft.running import Gate
from graphprune.graphs.soft.tables import AGGREGATIONS, ARITHMETIC, NO_CONVOLUTIONS, PROVEN, of_torch_geometric

_ADAPTERS: dict[type[nn.Module], Adapter] = {}
_PROVEN_HERE: set[type[nn.Module]] = set()  # by this process
OWN_LAYER = (
    "Let a layer of your own be a MessagePassing that normalises and aggregates by torch_geometric's own functions "
    "(aggr=..., softmax, scatter, degree, gcn_norm), which then count edges by their gates; or give the forward of "
    "what uses edges a parameter edge_gate, and apply it there"
)
"""What lets a layer be gated, for errors."""

_NAMING = frozenset({"__init__", "__repr__", "extra_repr", "reset_parameters"})


def register_soft_edges(conv_class: type[nn.Module], adapter: Adapter) -> None:
    """Teach `SoftEdges` a module that it cannot gate by itself.

    Message passing that aggregates by torch_geometric's functions needs no adapter. One hooks a module and returns the
    handles, whose ``remove`` is called on leaving the block. What it is given, ``gate``, returns the gates of the
    running call, (num_edges,), in the order of ``data.edge_index``; read them inside the hook. It answers for
    everything inside the module, must make a gate of zero equal to the graph without that edge, and raises TypeError
    for a setting it cannot gate. A subclass that changes no arithmetic (``forward``, ``message``, ``aggregate``, ...)
    uses it too.

    Args:
        conv_class: the class, of any module that is called with the edges.
        adapter: (module, gate) -> handles.

    Raises:
        TypeError: ``conv_class`` is not a class of modules.
        ValueError: it has an adapter already.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from graphprune import SoftEdges, register_soft_edges
        >>> class Gather(torch.nn.Module):
        ...     def forward(self, messages, edge_index):
        ...         return torch.zeros(2, 1).index_add(0, edge_index[1], messages)
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.gather = Gather()
        ...     def forward(self, data):
        ...         return data.x + self.gather(data.x[data.edge_index[0]], data.edge_index)
        >>> def adapter(module, gate):
        ...     def scale(module, inputs):
        ...         messages, edge_index = inputs
        ...         return messages * gate().unsqueeze(-1), edge_index
        ...     return [module.register_forward_pre_hook(scale)]
        >>> register_soft_edges(Gather, adapter)
        >>> data = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))
        >>> with SoftEdges(Net()) as soft:
        ...     print(soft(torch.tensor([1.0, 0.0]), data))
        tensor([[1.],
                [2.]])
    """
    if not (isinstance(conv_class, type) and issubclass(conv_class, nn.Module)):
        raise TypeError(f"conv_class must be a subclass of torch.nn.Module, not {conv_class!r}")
    if conv_class in _ADAPTERS:
        raise ValueError(f"{conv_class.__name__} has an adapter already; subclass it to gate it differently")
    _ADAPTERS[conv_class] = adapter


def edge_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, Adapter]]:
    """The modules of a model that use edges: dotted name, module, adapter.

    What is inside of a module that takes the gates, or has been taught, is its own affair. A module comes once, even if
    the model holds it under two names. What cannot be gated comes with an adapter that raises TypeError.
    """
    seen: set[nn.Module] = set()

    def walk(module: nn.Module, name: str, compiled: bool) -> Iterator[tuple[str, nn.Module, Adapter]]:
        if module in seen:
            return
        seen.add(module)
        compiled = compiled or "_orig_mod" in module._modules or module._compiled_call_impl is not None
        adapter = _adapter_of(module)
        if adapter is not None:
            yield name or "model", module, _refuse_compiled if compiled else adapter
            if adapter is not gate_message_passing:
                return
        for child_name, child in module.named_children():
            yield from walk(child, f"{name}.{child_name}" if name else child_name, compiled)

    return walk(model, "", False)


def gates_itself(module: nn.Module) -> bool:
    """Whether a module is handed the gates."""
    return "edge_gate" in signature(type(module).forward).parameters


@contextmanager
def on_trial(model: nn.Module) -> Iterator[set[str]]:
    """Gate every message passing of a model.

    Gated from now on are those whose names are put into the set that is yielded; none of its own after an exception.
    """
    found = list(edge_modules(model))
    known = _PROVEN_HERE.copy()
    doubtful = {name: _unproven(module, adapter) for name, module, adapter in found}
    _PROVEN_HERE.update(*doubtful.values())
    seen = set[str]()
    try:
        yield seen
        _PROVEN_HERE.intersection_update(known.union(*(doubtful[name] for name in seen)))
    except BaseException:
        _PROVEN_HERE.clear()
        _PROVEN_HERE.update(known.difference(*(_authors(module) for _, module, _ in found)))
        raise


def doubt(module: nn.Module, adapter: Adapter) -> str:
    """Why gates of 0 in this message passing may be no removal; empty: they are."""
    names = " and ".join(sorted(cls.__name__ for cls in _unproven(module, adapter)))
    return names and (
        f"nobody has seen yet that gates of 0 in {names} are removed edges: call graphprune.check_removal(model, data) "
        "once, which gates it by its aggregation and compares (every gated search begins with that), give its forward "
        "a parameter edge_gate, or write an adapter (register_soft_edges)"
    )


def _unproven(module: nn.Module, adapter: Adapter) -> set[type[nn.Module]]:
    """The classes whose arithmetic has not been proven."""
    if adapter is not gate_message_passing:
        return set()
    proven = PROVEN | AGGREGATIONS
    return {
        cls
        for cls in _authors(module)
        if cls not in _PROVEN_HERE and not (of_torch_geometric(cls) and cls.__name__ in proven)
    }


def _authors(module: nn.Module) -> set[type[nn.Module]]:
    """Of a module and its aggregations."""
    return {_author(part) for part in module.modules() if part is module or isinstance(part, Aggregation)}


def _author(module: nn.Module) -> type[nn.Module]:
    """The class that says what a module computes: a subclass which only names things is not it."""
    return next(cls for cls in type(module).__mro__ if not ARITHMETIC.isdisjoint(vars(cls)) or _methods(cls))


def _methods(cls: type) -> set[str]:
    """What a class defines itself that may be arithmetic, such as a helper or a setting of its base's ``message``."""
    found = (
        (name, value) for name, value in vars(cls).items() if not name.startswith(("__", "_jinja", "_orig", "_abc"))
    )
    # torch_geometric and torch put functions of their own on classes.
    own = {name for name, value in found if not isinstance(value, FunctionType) or value.__module__ == cls.__module__}
    return own - _NAMING


def _adapter_of(module: nn.Module) -> Adapter | None:
    """How this module is gated; None if it does not use edges itself."""
    if isinstance(module, torch.jit.ScriptModule):  # whether it holds convolutions can no longer be seen
        return _refuse_compiled
    if gates_itself(module):
        return _hand_over
    for cls in type(module).__mro__:
        if cls in _ADAPTERS:
            return _ADAPTERS[cls]
        if cls.__name__ in NO_CONVOLUTIONS and of_torch_geometric(cls):
            return _refuse
        if not ARITHMETIC.isdisjoint(vars(cls)):  # it computes something else than the class that was taught
            break
    return gate_message_passing if isinstance(module, MessagePassing) else None


def _hand_over(module: nn.Module, gate: Gate) -> list[Handle]:
    def pass_gate(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {**kwargs, "edge_gate": gate()}

    return [module.register_forward_pre_hook(pass_gate, with_kwargs=True)]


def _refuse_compiled(module: nn.Module, gate: Gate) -> list[Handle]:
    raise TypeError("compiled or scripted, which skips hooks; pass the model as it was before compilation")


def _refuse(module: nn.Module, gate: Gate) -> list[Handle]:
    name = next(cls.__name__ for cls in type(module).__mro__ if cls.__name__ in NO_CONVOLUTIONS)
    raise TypeError(f"{name} {NO_CONVOLUTIONS[name]}")
