"""How each supported convolution runs with one gate per edge, so that a gate of zero removes the edge."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, GINEConv, SAGEConv
from torch_geometric.nn.aggr import MeanAggregation, SumAggregation

from graphprune.graphs.sums import EMPTY

_FILLS = ("mean", "add", "sum")

Gate = Callable[[], Tensor]
"""Returns the gate of the call that is running, (num_edges,), in the order of ``data.edge_index``."""


class Handle(Protocol):
    """What a hook's registration returns."""

    def remove(self) -> None:
        """Undo the registration."""


Adapter = Callable[[Any, Gate], Sequence[Handle]]
"""Hooks one convolution to a gate, or raises TypeError, before any hook, for a setting it cannot gate."""


@dataclass(frozen=True)
class _Restore:
    """A handle that gives a module's attribute its value back."""

    module: nn.Module
    name: str
    value: object

    def remove(self) -> None:
        setattr(self.module, self.name, self.value)


# Bounded, because some classes are made on the fly (torch.fx makes one a module).
@functools.lru_cache(maxsize=1024)
def signature(forward: Callable[..., Any]) -> inspect.Signature:
    """``inspect.signature``, which is too slow for every call of every module."""
    return inspect.signature(forward)


def bind(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments of one call of ``module`` by name, self included."""
    return signature(type(module).forward).bind(module, *args, **kwargs)


def _per_node(values: Tensor, index: Tensor, nodes: int) -> Tensor:
    """Sums of (edges, ...) values at the nodes that ``index`` names: (nodes, ...)."""
    return values.new_zeros(nodes, *values.shape[1:]).index_add(0, index, values)


def _nonempty(total: Tensor) -> Tensor:
    return total.masked_fill(total < EMPTY, 1.0)


def _along(values: Tensor, like: Tensor, dim: int) -> Tensor:
    """A vector shaped so that it multiplies ``like`` along ``dim``."""
    shape = [1] * like.dim()
    shape[dim] = -1
    return values.view(shape)


def _require_aggregation(conv: Any, *supported: type[nn.Module]) -> None:
    # By the module's class: conv.aggr is only a label ("add", "SumAggregation()", a list of them).
    if type(conv.aggr_module) not in supported:
        names = " or ".join(cls.__name__.removesuffix("Aggregation").lower() for cls in supported)
        raise TypeError(f"aggr={conv.aggr!r} cannot be gated; {names} can")


def gate_messages(conv: Any, gate: Gate) -> list[Handle]:
    """GINConv, GINEConv, SAGEConv: messages times gates; a mean divides by the sum of the gates.

    Raises:
        TypeError: ``aggr`` is neither a sum nor a mean.
    """
    _require_aggregation(conv, SumAggregation, MeanAggregation)

    def scale(_conv: Any, _inputs: Any, message: Tensor) -> Tensor:
        return message * _along(gate().to(message), message, conv.node_dim)

    def renormalise(_conv: Any, inputs: Any, out: Tensor) -> Tensor:
        index, nodes = inputs[0]["index"], inputs[0]["dim_size"]
        gates = gate().to(out)
        count = _per_node(torch.ones_like(gates), index, nodes)
        return out * _along(count / _nonempty(_per_node(gates, index, nodes)), out, conv.node_dim)

    handles: list[Handle] = [conv.register_message_forward_hook(scale)]
    if type(conv.aggr_module) is MeanAggregation:
        handles.append(conv.register_aggregate_forward_hook(renormalise))
    return handles


def gate_gcn(conv: Any, gate: Gate) -> list[Handle]:
    """GCNConv: edge weights times gates, before the degree normalisation.

    An added self-loop keeps its full weight. A self-loop that the graph has is gated between its own weight
    and that of the loop which the convolution adds once it is gone.

    Raises:
        TypeError: ``cached=True`` (the first gates would be used for ever) or ``aggr`` is not a sum.
    """
    _require_aggregation(conv, SumAggregation)
    if conv.cached:
        raise TypeError("cached=True keeps the normalisation of the first call; build it with cached=False")

    def reweigh(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        call = bind(module, args, kwargs)
        x, edge_index = call.arguments["x"], call.arguments["edge_index"]
        given = call.arguments.get("edge_weight")
        gates = gate().to(x)
        weight = gates if given is None else given.view(-1) * gates
        nodes = x.size(conv.node_dim)
        if conv.add_self_loops:
            # Without edge weights PyG 2.8 gives every loop the weight 1, "improved" or not.
            fill = 2.0 if conv.improved and given is not None else 1.0
            edge_index, weight = _with_loops(edge_index, weight, gates, given, fill, nodes)
        if conv.normalize:
            target = edge_index[1 if conv.flow == "source_to_target" else 0]
            # Where nothing comes in, degree**-0.5 has a NaN gradient; the constant keeps it from the gates.
            empty = _per_node(weight, target, nodes).abs() < EMPTY
            weight = weight.masked_fill(empty[target], 0.0)
        call.arguments.update(edge_index=edge_index, edge_weight=weight)
        return call.args[1:], call.kwargs

    return [conv.register_forward_pre_hook(reweigh, with_kwargs=True)]


def _with_loops(
    edge_index: Tensor, weight: Tensor, gates: Tensor, given: Tensor | None, fill: float, nodes: int
) -> tuple[Tensor, Tensor]:
    """The graph with exactly one self-loop a node, as GCNConv would make it, and its gated weights."""
    arcs = edge_index[0] != edge_index[1]
    at = edge_index[0][~arcs]
    if given is not None and torch.unique(at).numel() < at.numel():
        raise ValueError(
            "edge_index has several weighted self-loops at one node, of which GCNConv keeps an arbitrary "
            "one; merge them (torch_geometric.utils.coalesce)"
        )
    loops = weight.new_full((nodes,), fill).index_put((at,), (weight + (1 - gates) * fill)[~arcs])
    every = torch.arange(nodes, device=edge_index.device).to(edge_index.dtype).expand(2, nodes)
    return torch.cat([edge_index[:, arcs], every], dim=1), torch.cat([weight[arcs], loops])


def gate_attention(conv: Any, gate: Gate) -> list[Handle]:
    """GATConv, GATv2Conv: attention times gates, normalised again over what is left; then its dropout.

    Added self-loops are never gated, and their edge features (``fill_value="mean"`` or a sum) are those of
    the gated neighbourhood. A gated-off edge's attention logit may exceed the others by 80 in float32; beyond
    that the softmax of the convolution underflows and the output is NaN.

    Raises:
        TypeError: ``aggr`` is not a sum, or ``fill_value`` reduces by anything but a mean or a sum.
    """
    _require_aggregation(conv, SumAggregation)
    refill = conv.add_self_loops and conv.edge_dim is not None and isinstance(conv.fill_value, str)
    if refill and conv.fill_value not in _FILLS:
        raise TypeError(f"fill_value={conv.fill_value!r} cannot be gated; {_FILLS} and constants can")
    arcs: Tensor | slice = slice(None)
    dropout = conv.dropout

    def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal arcs
        if conv.add_self_loops:  # the graph's own self-loops are then dropped and one a node is appended
            edge_index = bind(module, args, kwargs).arguments["edge_index"]
            arcs = edge_index[0] != edge_index[1]

    def fill(_conv: Any, inputs: Any) -> Any:
        edge_index, size, kwargs = inputs
        features = kwargs["edge_attr"]
        if features is None:
            return None
        gates = gate()[arcs].to(features)
        own, nodes = features[: gates.numel()], features.size(0) - gates.numel()
        target = edge_index[1, : gates.numel()]  # PyG fills from edge_index[1] under both flows
        loops = _per_node(own * _along(gates, own, 0), target, nodes)
        if conv.fill_value == "mean":
            loops = loops / _along(_nonempty(_per_node(gates, target, nodes)), loops, 0)
        return edge_index, size, {**kwargs, "edge_attr": torch.cat([own, loops])}

    def renormalise(_conv: Any, inputs: Any, alpha: Tensor) -> Tensor:
        index, nodes = inputs[2]["index"], inputs[2]["dim_size"]
        gates = gate()[arcs].to(alpha)
        gates = torch.cat([gates, gates.new_ones(index.numel() - gates.numel())])
        alpha = alpha * gates.unsqueeze(-1)
        # Emptiness is judged by the gates: the attention that is left may rightly be tiny.
        empty = _per_node(gates, index, nodes) < EMPTY
        total = _per_node(alpha, index, nodes).masked_fill(empty.unsqueeze(-1), 1.0)
        return F.dropout(alpha / total[index], p=dropout, training=conv.training)

    handles: list[Handle] = [
        conv.register_forward_pre_hook(remember, with_kwargs=True),
        conv.register_edge_update_forward_hook(renormalise),
        # The sum needs the attention that dropout would hide, so dropout waits until after it.
        _Restore(conv, "dropout", dropout),
    ]
    if refill:
        handles.append(conv.register_edge_update_forward_pre_hook(fill))
    conv.dropout = 0.0
    return handles


BUILT_IN: dict[type[nn.Module], Adapter] = {
    GCNConv: gate_gcn,
    GINConv: gate_messages,
    GINEConv: gate_messages,
    SAGEConv: gate_messages,
    GATConv: gate_attention,
    GATv2Conv: gate_attention,
}
"""The convolutions of torch_geometric that can be gated, by class."""
