"""How a convolution runs with one gate per edge, so that a gate of zero removes the edge."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import Aggregation, MultiAggregation

from graphprune.graphs.soft.running import RUNNING, Gate, RunningEdges, check_same
from graphprune.graphs.soft.swapping import gated_class
from graphprune.graphs.soft.tables import ARITHMETIC, NO_AGGREGATIONS


class Handle(Protocol):
    """What a hook's registration returns."""

    def remove(self) -> None:
        """Undo the registration."""


Adapter = Callable[[Any, Gate], Sequence[Handle]]
"""Hooks one convolution to a gate, or raises TypeError, before any hook, for a setting it cannot gate."""


class _Undo:
    """A handle of something that is undone by a call."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self.remove = undo


# Bounded, because some classes are made on the fly (torch.fx makes one a module).
@lru_cache(maxsize=1024)
def signature(forward: Callable[..., Any]) -> inspect.Signature:
    """``inspect.signature``, which is too slow for every call of every module."""
    return inspect.signature(forward)


def arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one call of ``module`` by name, self included; those still to come are missing."""
    return signature(_forward(module)).bind_partial(module, *args, **kwargs).arguments


def _forward(module: nn.Module) -> Callable[..., Any]:
    """The method that names the arguments: for a subclass's ``forward(*args, **kwargs)``, the one it passes them to."""
    found = (vars(cls)["forward"] for cls in type(module).__mro__ if "forward" in vars(cls))
    return next((one for one in found if "edge_index" in signature(one).parameters), type(module).forward)


def edges_of(call: Mapping[str, Any], graph: Tensor) -> Tensor | None:
    """The edges that a call is given: ``edge_index``, or whatever argument is the graph's edges by another name."""
    if "edge_index" in call:
        return call["edge_index"]  # type: ignore[no-any-return]
    for value in call.values():
        if value is graph or (isinstance(value, Tensor) and value.shape == graph.shape and torch.equal(value, graph)):
            return graph
    return None


def is_readout(call: Mapping[str, Any], graph: Tensor) -> bool:
    """Whether a convolution sums nodes up, each once, into something else than nodes: it uses no edge of ``graph``."""
    edge_index = call.get("edge_index")
    if not isinstance(call.get("x"), tuple) or not isinstance(edge_index, Tensor) or edge_index.dim() != 2:
        return False
    if edge_index is graph or torch.equal(edge_index, graph):
        return False
    return torch.equal(edge_index[0], torch.arange(edge_index.size(1), device=edge_index.device))


def gate_message_passing(conv: MessagePassing, gate: Gate) -> list[Handle]:
    """Any message passing: its methods, and those of its aggregations, call the gated functions over edges.

    Raises:
        TypeError: ``cached=True`` (the first gates would be used for ever); an aggregation that cannot be gated;
            methods that are replaced on the object; a class that is told of its subclasses.
    """
    name = type(conv).__name__
    if getattr(conv, "cached", False):
        raise TypeError("cached=True keeps the normalisation of the first call; build it with cached=False")
    replaced = vars(conv).keys() & ARITHMETIC
    if replaced:
        raise TypeError(f"its {' and '.join(sorted(replaced))} is replaced on the object: make a subclass of it")
    if conv.aggr_module is not None and not isinstance(conv.aggr_module, Aggregation):
        raise TypeError(f"its aggr_module is a {type(conv.aggr_module).__name__}, which is no Aggregation")
    aggregations = [module for module in conv.modules() if isinstance(module, Aggregation)]
    for aggregation in aggregations:
        reason = NO_AGGREGATIONS.get(type(aggregation).__name__)
        if reason is not None:
            raise TypeError(f"aggr={conv.aggr!r} cannot be gated: {type(aggregation).__name__} {reason}")

    running = []

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = arguments(module, args, kwargs)
        edge_index, readout = edges_of(call, gate.graph()), is_readout(call, gate.graph())
        if edge_index is None:
            raise TypeError(
                f"{name} is called without the graph's edges, so that no gate belongs to those it uses: let its "
                "forward take data.edge_index as an argument"
            )
        if not readout:  # again: the user's own hooks have run since
            check_same(edge_index, gate.graph(), name)
        running.append(RUNNING.set(None if readout else RunningEdges(name, edge_index, gate)))

    def end(_module: nn.Module, _args: Any, _out: Any) -> None:
        if running:  # a hook before `begin` may have refused the call
            RUNNING.reset(running.pop())

    def meet(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        edges = RUNNING.get()
        if edges is not None:
            edges.meet(inputs[0])

    parts: list[Any] = [conv, *aggregations]
    classes = [gated_class(part.__class__) for part in parts]  # which may be refused
    handles: list[Handle] = [
        conv.register_forward_pre_hook(begin, with_kwargs=True),
        conv.register_forward_hook(end, always_call=True),
        conv.register_propagate_forward_pre_hook(meet),
        conv.register_edge_update_forward_pre_hook(meet),
    ]
    for module, cls in zip(parts, classes, strict=True):
        handles.append(_Undo(partial(setattr, module, "__class__", type(module))))
        module.__class__ = cls
        if isinstance(module, MultiAggregation) and module.fused_aggr is not None:
            # It would share sums between aggregations that gates weigh differently.
            handles.append(_Undo(partial(setattr, module, "fused_aggr", module.fused_aggr)))
            module.fused_aggr = None
    return handles
