"""What a gate means in each of torch_geometric's functions over edges.

One rule carries all: sums over edges that normalise (degrees, the sums of softmaxes and means) count an edge as often
as its gate says, and a message is multiplied by its gate once, where it is aggregated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch_geometric import utils
from torch_geometric.nn.conv.rgcn_conv import masked_edge_index
from torch_geometric.utils.num_nodes import maybe_num_nodes

from graphprune.graphs.soft.running import RUNNING, RunningEdges
from graphprune.graphs.sums import EMPTY, scaled_sum

# Logits of edges that are gated off exceed those that are left by no more: exp of it, squared, is finite in float32.
_MOST = 40.0

T = TypeVar("T", bound=Callable[..., Any])
GATED: dict[Callable[..., Any], Callable[..., Any]] = {}
"""What stands for each function while a convolution is gated."""


def _gates(function: Callable[..., Any]) -> Callable[[T], T]:
    """The decorated function takes the running edges and what ``function`` takes, and stands for it while they run."""

    def register(gated: T) -> T:
        @functools.wraps(function)
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            edges = RUNNING.get()
            return function(*args, **kwargs) if edges is None else gated(edges, *args, **kwargs)

        GATED[function] = stand_in
        return gated

    return register


def _along(values: Tensor, like: Tensor, dim: int) -> Tensor:
    """A vector shaped so that it multiplies ``like`` along ``dim``."""
    shape = [1] * like.dim()
    shape[dim] = -1
    return values.view(shape)


def _nonempty(total: Tensor) -> Tensor:
    return total.masked_fill(total <= EMPTY, 1.0)


@_gates(utils.scatter)
def gated_scatter(
    edges: RunningEdges, src: Tensor, index: Tensor, dim: int = 0, dim_size: int | None = None, reduce: str = "sum"
) -> Tensor:
    """Reduce values of edges at nodes, each as much as its gate says.

    A sum weighs by the gates; a mean too, and divides by their sum. A product takes each factor as far from 1 as its
    gate says. A maximum (minimum) is that of values between the mean, for a gate of 0, and their own, for the largest
    gate of the node: exact for gates of 0 and 1, continuous, and with a gradient for every edge of the node between
    them. Counts of other things than a node's edges stay as they are.
    """
    if not src.is_floating_point() and not edges.knows(index):  # such as how many edges have each type
        return utils.scatter(src, index, dim, dim_size, reduce)  # type: ignore[no-any-return]
    dim = dim % src.dim()
    src = src if src.is_floating_point() else src.to(torch.get_default_dtype())
    gates, nodes = edges.gate(index).to(src), maybe_num_nodes(index, dim_size)
    gate = _along(gates, src, dim)

    def plain(values: Tensor, how: str, along: int = dim) -> Tensor:
        return utils.scatter(values, index, along, nodes, how)  # type: ignore[no-any-return]

    if reduce == "mul":
        return plain(torch.lerp(torch.ones_like(src), src, gate), "mul")
    if reduce not in ("sum", "add", "mean", "max", "min", "amax", "amin"):
        raise ValueError(f"reduce={reduce!r} cannot be gated; sum, mean, mul, max and min can")
    total = _total(edges, src, gates, index, dim, nodes)
    if reduce in ("sum", "add"):
        return _without_gradient(total, plain(gates.detach(), "sum", 0) <= EMPTY) if src.dim() == 1 else total
    weight = plain(gates, "sum", 0)
    mean = total / _along(_nonempty(weight), src, dim)
    if reduce == "mean":
        return mean
    share = gates / _nonempty(plain(gates, "max", 0))[index]
    between = torch.lerp(mean.index_select(dim, index), src, _along(share, src, dim))
    return plain(between, reduce).masked_fill(_along(weight <= EMPTY, src, dim), 0.0)


def _total(edges: RunningEdges, src: Tensor, gates: Tensor, index: Tensor, dim: int, nodes: int) -> Tensor:
    """The sum of gated values at each node."""
    if dim == 0 and src.dim() > 1 and src.dtype in (torch.float32, torch.float64):
        return scaled_sum(src, gates, index, *edges.sorted(index, nodes))
    return utils.scatter(src * _along(gates, src, dim), index, dim, nodes, "sum")  # type: ignore[no-any-return]


def _without_gradient(total: Tensor, empty: Tensor) -> Tensor:
    """A degree, of which quotients and roots have the gradient 0, not NaN, where nothing is left."""

    def clean(grad: Tensor | None) -> Tensor | None:
        return None if grad is None else torch.where(empty & ~grad.isfinite(), 0.0, grad)

    if total.requires_grad:
        total.register_hook(clean)
    return total


@_gates(utils.degree)
def gated_degree(
    edges: RunningEdges, index: Tensor, num_nodes: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """The sum of the gates at each node; rounded where whole numbers are wanted."""
    gates, nodes = edges.gate(index), maybe_num_nodes(index, num_nodes)
    if dtype is not None and not dtype.is_floating_point:
        return gates.detach().new_zeros(nodes).index_add(0, index, gates.detach()).round().to(dtype)
    gates = gates.to(dtype or torch.get_default_dtype())
    total = gates.new_zeros(nodes).index_add(0, index, gates)
    return _without_gradient(total, total.detach() <= EMPTY)


@_gates(utils.softmax)
def gated_softmax(
    edges: RunningEdges,
    src: Tensor,
    index: Tensor,
    ptr: Tensor | None = None,
    num_nodes: int | None = None,
    dim: int = 0,
) -> Tensor:
    """Exponentials over the gated sum of a node's exponentials: the gate itself comes with the message."""
    del ptr  # plain lists of edges have none
    gates = edges.gate(index).to(src)
    nodes = maybe_num_nodes(index, num_nodes)
    off, seen = _along(gates == 0, src, dim), src.detach()
    hard = bool(off.any())  # of gates between 0 and 1 none is off, and what follows is dear
    if hard:
        seen = seen.masked_fill(off, -torch.inf)
    top = utils.scatter(seen, index, dim, nodes, "max")
    power = src - torch.where(top.isfinite(), top, 0.0).index_select(dim, index)
    if hard:
        power = torch.where(off, power.clamp(max=_MOST), power)
    power = power.exp()
    total = utils.scatter(power * _along(gates, src, dim), index, dim, nodes, "sum")
    # Emptiness is judged by the gates: the exponentials that are left may rightly be tiny.
    empty = _along(utils.scatter(gates.detach(), index, 0, nodes, "sum") <= EMPTY, src, dim)
    share: Tensor = power / total.masked_fill(empty, 1.0).index_select(dim, index)
    return share


@_gates(masked_edge_index)
def _masked_edge_index(edges: RunningEdges, edge_index: Tensor, edge_mask: Tensor) -> Tensor:
    gates, chosen = edges.gate(edge_index), edge_index[:, edge_mask]
    edges.add(chosen, gates[edge_mask])
    return chosen


@_gates(utils.remove_self_loops)
def _remove_self_loops(
    edges: RunningEdges, edge_index: Tensor, edge_attr: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    keep = edge_index[0] != edge_index[1]
    return _masked_edge_index(edges, edge_index, keep), None if edge_attr is None else edge_attr[keep]


@_gates(utils.add_self_loops)
def _add_self_loops(
    edges: RunningEdges,
    edge_index: Tensor,
    edge_attr: Tensor | None = None,
    fill_value: float | Tensor | str | None = None,
    num_nodes: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Loops that are never gated; their features are those of the gated neighbourhood."""
    gates, nodes = edges.gate(edge_index), _count(edges, edge_index, num_nodes)
    loops = None if edge_attr is None else _filled(edges, edge_index, edge_attr, fill_value, nodes)
    every = torch.arange(nodes, device=edge_index.device).to(edge_index.dtype).expand(2, nodes)
    joined = torch.cat([edge_index, every], dim=1)
    edges.add(joined, torch.cat([gates, gates.new_ones(nodes)]))
    return joined, None if edge_attr is None or loops is None else torch.cat([edge_attr, loops])


@_gates(utils.add_remaining_self_loops)
def _add_remaining_self_loops(
    edges: RunningEdges,
    edge_index: Tensor,
    edge_attr: Tensor | None = None,
    fill_value: float | Tensor | str | None = None,
    num_nodes: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Exactly one loop a node; one that the graph has is gated between its own features and those of an added one."""
    gates, arcs = edges.gate(edge_index), edge_index[0] != edge_index[1]
    at = edge_index[0][~arcs]
    if edge_attr is None or not at.numel():
        return _add_self_loops(edges, *_remove_self_loops(edges, edge_index, edge_attr), fill_value, num_nodes)
    if torch.unique(at).numel() < at.numel():
        raise ValueError(
            "edge_index has several self-loops with weights at one node, of which an arbitrary one would be kept; "
            "merge them (torch_geometric.utils.coalesce)"
        )
    nodes = _count(edges, edge_index, num_nodes)
    loops = _filled(edges, edge_index, edge_attr, fill_value, nodes)
    gate = _along(gates[~arcs].to(loops), loops, 0)
    loops = loops.index_copy(0, at, torch.lerp(loops[at], edge_attr[~arcs], gate))
    plain, _ = _remove_self_loops(edges, edge_index)
    joined, _ = _add_self_loops(edges, plain, None, None, nodes)
    return joined, torch.cat([edge_attr[arcs], loops])


def _count(edges: RunningEdges, edge_index: Tensor, num_nodes: int | None) -> int:
    """The nodes; where only the edges tell, those that are left."""
    if num_nodes is not None:
        return num_nodes
    left = edge_index[:, edges.gate(edge_index) > 0]
    return int(left.max()) + 1 if left.numel() else 0


def _filled(
    edges: RunningEdges, edge_index: Tensor, edge_attr: Tensor, fill_value: float | Tensor | str | None, nodes: int
) -> Tensor:
    """Features of one loop a node, as :func:`torch_geometric.utils.add_self_loops` makes them."""
    if isinstance(fill_value, str):  # of the edges that end in edge_index[1], under both flows
        return gated_scatter(edges, edge_attr, edge_index[1], 0, nodes, fill_value).to(edge_attr.dtype)
    value = torch.as_tensor(1.0 if fill_value is None else fill_value, dtype=edge_attr.dtype, device=edge_attr.device)
    return value.expand(nodes, *edge_attr.shape[1:])
