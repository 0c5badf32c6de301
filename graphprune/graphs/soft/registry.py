"""Which modules of a model use the edges, and by which adapter each is gated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from graphprune.graphs.soft.adapters import BUILT_IN, Adapter, Gate, Handle, signature

_ADAPTERS: dict[type[nn.Module], Adapter] = dict(BUILT_IN)
_ARITHMETIC = frozenset({"forward", "message", "message_and_aggregate", "aggregate", "update", "edge_update"})


def register_soft_edges(conv_class: type[nn.Module], adapter: Adapter) -> None:
    """Teach `SoftEdges` a convolution of your own.

    The adapter hooks one convolution and returns the handles, whose ``remove`` is called on leaving the
    block. What it is given, ``gate``, returns the gates of the running call, (num_edges,), in the order of
    ``data.edge_index``; read them inside the hook. It answers for everything inside the convolution, must
    make a gate of zero equal to the graph without that edge, and raises TypeError for a setting it cannot
    gate. A subclass that changes no arithmetic (``forward``, ``message``, ``aggregate``, ...) uses it too.

    Args:
        conv_class: the convolution's class, any module that is called with the edges.
        adapter: (convolution, gate) -> handles.

    Raises:
        TypeError: ``conv_class`` is not a class of modules.
        ValueError: it has an adapter already.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from torch_geometric.nn import MessagePassing
        >>> from graphprune import SoftEdges, register_soft_edges
        >>> class Half(MessagePassing):
        ...     def forward(self, x, edge_index):
        ...         return x + self.propagate(edge_index, x=x)
        ...     def message(self, x_j):
        ...         return x_j / 2
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = Half(aggr="sum")
        ...     def forward(self, data):
        ...         return self.conv(data.x, data.edge_index)
        >>> def adapter(conv, gate):
        ...     def scale(conv, inputs, message):
        ...         return message * gate().unsqueeze(-1)
        ...     return [conv.register_message_forward_hook(scale)]
        >>> register_soft_edges(Half, adapter)
        >>> data = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))
        >>> with SoftEdges(Net()) as soft:
        ...     print(soft(torch.tensor([1.0, 0.0]), data))
        tensor([[1.0000],
                [1.5000]])
    """
    if not (isinstance(conv_class, type) and issubclass(conv_class, nn.Module)):
        raise TypeError(f"conv_class must be a subclass of torch.nn.Module, not {conv_class!r}")
    if conv_class in _ADAPTERS:
        raise ValueError(f"{conv_class.__name__} has an adapter already; subclass it to gate it differently")
    _ADAPTERS[conv_class] = adapter


def edge_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, Adapter]]:
    """The outermost modules of a model that use edges: dotted name, module, adapter.

    A module comes once, even if the model holds it under two names. What cannot be gated comes with an
    adapter that raises TypeError.
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
            return
        for child_name, child in module.named_children():
            yield from walk(child, f"{name}.{child_name}" if name else child_name, compiled)

    return walk(model, "", False)


def gates_itself(module: nn.Module) -> bool:
    """Whether a module is handed the gates."""
    return "edge_gate" in signature(type(module).forward).parameters


def _adapter_of(module: nn.Module) -> Adapter | None:
    """How this module is gated; None if it does not use edges itself."""
    if isinstance(module, torch.jit.ScriptModule):  # whether it holds convolutions can no longer be seen
        return _refuse_compiled
    if gates_itself(module):
        return _hand_over
    for cls in type(module).__mro__:
        if cls in _ADAPTERS:
            return _ADAPTERS[cls]
        if not _ARITHMETIC.isdisjoint(vars(cls)):  # it computes something else than the class that was taught
            break
    return _refuse_untaught if isinstance(module, MessagePassing) else None


def _hand_over(module: nn.Module, gate: Gate) -> list[Handle]:
    def pass_gate(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {**kwargs, "edge_gate": gate()}

    return [module.register_forward_pre_hook(pass_gate, with_kwargs=True)]


def _refuse_compiled(module: nn.Module, gate: Gate) -> list[Handle]:
    raise TypeError("compiled or scripted, which skips hooks; pass the model as it was before compilation")


def _refuse_untaught(module: nn.Module, gate: Gate) -> list[Handle]:
    name = type(module).__name__
    raise TypeError(
        f"has no adapter; write one and call register_soft_edges({name}, adapter), or give {name}.forward "
        "(or that of a module around it) a parameter edge_gate"
    )
